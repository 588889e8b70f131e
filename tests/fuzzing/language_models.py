"""Model folders, vocabularies and language models in artifacts, damaged, and reading them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from fuzzing.artifacts import Artifacts, header_of, with_header
from fuzzing.containers import Container, sealed
from fuzzing.documents import changed_text, mutated, written
from fuzzing.octets import damaged
from torch import nn

import autocompress
from autocompress import Task
from autocompress.artifact import open_artifact
from autocompress.artifact.assets import pack_asset
from autocompress.encoding.encoder import Encoder
from autocompress.errors import ArtifactError, CorpusError, ExportError, ModelError
from autocompress.knowledge.source import Source
from autocompress.lm.carried_words import carried_vocabulary
from autocompress.lm.checkpoint import History, load_checkpoint, read_settings, save_checkpoint
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.folder import load_model, save_model
from autocompress.lm.model import LanguageModel
from autocompress.lm.onnx.build import build
from autocompress.lm.vocabulary import Vocabulary
from autocompress.outcome.objectives import Split
from autocompress.plan import CompressionPlan
from autocompress.precisions import EntropyStep
from autocompress.structures import Dense, LowRank

Files = Mapping[str, bytes]
_WORDS = (*(f"wörd{number}" for number in range(9)), "<unk>", "<eos>")
_SHAPE: dict[str, Any] = {"embedding_size": 4, "hidden_size": 4, "num_layers": 1}
_TRAINING = "checkpoint.safetensors"


def _model(cell: str, *, tied: bool = False) -> LanguageModel:
    torch.manual_seed(0)
    config = LanguageModelConfig(cell, len(_WORDS), tied=tied, **_SHAPE)
    return LanguageModel(config).eval()


class Folders:
    """Model folders, one of whose files is not what it should be."""

    name = "model folders"
    allowed = (ModelError,)

    def __init__(self, folder: Path) -> None:
        """Write small models to begin with.

        Args:
            folder: Where an input is put, under the same names each time.
        """
        self._folder = folder / "model"
        self._seeds: list[Files] = []
        for cell in ("lstm", "gru", "rnn"):
            save_model(self._folder, _model(cell, tied=cell == "gru"), Vocabulary(_WORDS))
            files = sorted(self._folder.iterdir())
            self._seeds.append({path.name: path.read_bytes() for path in files})

    def made(self, random: Random) -> Files:
        """Return the files of a folder."""
        files, other = dict(random.choice(self._seeds)), random.choice(self._seeds)
        for _ in range(random.choice((1, 1, 2))):
            name = random.choice(("config.json", "config.json", "vocab.txt", "model.safetensors"))
            if name == "config.json" and random.random() < 0.8:
                files[name] = changed_text(random, json.loads(other[name]))
            elif name == "model.safetensors" and random.random() < 0.6:
                files[name] = Container.of(other[name]).with_another_table(random)
            elif name == "vocab.txt":
                files[name] = another_vocabulary(random, other[name])
            else:
                files[name] = damaged(random, files[name], other[name])
        return files

    def read(self, data: Files) -> None:
        """Load the model of a folder."""
        for name, content in data.items():
            # What is mapped into memory must not change.
            (self._folder / name).unlink(missing_ok=True)
            (self._folder / name).write_bytes(content)
        load_model(self._folder)


class Vocabularies:
    """Files of words."""

    name = "vocabularies"
    allowed = (CorpusError,)

    def made(self, random: Random) -> bytes:
        """Return the file of words."""
        return another_vocabulary(random, Vocabulary(_WORDS).to_bytes())

    def read(self, data: bytes) -> None:
        """Read words, and write them as numbers and as a file again."""
        words = Vocabulary.from_bytes(data)
        assert words.encode(words.words).tolist() == list(range(len(words)))
        assert Vocabulary.from_bytes(words.to_bytes()) == words


def another_vocabulary(random: Random, data: bytes) -> bytes:
    """Return a vocabulary that was damaged, or has strange words, or many."""
    way = random.random()
    if way < 0.5:
        return damaged(random, data, data[::-1])
    if way < 0.502:
        return b"".join(b"%d\n" % number for number in range(200_000))
    strange = (
        "\u2028",
        "\x85",
        "\0",
        "\x1c",
        "\ufeff",
        " ",
        "\t",
        "\r",
        "",
        "\u200b",
        "a" * 10**5,
    )
    words = [*data.decode().split("\n")]
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(words))
        words[place] = random.choice((*strange, words[place - 1], words[place] + "\x0b"))
    code = random.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-7"))
    return "\n".join(words).encode(code)


class _Words(Task):
    """Knows nothing but a model's words."""

    metric = "loss"

    def evaluate(self, model: nn.Module, split: Split) -> float:
        return 1.0

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield torch.zeros(2, 1, dtype=torch.int64)

    def assets(self) -> Files:
        return {"vocab.txt": Vocabulary(_WORDS).to_bytes()}

    def model_config(self, model: nn.Module) -> Mapping[str, Any]:
        assert isinstance(model, LanguageModel)
        return model.config.for_artifact()


class Carried:
    """Artifacts of language models, which say how their model is built and hold its words."""

    name = "language models in artifacts"
    allowed = (ArtifactError, ExportError)

    def __init__(self, folder: Path) -> None:
        """Compress small models to begin with.

        Args:
            folder: Where an input is put, under the same name each time.
        """
        self._file = folder / "fuzzed.acz"
        self.seeds = [self._compressed(cell) for cell in ("lstm", "gru", "rnn")]
        self._artifacts = Artifacts(self.seeds)

    def _compressed(self, cell: str) -> bytes:
        model = _model(cell, tied=cell == "rnn")
        source = Source.of(model, _Words())
        treatments = {
            name: {
                "structure": LowRank(rank=1) if "weight_hh" in name else Dense(),
                "precision": EntropyStep(step=0.3),
            }
            for name in source.weights.weights
        }
        plan = CompressionPlan.model_validate({"treatments": treatments})
        Encoder(source).write(plan, self._file)
        return self._file.read_bytes()

    def made(self, random: Random) -> bytes:
        """Return an artifact."""
        data = random.choice(self.seeds)
        if random.random() < 0.2:
            return self._artifacts.of(random, data)
        container = Container.of(data)
        document = header_of(container)
        if random.random() < 0.7:
            document["model"] = mutated(random, document["model"])
            return sealed(with_header(container, written(document)).written())
        words = pack_asset(another_vocabulary(random, Vocabulary(_WORDS).to_bytes()))
        return sealed(container.with_bytes(":asset:vocab.txt", words).written())

    def read(self, data: bytes) -> None:
        """Load the model, read its words, and build what is exported."""
        self._file.write_bytes(data)
        artifact = open_artifact(self._file)
        model = autocompress.load(artifact)
        assert isinstance(model, LanguageModel)
        words = carried_vocabulary(artifact)
        with torch.no_grad():
            model(torch.zeros(1, 1, dtype=torch.int64))
        build(artifact, top_k=1)
        assert words.words


class Trainings:
    """Files of unfinished training runs."""

    name = "training runs"
    allowed = (ModelError,)

    def __init__(self, folder: Path) -> None:
        """Write one to begin with.

        Args:
            folder: Where an input is put, under the same name each time.
        """
        self._folder = folder / "training"
        self._model = _model("rnn")
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=0.5, momentum=0.5)
        for parameter in self._model.parameters():  # exact numbers, so that the file is the same
            parameter.grad = torch.ones_like(parameter)
        self._optimizer.step()
        history = History([3.0], [4.0], 1.0)
        save_checkpoint(self._folder, self._model, self._optimizer, {"seed": 1}, history)
        container = Container.of((self._folder / _TRAINING).read_bytes())
        # Safetensors writes metadata in another order each time.
        metadata = dict(sorted(container.metadata.items()))
        self._seed = Container(metadata, container.tensors).written()

    def made(self, random: Random) -> bytes:
        """Return the file."""
        if random.random() < 0.4:
            return damaged(random, self._seed, self._seed[::-1])
        container = Container.of(self._seed)
        if random.random() < 0.5:
            return container.with_another_table(random)
        key = random.choice(("settings", "history"))
        text = changed_text(random, json.loads(container.metadata[key])).decode("utf-8", "replace")
        return Container({**container.metadata, key: text}, container.tensors).written()

    def read(self, data: bytes) -> None:
        """Continue the training run."""
        (self._folder / _TRAINING).write_bytes(data)
        read_settings(self._folder)
        load_checkpoint(self._folder, self._model, self._optimizer)
