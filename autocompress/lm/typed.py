"""Words as people type them, beside those that a model knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autocompress.lm.vocabulary import Vocabulary

_SHOWN = 5


@dataclass(frozen=True)
class Typed:
    """A text, as a model can read it.

    Attributes:
        words: The words, those with capitals in small letters where only these are known.
        folded: Words that were put in small letters, each once.
        unknown: Words that are not known at all, each once.
    """

    words: tuple[str, ...]
    folded: tuple[str, ...]
    unknown: tuple[str, ...]

    def notes(self, vocabulary: Vocabulary) -> Iterator[str]:
        """Yield a line for people on each kind of word that is read as another."""
        if self.folded:
            yield f"not known with capitals, read in small letters: {_listed(self.folded)}"
        if self.unknown:
            yield f"unknown words, read as {vocabulary.unknown}: {_listed(self.unknown)}"


def typed(text: str, vocabulary: Vocabulary) -> Typed:
    """Split a text at white space; what is known in small letters alone is put in these."""
    words, folded, unknown = [], [], []
    for word in text.split():
        small = word.lower()
        if word not in vocabulary.ids and small in vocabulary.ids:
            folded.append(word)
            words.append(small)
            continue
        words.append(word)
        if word not in vocabulary.ids:
            unknown.append(word)
    return Typed(tuple(words), tuple(dict.fromkeys(folded)), tuple(dict.fromkeys(unknown)))


def _listed(words: tuple[str, ...]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
