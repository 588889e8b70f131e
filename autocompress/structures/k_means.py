"""k-means of vectors, of which some elements may be absent; gone through chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.factors import Matrix

_TRAINING_VECTORS_PER_ENTRY = 256
_FEWEST_TRAINING_VECTORS, _MOST_TRAINING_VECTORS = 2**14, 2**17
_SEEDING_VECTORS_PER_ENTRY = 4
_FEWEST_SEEDING_VECTORS = 4096
_MOST_ITERATIONS = 25
_SETTLED = 1e-3
# So many distances fit into the fast caches together with the vectors.
_DISTANCES_AT_ONCE = 2**16

# Sums are rounded by chunks of so many vectors, whatever is in memory at once.
_VECTORS_AT_ONCE = 2**22
_COMPARED_AT_ONCE = 2**16
_ALL = slice(None)

Indices = NDArray[np.signedinteger[Any]]
Book = NDArray[np.float64]


@dataclass(frozen=True)
class Vectors:
    """Vectors to be represented by the entries of one codebook.

    Attributes:
        raw: Float32 array of shape (n, dimension): the elements, zero where absent.
        pattern: Float32 array of shape (m, dimension), one for every element that is present,
            zero for padding, of m vectors in turn.
        weights: Float64 array of shape (n,), how much each vector counts; at least one.
        exponent: By how many octaves the elements are to be scaled down.
    """

    raw: Matrix
    pattern: Matrix
    weights: NDArray[np.float64]
    exponent: int = 0

    def values(self, chosen: slice | Indices = _ALL) -> Matrix:
        """The elements of some vectors, scaled."""
        return np.ldexp(self.raw[chosen], -self.exponent)

    def present(self, chosen: slice | Indices = _ALL) -> Matrix:
        """Which of their elements are present."""
        numbers = chosen if isinstance(chosen, np.ndarray) else np.arange(len(self.raw))[chosen]
        return self.pattern[numbers % len(self.pattern)]

    def features(self, chosen: slice | Indices = _ALL) -> Matrix:
        """The elements, and after them which are present."""
        return np.concatenate([self.values(chosen), self.present(chosen)], axis=1)

    def of(self, chosen: NDArray[np.bool_]) -> Vectors:
        """Some of the vectors alone."""
        numbers = np.flatnonzero(chosen)
        return Vectors(self.values(numbers), self.present(numbers), self.weights[numbers])


def repeated(counts: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Return a count for every vector of the rows."""
    if counts.min() == counts.max():
        return np.broadcast_to(counts[:1], (counts.size * times,))
    return np.repeat(counts, times)


def _chunks(size: int, step: int = _VECTORS_AT_ONCE) -> Iterator[slice]:
    return (slice(first, min(first + step, size)) for first in range(0, size, step))


def quantize(part: Vectors, entries: int) -> tuple[Book, Indices]:
    """Return a codebook in order of use, unused entries left out, and the index of each vector."""
    book, indices = _exact(part, entries) or _k_means(part, entries)
    uses = _counted(indices, len(book))
    order = np.argsort(-uses, kind="stable")
    ranks = np.empty(order.size, dtype=np.int16)
    ranks[order] = np.arange(order.size)
    return book[order][: np.count_nonzero(uses)], ranks[indices]


def _counted(indices: Indices, entries: int) -> NDArray[np.int64]:
    uses = np.zeros(entries, dtype=np.int64)
    for chunk in _chunks(len(indices)):
        uses += np.bincount(indices[chunk], minlength=entries)
    return uses


def _exact(part: Vectors, entries: int) -> tuple[Book, Indices] | None:
    """Return the different vectors and which of them each is, or None if there are too many."""
    # Most often, a few vectors suffice to see that there are too many.
    if len(np.unique(part.values(slice(2 * entries)), axis=0)) > entries:
        return None
    book, indices = np.unique(part.values(), axis=0, return_inverse=True)
    return (book.astype(np.float64), indices.ravel()) if len(book) <= entries else None


def _k_means(part: Vectors, entries: int) -> tuple[Book, Indices]:
    generator = np.random.default_rng(0)
    n_training = max(_TRAINING_VECTORS_PER_ENTRY * entries, _FEWEST_TRAINING_VECTORS)
    training = _sample(part, min(n_training, _MOST_TRAINING_VECTORS), generator)
    n_seeding = max(_SEEDING_VECTORS_PER_ENTRY * entries, _FEWEST_SEEDING_VECTORS)
    book = _seed(_sample(training, n_seeding, generator), entries, generator)
    indices = np.full(len(training.weights), -1)
    for _ in range(_MOST_ITERATIONS):
        previous, indices = indices, _nearest(training, book)
        if np.mean(previous != indices) <= _SETTLED:
            break
        book = _means(training, indices, book)
    if training is not part:
        book = _means(part, _nearest(part, book), book)
    return book, _nearest(part, book)


def _sample(part: Vectors, size: int, generator: np.random.Generator) -> Vectors:
    """Draw about `size` vectors, of which weighted sums are those of all in expectation.

    Vectors are drawn in proportion to their weight and then count alike; those of a weight above
    that are all kept, with their weight.
    """
    if len(part.weights) <= size:
        return part
    threshold, n_heavy = 0.0, -1
    heavy = np.zeros(len(part.weights), dtype=np.bool_)
    while n_heavy != (n_heavy := int(heavy.sum())):
        threshold = part.weights[~heavy].sum() / (size - n_heavy)
        heavy = part.weights >= threshold
    drawn = part.of(generator.random(len(heavy)) * threshold < part.weights)
    return Vectors(drawn.raw, drawn.pattern, np.maximum(drawn.weights, threshold))


def _seed(sample: Vectors, entries: int, generator: np.random.Generator) -> Book:
    """Choose first entries by k-means++: in proportion to weight and squared distance."""
    values, present = sample.values(), sample.present()
    book = np.zeros((entries, values.shape[1]))
    distances = np.ones(len(sample.weights), dtype=np.float32)
    nearest = np.full(len(distances), np.inf, dtype=np.float32)
    for entry in range(entries):
        odds = np.cumsum(distances * sample.weights)
        # Where all vectors are entries already, the last is repeated, and dropped as unused.
        drawn = int(np.searchsorted(odds, generator.random() * odds[-1], side="right"))
        book[entry] = values[min(drawn, odds.size - 1)]
        error = (values - book[entry].astype(np.float32)) * present
        distances = nearest = np.minimum(nearest, np.einsum("ij,ij->i", error, error))
    return book


def _nearest(part: Vectors, book: Book) -> Indices:
    """Return the entry nearest to each vector in the elements that are present, int16.

    Less the square of the vector, its squared distance is one product: of its elements and their
    presence with the entry's elements, times -2, and their squares.
    """
    entries = np.concatenate([-2 * book, book**2], axis=1).T.astype(np.float32)
    step = max(1, _DISTANCES_AT_ONCE // len(book))
    indices = np.empty(len(part.weights), dtype=np.int16)
    for chunk in _chunks(len(indices), max(_COMPARED_AT_ONCE // step, 1) * step):
        features = part.features(chunk)
        for few in _chunks(len(features), step):
            indices[chunk][few] = (features[few] @ entries).argmin(axis=1)
    return indices


def _means(part: Vectors, indices: Indices, book: Book) -> Book:
    """Return each entry's weighted mean; unused entries become the vectors worst represented."""
    sums, masses = np.zeros(book.T.shape), np.zeros(book.T.shape)
    for chunk in _chunks(len(indices)):
        of_chunk = np.zeros((2, *sums.shape))
        for few in _chunks(chunk.stop - chunk.start, _COMPARED_AT_ONCE):
            some = slice(chunk.start + few.start, chunk.start + few.stop)
            weights = part.weights[some]
            for totals, of in zip(of_chunk, (part.values(some), part.present(some)), strict=True):
                for total, column in zip(totals, of.T, strict=True):
                    np.add.at(total, indices[some], column * weights)
        sums += of_chunk[0]
        masses += of_chunk[1]
    sums, masses = sums.T, masses.T
    means = book.copy()
    np.divide(sums, masses, out=means, where=masses > 0)
    unused = np.flatnonzero(_counted(indices, len(book)) == 0)
    if unused.size:
        errors = np.concatenate(
            [_errors(part, c, means[indices[c]]) for c in _chunks(len(indices), _COMPARED_AT_ONCE)]
        )
        worst = np.argsort(-errors * part.weights, kind="stable")[: unused.size]
        means[unused] = part.values(worst)
    return means


def _errors(part: Vectors, chunk: slice, means: Book) -> NDArray[np.float64]:
    squares = np.square((part.values(chunk) - means) * part.present(chunk))
    return np.asarray(squares.sum(axis=1))
