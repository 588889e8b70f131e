"""Vector quantization: neighbouring elements of a row share one index into a codebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.structures.arrays import whole
from autocompress.structures.base import STRUCTURES, Structure
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape

_TRAINING_VECTORS_PER_ENTRY = 256
_FEWEST_TRAINING_VECTORS, _MOST_TRAINING_VECTORS = 2**14, 2**17
_SEEDING_VECTORS_PER_ENTRY = 4
_FEWEST_SEEDING_VECTORS = 4096
_MOST_ITERATIONS = 25
_SETTLED = 1e-3
# So many distances fit into the fast caches together with the vectors.
_DISTANCES_AT_ONCE = 2**16

Indices = NDArray[np.int64]
Book = NDArray[np.float64]


@STRUCTURES.register("vector_quantized")
class VectorQuantized(Structure):
    """Stores each run of `dimension` elements of a row as an index into a codebook.

    A codebook holds up to 2^bits vectors, found by k-means [1]; with several parts, the columns
    are split into as many groups, each with a codebook of its own, which is product quantization
    [2]. Rows with frequencies count by `frequency + 1` in the k-means, so that words that occur
    often are stored finer, and rows that never occur still matter. Where the dimension does not
    divide the width, the last vector of a row is padded; what is padded has no part in any
    distance or mean. Parts with no more different vectors than entries are stored exactly.

    The k-means runs on a sample of at most 256 vectors per entry, as in [3], starts from
    k-means++ [4] and ends with a step on all vectors. Its random numbers are the same every time.

    Attributes:
        dimension: Elements of a vector.
        bits: Base-2 logarithm of the most entries a codebook may have.
        parts: Codebooks, each for a group of neighbouring columns.

    References:
        [1] Y. Linde, A. Buzo, R. Gray. An Algorithm for Vector Quantizer Design. IEEE
            Transactions on Communications 1980.
        [2] H. Jegou, M. Douze, C. Schmid. Product Quantization for Nearest Neighbor Search. IEEE
            Transactions on Pattern Analysis and Machine Intelligence 2011.
        [3] M. Douze et al. The Faiss library. 2024, arXiv 2401.08281.
        [4] D. Arthur, S. Vassilvitskii. k-means++: The Advantages of Careful Seeding. SODA 2007.
    """

    kind: Literal["vector_quantized"] = "vector_quantized"
    since: ClassVar[str] = "0.1.0"
    dimension: Annotated[int, Field(ge=1)]
    bits: Annotated[int, Field(ge=1, le=12)]
    parts: Annotated[int, Field(ge=1)] = 1

    @property
    def keeps_rows(self) -> bool:
        """Return False: no factor has the rows of the weight."""
        return False

    def label(self) -> str:
        """Return "vq", bits per vector, dimension, and the parts if there are several."""
        parts = f" {self.parts} parts" if self.parts > 1 else ""
        return f"vq {self.bits} bit per {self.dimension}{parts}"

    def misfit(self, shape: Shape) -> str | None:
        """Refuse vectors wider than a row, empty parts, and more entries than vectors."""
        rows, cols = shape
        if self.dimension > cols:
            rule = f"`1 <= dimension <= {cols}` must hold for shape {shape}"
            return f"{rule}, but got dimension={self.dimension}"
        n_vectors = self._vectors_per_row(cols)
        if self.parts > n_vectors:
            rule = f"`1 <= parts <= {n_vectors}` must hold for rows of {n_vectors} vectors"
            return f"{rule}, but got parts={self.parts}"
        smallest = rows * (n_vectors // self.parts)
        if 2**self.bits > smallest:
            rule = f"`2^bits <= {smallest}` must hold for parts of {smallest} vectors"
            return f"{rule}, but got bits={self.bits}"
        return None

    def integer_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Return the shapes of `indices` (rows, vectors) and, if there is any, `padding` (1, 1).

        The padding is stored since the width of the weight does not follow from the indices.
        """
        n_vectors = self._vectors_per_row(shape[1])
        shapes = {"indices": (shape[0], n_vectors)}
        return shapes if n_vectors * self.dimension == shape[1] else {**shapes, "padding": (1, 1)}

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Return the shape of `codebook` (parts * entries, dimension).

        The entries are those up to the largest index, which the codebooks of all parts have.

        Raises:
            ValueError: If an index is beyond 2^bits or the padding is not that of the shape.
        """
        smallest, largest = int(integers["indices"].min()), int(integers["indices"].max())
        if smallest < 0 or largest >= 2**self.bits:
            raise ValueError(f"indices from {smallest} to {largest} for {2**self.bits} entries")
        padding = self._vectors_per_row(shape[1]) * self.dimension - shape[1]
        if padding and int(integers["padding"][0, 0]) != padding:
            raise ValueError(f"a padding of {integers['padding'][0, 0]:g} instead of {padding}")
        return {"codebook": (self.parts * (largest + 1), self.dimension)}

    def factorize(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        """Run k-means in every part; entries are in order of use, so that parts code alike."""
        del curvature
        # A power of two changes no digit, and keeps squares within single precision.
        exponent = int(np.frexp(np.abs(weight).max())[1])
        counts = np.ones(weight.shape[0]) if row_frequencies is None else row_frequencies + 1
        vectors = self._vectors(np.ldexp(weight, -exponent))
        indices = np.empty(vectors.shape[:2], dtype=np.int64)
        books = []
        for first, last in self._bounds(vectors.shape[1]):
            features = vectors[:, first:last].reshape(-1, 2 * self.dimension)
            part = _Vectors(features, np.repeat(counts, last - first))
            book, found = _quantize(part, 2**self.bits)
            indices[:, first:last] = found.reshape(-1, last - first)
            books.append(np.ldexp(book, exponent))
        codes = indices.astype(np.float32)
        factors = {"indices": Factor(codes, row_frequencies=row_frequencies, integers=True)}
        padding = vectors.shape[1] * self.dimension - weight.shape[1]
        if padding:
            factors["padding"] = Factor(np.full((1, 1), padding, np.float32), integers=True)
        return {**factors, "codebook": Factor(_stacked(books, int(indices.max()) + 1))}

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Return the vectors behind the indices, side by side, without the padding."""
        indices, codebook = whole(factors["indices"]), factors["codebook"]
        entries = codebook.shape[0] // self.parts
        for number, (first, last) in enumerate(self._bounds(indices.shape[1])):
            indices[:, first:last] += number * entries
        padded = codebook[indices].reshape(indices.shape[0], -1)
        padding = int(factors["padding"][0, 0]) if "padding" in factors else 0
        return padded[:, : padded.shape[1] - padding]

    def counted_bits(self, factor: str) -> float:
        """Return the bits of an index; the padding is not counted."""
        return float(self.bits) if factor == "indices" else 0.0

    def _vectors_per_row(self, cols: int) -> int:
        return -(-cols // self.dimension)

    def _bounds(self, n_vectors: int) -> Iterator[tuple[int, int]]:
        """Yield where each part begins and ends in a row of vectors."""
        for number in range(self.parts):
            yield number * n_vectors // self.parts, (number + 1) * n_vectors // self.parts

    def _vectors(self, weight: Matrix) -> Matrix:
        """Return vectors beside where they are present, of shape (rows, vectors, 2 dimension)."""
        rows, cols = weight.shape
        n_vectors = self._vectors_per_row(cols)
        padded = np.zeros((2, rows, n_vectors * self.dimension), dtype=np.float32)
        padded[0, :, :cols], padded[1, :, :cols] = weight, 1
        return np.concatenate(list(padded.reshape(2, rows, n_vectors, self.dimension)), axis=2)


@dataclass(frozen=True)
class _Vectors:
    """Vectors to be represented by the entries of one codebook.

    Attributes:
        features: Float32 array of shape (n, 2 dimension): the elements, zero where absent, and
            after them one for every element that is present, zero for padding.
        weights: Float64 array of shape (n,), how much each vector counts; at least one.
    """

    features: Matrix
    weights: NDArray[np.float64]

    @property
    def values(self) -> Matrix:
        return self.features[:, : self.features.shape[1] // 2]

    @property
    def present(self) -> Matrix:
        return self.features[:, self.features.shape[1] // 2 :]

    def of(self, chosen: NDArray[np.bool_] | Indices) -> _Vectors:
        return _Vectors(self.features[chosen], self.weights[chosen])


def _quantize(part: _Vectors, entries: int) -> tuple[Book, Indices]:
    """Return a codebook in order of use, unused entries left out, and the index of each vector."""
    book, indices = _exact(part.values, entries) or _k_means(part, entries)
    uses = np.bincount(indices, minlength=len(book))
    order = np.argsort(-uses, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(order.size)
    return book[order][: np.count_nonzero(uses)], ranks[indices]


def _exact(values: Matrix, entries: int) -> tuple[Book, Indices] | None:
    """Return the different vectors and which of them each is, or None if there are too many."""
    # Most often, a few vectors suffice to see that there are too many.
    if len(np.unique(values[: 2 * entries], axis=0)) > entries:
        return None
    book, indices = np.unique(values, axis=0, return_inverse=True)
    return (book.astype(np.float64), indices.ravel()) if len(book) <= entries else None


def _k_means(part: _Vectors, entries: int) -> tuple[Book, Indices]:
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


def _sample(part: _Vectors, size: int, generator: np.random.Generator) -> _Vectors:
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
    return _Vectors(drawn.features, np.maximum(drawn.weights, threshold))


def _seed(sample: _Vectors, entries: int, generator: np.random.Generator) -> Book:
    """Choose first entries by k-means++: in proportion to weight and squared distance."""
    book = np.zeros((entries, sample.values.shape[1]))
    distances = np.ones(len(sample.weights), dtype=np.float32)
    nearest = np.full(len(distances), np.inf, dtype=np.float32)
    for entry in range(entries):
        odds = np.cumsum(distances * sample.weights)
        # Where all vectors are entries already, the last is repeated, and dropped as unused.
        drawn = int(np.searchsorted(odds, generator.random() * odds[-1], side="right"))
        book[entry] = sample.values[min(drawn, odds.size - 1)]
        error = (sample.values - book[entry].astype(np.float32)) * sample.present
        distances = nearest = np.minimum(nearest, np.einsum("ij,ij->i", error, error))
    return book


def _nearest(part: _Vectors, book: Book) -> Indices:
    """Return the entry nearest to each vector in the elements that are present.

    Less the square of the vector, its squared distance is one product: of its elements and their
    presence with the entry's elements, times -2, and their squares.
    """
    entries = np.concatenate([-2 * book, book**2], axis=1).T.astype(np.float32)
    step = max(1, _DISTANCES_AT_ONCE // len(book))
    chunks = (part.features[i : i + step] for i in range(0, len(part.weights), step))
    return np.concatenate([(chunk @ entries).argmin(axis=1) for chunk in chunks])


def _means(part: _Vectors, indices: Indices, book: Book) -> Book:
    """Return each entry's weighted mean; unused entries become the vectors worst represented."""
    means = book.copy()
    for column, (values, present) in enumerate(zip(part.values.T, part.present.T, strict=True)):
        sums = np.bincount(indices, values * part.weights, minlength=len(book))
        masses = np.bincount(indices, present * part.weights, minlength=len(book))
        np.divide(sums, masses, out=means[:, column], where=masses > 0)
    unused = np.flatnonzero(np.bincount(indices, minlength=len(book)) == 0)
    if unused.size:
        errors = np.square((part.values - means[indices]) * part.present).sum(axis=1)
        worst = np.argsort(-errors * part.weights, kind="stable")[: unused.size]
        means[unused] = part.values[worst]
    return means


def _stacked(books: list[Book], entries: int) -> Matrix:
    """Return the codebooks upon each other, each filled up to `entries` with zeros."""
    filled = [np.pad(book, ((0, entries - len(book)), (0, 0))) for book in books]
    return np.concatenate(filled).astype(np.float32)
