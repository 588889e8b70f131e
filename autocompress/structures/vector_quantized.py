"""Vector quantization: neighbouring elements of a row share one index into a codebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.structures.arrays import whole
from autocompress.structures.base import STRUCTURES, Structure
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape
from autocompress.structures.k_means import Book, Vectors, quantize, repeated


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

    def in_words(self) -> str:
        """Return the dimension, bits per vector, and the parts if there are several."""
        parts = f", {self.parts} codebooks" if self.parts > 1 else ""
        return f"vectors of {self.dimension}, {self.bits} bits each{parts}"

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
        exponent = int(np.frexp(np.float32(max(weight.max(), -weight.min())))[1])
        counts = np.ones(weight.shape[0]) if row_frequencies is None else row_frequencies + 1
        vectors = self._vectors(weight)
        present = np.ones(vectors.shape[1:], np.float32)
        present.flat[weight.shape[1] :] = 0
        indices = np.empty(vectors.shape[:2], dtype=np.int16)
        books = []
        for first, last in self._bounds(vectors.shape[1]):
            values = vectors[:, first:last].reshape(-1, self.dimension)
            part = Vectors(values, present[first:last], repeated(counts, last - first), exponent)
            book, found = quantize(part, 2**self.bits)
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
        """Return the vectors, zero where they are padded, of shape (rows, vectors, dimension)."""
        rows, cols = weight.shape
        n_vectors = self._vectors_per_row(cols)
        padded = weight
        if n_vectors * self.dimension > cols:
            padded = np.zeros((rows, n_vectors * self.dimension), dtype=np.float32)
            padded[:, :cols] = weight
        return padded.reshape(rows, n_vectors, self.dimension)


def _stacked(books: list[Book], entries: int) -> Matrix:
    """Return the codebooks upon each other, each filled up to `entries` with zeros."""
    filled = [np.pad(book, ((0, entries - len(book)), (0, 0))) for book in books]
    return np.concatenate(filled).astype(np.float32)
