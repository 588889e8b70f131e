"""Tensor train: a weight, folded into a tensor, is a chain of small cores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autocompress.structures.arrays import contracted, padded, permuted, whole
from autocompress.structures.base import STRUCTURES, Structure
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape
from autocompress.structures.low_rank import truncated_svd
from autocompress.structures.markers import Share
from autocompress.structures.modes import paired_modes

_LARGEST_SIDE = 2**24


@STRUCTURES.register("tensor_train")
class TensorTrain(Structure):
    """Stores a weight as a chain of `modes` cores, a matrix in the tensor-train format.

    With rows = n_1 ... n_d and cols = m_1 ... m_d, element (i, j) is the product of d small
    matrices, G_1[i_1, j_1] ... G_d[i_d, j_d], where (i_1 ... i_d) and (j_1 ... j_d) are the
    digits of i and j, the first one the slowest [2]. G_k[i_k, j_k] has the shape
    (r_{k-1}, r_k), where r_0 = r_d = 1 and the others are `rank`, or what the bond can have if
    that is less: r_k <= min(n_1 m_1 ... n_k m_k, n_{k+1} m_{k+1} ... n_d m_d). The shape alone
    says what n_k and m_k are, see `paired_modes`; rows and columns of zeros are added where it
    does not factorise, and cut off again.

    The cores come from TT-SVD [1, alg. 1], one truncated singular value decomposition after the
    other, in float64. For the weight with its zeros, [1, th. 2.2 and cor. 2.4] give

        |error|^2 <= sum over k = 1 ... d-1 of the squares of the singular values that the k-th
            unfolding, of shape (n_1 m_1 ... n_k m_k, the rest), has beyond the r_k-th,
        |error|^2 <= (d - 1) times the least that any train of these ranks can have,

    up to rounding, and cutting the zeros off can only lower the error. The chain is exact if all
    r_k are those of the unfoldings. With two cores it is the low rank of a rearranged weight
    (Van Loan and Pitsianis' sum of Kronecker products), and slow: the decomposition then takes
    O((rows cols)^1.5), with more cores about O(rows cols n_1 m_1).

    All cores have the same Frobenius norm, so that one relative step suits all of them. The
    digits mix the rows, so that no factor has a row for each row of the weight: none keeps
    row frequencies, and a precision that needs them does not go with this structure.

    The weight's own shape is a factor too, of two whole numbers, as the cores do not tell it.

    Attributes:
        rank: Largest number of columns of a core.
        modes: Number of cores, d.

    References:
        [1] I. Oseledets. Tensor-Train Decomposition. SIAM J. Sci. Comput. 33(5), 2011.
        [2] A. Novikov, D. Podoprikhin, A. Osokin, D. Vetrov. Tensorizing Neural Networks.
            NeurIPS 2015, arXiv 1509.06569, sec. 3.
    """

    kind: Literal["tensor_train"] = "tensor_train"
    since: ClassVar[str] = "0.1.0"
    prunable: ClassVar[bool] = True
    rank: Annotated[int, Field(ge=1), Share()]
    modes: Annotated[int, Field(ge=2, le=4)] = 3

    @property
    def keeps_rows(self) -> bool:
        """Return False: no factor has the rows of the weight."""
        return False

    def label(self) -> str:
        """Return "tt", the number of cores, and the rank."""
        return f"tt{self.modes} rank {self.rank}"

    def in_words(self) -> str:
        """Return the number of cores and the rank."""
        return f"tensor train of {self.modes} cores, rank {self.rank}"

    def misfit(self, shape: Shape) -> str | None:
        """Refuse vectors, ranks no bond can have, and trains of as many numbers as the weight."""
        if min(shape) == 1:
            return f"a tensor train needs a matrix, but the shape is {shape}"
        if max(shape) > _LARGEST_SIDE:
            return f"`rows, cols <= {_LARGEST_SIDE}` must hold, but the shape is {shape}"
        largest = max(_bond_limits(_core_sizes(shape, self.modes)))
        if self.rank > largest:
            rule = f"`1 <= rank <= {largest}` must hold for {self.modes} cores and shape {shape}"
            return f"{rule}, but got rank={self.rank}"
        parameters = sum(rows * cols for rows, cols in self._core_shapes(shape))
        size = shape[0] * shape[1]
        if parameters >= size:
            return (
                f"`parameters < rows * cols` must hold, but rank={self.rank} and "
                f"modes={self.modes} give {parameters} parameters for the {size} of shape {shape}"
            )
        return None

    def integer_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Return the shape of `shape` (1, 2), which holds rows and columns of the weight."""
        del shape
        return {"shape": (1, 2)}

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        """Return the shapes of `core1` ... `cored`, each (r_{k-1} n_k m_k, r_k).

        Raises:
            ValueError: If the whole numbers are not the shape.
        """
        if _stored_shape(integers) != shape:
            raise ValueError(f"a train of shape {_stored_shape(integers)} is not of shape {shape}")
        return dict(zip(self._core_names(), self._core_shapes(shape), strict=True))

    def factorize(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        """Run TT-SVD; no core has rows that frequencies could stay with."""
        del row_frequencies, curvature
        rows, cols = weight.shape
        cores = _balanced(_tt_svd(_fold(weight, self.modes), self._core_shapes((rows, cols))))
        named = zip(self._core_names(), cores, strict=True)
        return {
            "shape": Factor(np.array([[rows, cols]], dtype=np.float32), integers=True),
            **{name: Factor(core.astype(np.float32)) for name, core in named},
        }

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        """Multiply the cores, undo the folding, and cut the added zeros off."""
        first, *others = (factors[name] for name in self._core_names())
        chain = first
        for core in others:
            chain = (chain @ core.reshape(chain.shape[1], -1)).reshape(-1, core.shape[1])
        return _unfold(chain, _stored_shape(factors), self.modes)

    def multiplications(self, shape: Shape, factors: Mapping[str, Any]) -> int:
        """Count those of all contractions, digit after digit."""
        del factors
        rows, cols = paired_modes(shape, self.modes)
        total, done = 0, 1
        for k, (length, rank) in enumerate(self._core_shapes(shape)):
            total += done * length * rank * math.prod(cols[k + 1 :])
            done *= rows[k]
        return total

    def times(self, factors: Mapping[str, Any], x: Any) -> Any:
        """Contract digit after digit: each column digit goes, and a row digit comes."""
        shape = _stored_shape(factors)
        _, cols = paired_modes(shape, self.modes)
        vectors = padded(x.reshape(-1, shape[1]), math.prod(cols))
        batch = vectors.shape[0]
        for k, core in enumerate(self._cores(factors)):
            rest = math.prod(cols[k + 1 :])
            folded = vectors.reshape(-1, core.shape[0], core.shape[2], rest)
            vectors = contracted("prmq,rnms->pnsq", folded, core)
        return vectors.reshape(batch, -1)[:, : shape[0]].reshape(*x.shape[:-1], shape[0])

    def rows(self, factors: Mapping[str, Any], ids: Any) -> Any:
        """Multiply the slices of the cores that the digits of the ids name."""
        shape = _stored_shape(factors)
        flat = ids.reshape(-1)
        place = math.prod(paired_modes(shape, self.modes)[0])
        chain: Any = None
        for core in self._cores(factors):
            place //= core.shape[1]
            slices = core[:, flat // place % core.shape[1]]
            if chain is None:  # the first core, whose rank before is one
                chain = slices[0]
                continue
            chain = contracted("bar,rbms->bams", chain, slices)
            chain = chain.reshape(flat.shape[0], -1, core.shape[3])
        return chain.reshape(flat.shape[0], -1)[:, : shape[1]].reshape(*ids.shape, shape[1])

    def _cores(self, factors: Mapping[str, Any]) -> list[Any]:
        """Return the cores, each of shape (r_{k-1}, n_k, m_k, r_k)."""
        cores: list[Any] = []
        modes = zip(*paired_modes(_stored_shape(factors), self.modes), strict=True)
        for name, (rows, cols) in zip(self._core_names(), modes, strict=True):
            rank = cores[-1].shape[3] if cores else 1
            cores.append(factors[name].reshape(rank, rows, cols, -1))
        return cores

    def _core_names(self) -> list[str]:
        return [f"core{k}" for k in range(1, self.modes + 1)]

    def _core_shapes(self, shape: Shape) -> list[Shape]:
        """Return (r_{k-1} n_k m_k, r_k) of every core."""
        sizes = _core_sizes(shape, self.modes)
        ranks = [1, *(min(self.rank, limit) for limit in _bond_limits(sizes)), 1]
        return [(ranks[k] * size, ranks[k + 1]) for k, size in enumerate(sizes)]


def _core_sizes(shape: Shape, modes: int) -> list[int]:
    """Return n_k m_k of every core."""
    rows, cols = paired_modes(shape, modes)
    return [n * m for n, m in zip(rows, cols, strict=True)]


def _bond_limits(sizes: list[int]) -> list[int]:
    """Return the largest rank that each bond between two cores can have."""
    left = list(accumulate(sizes, int.__mul__))
    return [min(product, left[-1] // product) for product in left[:-1]]


def _stored_shape(factors: Mapping[str, Any]) -> Shape:
    rows, cols = whole(factors["shape"]).ravel().tolist()
    return rows, cols


def _fold(weight: Matrix, modes: int) -> NDArray[np.float64]:
    """Return the weight with its zeros, float64 of shape (n_1 m_1, ..., n_d m_d)."""
    shape = weight.shape
    rows, cols = paired_modes((shape[0], shape[1]), modes)
    padded = np.zeros((math.prod(rows), math.prod(cols)))
    padded[: shape[0], : shape[1]] = weight
    digits = [axis for k in range(modes) for axis in (k, modes + k)]
    return (
        padded.reshape(*rows, *cols)
        .transpose(digits)
        .reshape([n * m for n, m in zip(rows, cols, strict=True)])
    )


def _unfold(tensor: Matrix, shape: Shape, modes: int) -> Matrix:
    """Undo `_fold`, from an array of any shape in the order of the tensor."""
    rows, cols = paired_modes(shape, modes)
    pairs = [size for pair in zip(rows, cols, strict=True) for size in pair]
    digits = [*range(0, 2 * modes, 2), *range(1, 2 * modes, 2)]
    padded = permuted(tensor.reshape(pairs), digits).reshape(math.prod(rows), math.prod(cols))
    return padded[: shape[0], : shape[1]]


def _tt_svd(tensor: NDArray[np.float64], shapes: list[Shape]) -> list[NDArray[np.float64]]:
    """Return cores of these shapes; all but the last have orthonormal columns."""
    cores, rest = [], tensor
    for rows, rank in shapes[:-1]:
        left, right = truncated_svd(rest.reshape(rows, -1), rank)
        norms = np.maximum(np.linalg.norm(left, axis=0), np.finfo(np.float64).tiny)
        cores.append(left / norms)
        rest = norms[:, None] * right
    return [*cores, rest.reshape(shapes[-1])]


def _balanced(cores: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Scale the cores to equal Frobenius norms, whose product stays the same."""
    norms = np.array([np.linalg.norm(core) for core in cores])
    if not norms.all():
        return [np.zeros_like(core) for core in cores]
    mean = np.exp(np.log(norms).mean())
    return [core * (mean / norm) for core, norm in zip(cores, norms, strict=True)]
