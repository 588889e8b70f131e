"""Texts as arrays of word ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from autocompress.errors import CorpusError
from autocompress.lm.vocabulary import END_OF_SENTENCE, UNKNOWN, Vocabulary, build_vocabulary
from autocompress.support import progress
from autocompress.support.files import write_whole

SplitName = Literal["train", "valid", "test"]
_MANY_UNKNOWN = 0.2
_SHOWN = 5
_SPLITS: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True, eq=False)
class Corpus:
    """An encoded text in three splits.

    Attributes:
        vocabulary: What the ids mean.
        train: Word ids, int64 of shape (words,), as are `valid` and `test`.
        valid: Held out, to choose by.
        test: Held out, read once at the end.
        name: What reports call it.
    """

    vocabulary: Vocabulary
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]
    name: str


def read_corpus(
    path: str | Path, vocabulary: Vocabulary | None = None, max_vocabulary: int | None = None
) -> Corpus:
    """Read a text whose words are separated by white space; each newline becomes `<eos>`.

    Args:
        path: A folder that holds `train.txt`, `valid.txt` and `test.txt`, each perhaps with a
            prefix (`ptb.train.txt`); or one text file, whose first 90 % of lines are the
            training split, the next 5 % the validation split and the last 5 % the test split.
        vocabulary: Words of a trained model. Without one it is built from the training split,
            the most frequent word first, ties by first appearance.
        max_vocabulary: The most words of a vocabulary that is built; the rest become `<unk>`.

    Raises:
        CorpusError: A file is missing, empty or not UTF-8, or has words that the vocabulary
            cannot encode.
    """
    path = Path(path)
    words = {split: list(_words(path, split, vocabulary)) for split in _SPLITS}
    if vocabulary is None:
        known = build_vocabulary(words["train"], max_vocabulary)
        arrays = {split: known.encode(words[split], f"{path} ({split})") for split in _SPLITS}
    else:
        known = vocabulary
        _warn_of_ends(known)
        arrays = {split: _encoded(path, split, words[split], known) for split in _SPLITS}
    return Corpus(known, arrays["train"], arrays["valid"], arrays["test"], path.stem)


def read_split(path: str | Path, split: SplitName, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Read one split alone, as `read_corpus` does; a folder need not hold the others.

    Returns:
        Word ids, int64 of shape (words,).
    """
    path = Path(path)
    _warn_of_ends(vocabulary)
    return _encoded(path, split, list(_words(path, split, vocabulary)), vocabulary)


def words_as_they_appear(
    path: str | Path, unknown: str = UNKNOWN, end_of_sentence: str = END_OF_SENTENCE
) -> Vocabulary:
    """Return the words of a text in the order in which they first appear.

    So are they numbered by PyTorch's word_language_model and by AWD-LSTM, which read the
    training, the validation and the test text one after the other.

    Args:
        path: As of `read_corpus`.
        unknown: Stands for other words, if the text has it.
        end_of_sentence: What each line of the text ends with.

    Raises:
        CorpusError: A file is missing, empty or not UTF-8.
    """
    lines = (line for split in _SPLITS for line in _lines(Path(path), split))
    words = dict.fromkeys(word for line in lines for word in (*line.split(), end_of_sentence))
    return Vocabulary(tuple(words), unknown, end_of_sentence)


def write_corpus(corpus: Corpus, folder: str | Path) -> Path:
    """Write the three splits as text files that `read_corpus` reads back to the same ids.

    Args:
        corpus: What to write; words outside the vocabulary have become `<unk>` in it.
        folder: Made where it is missing; files in it are replaced.

    Returns:
        `folder`.
    """
    folder = Path(folder)
    words, end = corpus.vocabulary.words, corpus.vocabulary.end_of_sentence
    for split, ids in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        text = " ".join(words[number] for number in ids.tolist()) + " "
        lines = text.replace(f" {end} ", "\n")
        write_whole(folder / f"{split}.txt", lines.encode())
    return folder


def _encoded(
    path: Path, split: SplitName, words: list[str], vocabulary: Vocabulary
) -> NDArray[np.int64]:
    """Turn words into ids, and warn where the vocabulary seems to be that of another text."""
    ids = vocabulary.encode(words, f"{path} ({split})")
    end, unknown = vocabulary.end_of_sentence, vocabulary.unknown
    strange = [word for word in words if word not in vocabulary.ids and word != end]
    share = len(strange) / max(sum(word != end for word in words), 1)
    if share > _MANY_UNKNOWN:
        shown = ", ".join(map(repr, dict.fromkeys(strange[:_SHOWN])))
        progress.say(
            f"warning: {100 * share:.0f} % of the words of {path} ({split}) are unknown to the "
            f"vocabulary of {len(vocabulary)} words and read as {unknown!r} ({shown}, ...); is it "
            "the text, in the spelling, that the model was trained on?"
        )
    return ids


def _warn_of_ends(vocabulary: Vocabulary) -> None:
    end, unknown = vocabulary.end_of_sentence, vocabulary.unknown
    if end not in vocabulary.ids and unknown in vocabulary.ids:
        progress.say(
            f"warning: the vocabulary lacks {end!r}, so that the end of each line is read as "
            f"{unknown!r}; put the word where it was when the model was trained, or name the one "
            "that ends sentences in config.json"
        )


def _words(path: Path, split: SplitName, vocabulary: Vocabulary | None) -> Iterator[str]:
    end = END_OF_SENTENCE if vocabulary is None else vocabulary.end_of_sentence
    for line in _lines(path, split):
        yield from line.split()
        yield end


def _lines(path: Path, split: SplitName) -> list[str]:
    if path.is_dir():
        source = _split_file(path, split)
        lines = _read_lines(source)
    elif path.is_file():
        source, everything = path, _read_lines(path)
        # Whole lines in order: neighbouring lines of a text resemble each other, so shuffling
        # them would let the held-out splits leak into the training split.
        first, second = len(everything) * 90 // 100, len(everything) * 95 // 100
        parts = {"train": everything[:first], "valid": everything[first:second]}
        lines = parts.get(split, everything[second:])
    else:
        raise CorpusError(f"a corpus is a folder or a text file, but there is none at {path}")
    if not any(line.strip() for line in lines):
        raise CorpusError(
            f"each split needs words, but {split} of {source} has none; give a longer text"
        )
    return lines


def _split_file(folder: Path, split: SplitName) -> Path:
    found = sorted({*folder.glob(f"{split}.txt"), *folder.glob(f"*.{split}.txt")})
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise CorpusError(
            f"a corpus folder holds exactly one file {split}.txt or *.{split}.txt, but {folder} "
            f"holds {names}; add or remove files"
        )
    return found[0]


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # without the mark that editors put there
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"a corpus is UTF-8 text, but byte {error.start} of {path} is not; convert it to UTF-8"
        ) from None
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]
