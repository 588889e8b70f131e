"""Words and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autocompress.errors import CorpusError

UNKNOWN = "<unk>"
END_OF_SENTENCE = "<eos>"
VOCABULARY = "vocab.txt"
"""The file of the words, in model folders and in artifacts."""
_SHOWN_WORDS = 5


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows; the place of a word is its id.

    Attributes:
        words: Distinct words without white space, by id.
        unknown: Stands for every word that is not in `words`, where it is itself one of them.
        end_of_sentence: Stands for the end of a line.
    """

    words: tuple[str, ...]
    unknown: str = UNKNOWN
    end_of_sentence: str = END_OF_SENTENCE

    def __post_init__(self) -> None:
        if not self.words:
            raise CorpusError("a vocabulary needs at least one word, this one has none; add words")
        if len(self.ids) != len(self.words):
            double = next(word for word, count in Counter(self.words).items() if count > 1)
            raise CorpusError(
                f"the words of a vocabulary must differ, but {double!r} is there more than once; "
                "remove the copies"
            )
        for number, word in enumerate(self.words):
            if word.split() != [word]:
                raise CorpusError(
                    f"a word is one or more characters without white space, but word {number} of "
                    f"the vocabulary is {word!r}; write one word a line"
                )

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word."""
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, text_words: Iterable[str], source: str = "the text") -> NDArray[np.int64]:
        """Turn words into ids.

        Args:
            text_words: The words of a text, in order.
            source: What error messages call the text.

        Returns:
            An int64 array of shape (number of words,).

        Raises:
            CorpusError: There are unknown words, and the vocabulary has no word that stands
                for them.
        """
        words = list(text_words)
        fallback = self.ids.get(self.unknown, -1)
        encoded = np.array([self.ids.get(word, fallback) for word in words], dtype=np.int64)
        if fallback < 0 and (encoded < 0).any():
            missing = list(dict.fromkeys(word for word in words if word not in self.ids))
            shown = ", ".join(map(repr, missing[:_SHOWN_WORDS]))
            raise CorpusError(
                f"{source} has {len(missing)} words that the vocabulary of {len(self)} words "
                f"lacks ({shown}{', ...' if len(missing) > _SHOWN_WORDS else ''}); use the text "
                f"that the model was trained on, or a vocabulary with {self.unknown!r}"
            )
        return encoded

    def to_bytes(self) -> bytes:
        """Write one word a line, in UTF-8."""
        return "".join(word + "\n" for word in self.words).encode()

    @classmethod
    def from_bytes(
        cls, data: bytes, unknown: str = UNKNOWN, end_of_sentence: str = END_OF_SENTENCE
    ) -> Vocabulary:
        """Read what `to_bytes` wrote.

        Raises:
            CorpusError: The bytes are not UTF-8, or the words are no vocabulary.
        """
        try:
            text = data.decode("utf-8-sig")  # editors put a mark there that is no part of a word
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"a vocabulary is UTF-8 text, but byte {error.start} is not; convert it to UTF-8"
            ) from None
        # Not splitlines(): it also splits at characters such as U+0085 that a word may hold.
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        return cls(tuple(lines) if text else (), unknown, end_of_sentence)


def build_vocabulary(text_words: Iterable[str], max_vocabulary: int | None = None) -> Vocabulary:
    """Number the words of a training text, most frequent first, ties by first appearance.

    Args:
        text_words: The words of the text, ends of sentences included.
        max_vocabulary: The most words to keep. The others become `<unk>`, which counts as a
            word and stands where its frequency puts it.

    Raises:
        CorpusError: `max_vocabulary` leaves no room for `<unk>`, `<eos>` and a word.
    """
    counts = Counter(text_words)
    if max_vocabulary is None or len(counts) <= max_vocabulary:
        return Vocabulary(tuple(word for word, _ in counts.most_common()))
    if max_vocabulary < 3:
        raise CorpusError(
            f"max_vocabulary must leave room for {UNKNOWN}, {END_OF_SENTENCE} and a word, got "
            f"{max_vocabulary}; give 3 or more"
        )
    special = {UNKNOWN: counts.pop(UNKNOWN, 0), END_OF_SENTENCE: counts.pop(END_OF_SENTENCE, 0)}
    ranked = counts.most_common()
    kept = Counter(dict(ranked[: max_vocabulary - len(special)]))
    special[UNKNOWN] += sum(count for _, count in ranked[len(kept) :])
    kept.update(special)
    return Vocabulary(tuple(word for word, _ in kept.most_common()))
