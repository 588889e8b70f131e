"""A compressed language model side by side with its original, on one text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autocompress.lm.batches import check_length, columns, count_windows, windows
from autocompress.lm.evaluate import COLUMNS
from autocompress.lm.recurrence import recurrence_on_one_thread
from autocompress.lm.vocabulary import Vocabulary
from autocompress.support import progress
from autocompress.support.device import device_of

_MOST_WORDS, _STEPS = 20_000, 35
_SENTENCES, _LIKELY, _DRAWN = 6, 3, 40
_SHORTEST, _LONGEST = 6, 14

Likely = tuple[tuple[str, float], ...]
"""Words with their probabilities, the likeliest first."""


@dataclass(frozen=True)
class Expectation:
    """What two models expect after the beginning of a sentence.

    Attributes:
        beginning: Of a sentence of the text.
        following: The word that comes next in the text.
        original: The three words that the original finds the likeliest.
        compressed: The same of the compressed model.
    """

    beginning: str
    following: str
    original: Likely
    compressed: Likely


@dataclass(frozen=True)
class SideBySide:
    """How a compressed language model differs from its original.

    Attributes:
        words: Words of the text that both have read; all further numbers are about them.
        agreement: How often both find the same word the likeliest, as a share.
        divergence: Mean Kullback-Leibler divergence of the compressed model's predictions from
            the original's, in nats per word.
        original_perplexity: Of the original.
        compressed_perplexity: Of the compressed model.
        expectations: What both expect in some sentences.
        original_text: A text that the original has generated.
        compressed_text: One of the compressed model, drawn by the same random numbers: as long
            as both agree, it has the same words.
    """

    words: int
    agreement: float
    divergence: float
    original_perplexity: float
    compressed_perplexity: float
    expectations: tuple[Expectation, ...]
    original_text: str
    compressed_text: str

    def to_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object."""
        return asdict(self)


def side_by_side(
    original: nn.Module,
    compressed: nn.Module,
    vocabulary: Vocabulary,
    tokens: NDArray[np.int64],
    seed: int = 0,
) -> SideBySide:
    """Compare two models of one vocabulary on the first 20,000 words of a text.

    Args:
        original: A `LanguageModel`, in evaluation mode.
        compressed: Another one.
        vocabulary: The words of both.
        tokens: The text as word ids, int64 of shape (words,).
        seed: Of the texts that are generated.

    Raises:
        CorpusError: If the text is too short.
    """
    check_length(tokens, COLUMNS)
    pair = original, compressed
    agreed, divergence, losses, n_words = 0, 0.0, [0.0, 0.0], 0
    with torch.inference_mode():
        for scores, following in _read(pair, tokens[:_MOST_WORDS]):
            own, other = (one.log_softmax(-1) for one in scores)
            agreed += int((own.argmax(-1) == other.argmax(-1)).sum())
            divergence += float((own.exp() * (own - other)).sum(dtype=torch.float64))
            for model, logs in enumerate((own, other)):
                losses[model] += float(functional.nll_loss(logs, following, reduction="sum"))
            n_words += len(following)
        expectations = tuple(_expected(pair, vocabulary, tokens))
        before, after = (_generated(model, vocabulary, seed) for model in pair)
    first, second = (math.exp(min(loss / n_words, 700)) for loss in losses)
    return SideBySide(
        words=n_words,
        agreement=agreed / n_words,
        divergence=divergence / n_words,
        original_perplexity=first,
        compressed_perplexity=second,
        expectations=expectations,
        original_text=before,
        compressed_text=after,
    )


def _read(
    pair: tuple[nn.Module, nn.Module], tokens: NDArray[np.int64]
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield the logits of both, (words, vocabulary), and the words that follow, by windows."""
    text, states = columns(tokens, COLUMNS), [None, None]
    with progress.bar("comparing", count_windows(text, _STEPS)) as bar:
        for words, following in windows(text, _STEPS):
            scores = []
            for place, model in enumerate(pair):
                with recurrence_on_one_thread(model):
                    logits, states[place] = model(words, states[place])
                scores.append(logits.flatten(0, 1))
            yield scores, following.flatten()
            bar.advance()


def _expected(
    pair: tuple[nn.Module, nn.Module], vocabulary: Vocabulary, tokens: NDArray[np.int64]
) -> Iterator[Expectation]:
    """Yield what both expect in the middle of sentences that are spread over the text."""
    for start, length in _sentences(vocabulary, tokens):
        cut = start + (2 * length + 2) // 3
        read = tokens[start - 1 : cut]  # from the end of the sentence before
        likely = [_likely(model, vocabulary, read) for model in pair]
        words = [vocabulary.words[one] for one in tokens[start : cut + 1].tolist()]
        yield Expectation(" ".join(words[:-1]), words[-1], *likely)


def _sentences(vocabulary: Vocabulary, tokens: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return where some sentences begin and how many words they have, short ones if possible."""
    ends = np.flatnonzero(tokens == vocabulary.ids.get(vocabulary.end_of_sentence, -1))
    lengths = np.diff(ends) - 1
    known = [place for place in range(len(lengths)) if lengths[place] > 1]
    fit = [place for place in known if _SHORTEST <= lengths[place] <= _LONGEST] or known
    stride = max(len(fit) // _SENTENCES, 1)
    chosen = islice(fit[stride // 2 :: stride], _SENTENCES)
    return [(int(ends[place]) + 1, int(lengths[place])) for place in chosen]


def _likely(model: nn.Module, vocabulary: Vocabulary, read: NDArray[np.int64]) -> Likely:
    logits, _ = model(torch.from_numpy(read)[:, None].to(device_of(model)))
    found = logits[-1, 0].softmax(-1).topk(min(_LIKELY, len(vocabulary)))
    words = (vocabulary.words[one] for one in found.indices.tolist())
    return tuple(zip(words, found.values.tolist(), strict=True))


def _generated(model: nn.Module, vocabulary: Vocabulary, seed: int) -> str:
    """Draw words by their probabilities, each by one random number; never the unknown word."""
    end = vocabulary.ids.get(vocabulary.end_of_sentence, 0)
    unknown = vocabulary.ids.get(vocabulary.unknown)
    drawn: list[int] = []
    state, word = None, end
    for share in np.random.default_rng(seed).random(_DRAWN).tolist():
        logits, state = model(torch.tensor([[word]], device=device_of(model)), state)
        odds = logits[0, 0].double().softmax(-1)
        if unknown is not None:
            odds[unknown] = 0.0
        # From the likeliest on, so that models that differ little draw the same word.
        ordered, places = odds.sort(descending=True, stable=True)
        sums = ordered.cumsum(0)
        place = int(torch.searchsorted(sums, share * sums[-1]))
        word = int(places[min(place, len(places) - 1)])
        drawn.append(word)
    return " ".join(vocabulary.words[one] for one in drawn)
