"""Operations on numpy arrays and torch tensors alike, differentiable where tensors come in.

torch is imported only where a tensor is given, and so loaded already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.structures.factors import Matrix

Indices = NDArray[np.int64]


def whole(values: Any) -> Indices:
    """Return whole numbers as a new int64 array of the same shape."""
    numbers = values if isinstance(values, np.ndarray) else np.asarray(values.detach().cpu())
    return np.rint(numbers).astype(np.int64)


def like(values: NDArray[Any], other: Any) -> Any:
    """Return an array as a tensor where another one is, of its type and on its device."""
    if isinstance(other, np.ndarray):
        return values
    import torch

    return torch.from_numpy(values).to(other)


def permuted(array: Matrix, axes: list[int]) -> Matrix:
    """Return an array, or a tensor, with its axes in another order."""
    permute = getattr(array, "permute", None)
    result: Matrix = array.transpose(axes) if permute is None else permute(axes)
    return result


def picked(array: Any, places: Indices) -> Any:
    """Return what lies at these places of the last axis."""
    if isinstance(array, np.ndarray):
        return array[..., places]
    import torch

    return array[..., torch.from_numpy(places).to(array.device)]


def joined(parts: Sequence[Any], axis: int = -1) -> Any:
    """Put arrays one after another along an axis."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=axis)
    import torch

    return torch.cat(list(parts), dim=axis)


def padded(array: Any, width: int) -> Any:
    """Return (rows, cols) with zeros added to the right, up to a width."""
    shape = (array.shape[0], width - array.shape[1])
    if shape[1] == 0:
        return array
    zeros = (
        np.zeros(shape, array.dtype) if isinstance(array, np.ndarray) else array.new_zeros(shape)
    )
    return joined([array, zeros])


def contracted(subscripts: str, first: Any, second: Any) -> Any:
    """Return the sum of products that the subscripts of `einsum` name."""
    if isinstance(first, np.ndarray):
        return np.einsum(subscripts, first, second, optimize=True)
    import torch

    return torch.einsum(subscripts, first, second)


def interleaved(parts: list[Matrix], places: list[NDArray[np.int64]]) -> Matrix:
    """Return the matrix whose rows `places[k]` are the rows of `parts[k]`.

    Args:
        parts: Arrays, or tensors, of shape (rows of the part, cols).
        places: Int64 arrays of shape (rows of the part,), together each row once.
    """
    order = np.concatenate(places)
    first: Any = parts[0]
    if isinstance(first, np.ndarray):
        matrix = np.empty((order.size, first.shape[1]), dtype=np.float32)
        for part, place in zip(parts, places, strict=True):
            matrix[place] = part
        return matrix
    import torch

    tensors: Any = parts
    joined: Any = torch.cat(tensors)
    result: Matrix = joined[torch.from_numpy(np.argsort(order))]
    return result
