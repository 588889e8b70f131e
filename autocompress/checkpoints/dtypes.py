"""Numbers of one format in another, without loss where possible, and never in silence."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from autocompress.errors import ModelError
from autocompress.knowledge.tensors import n_not_finite
from autocompress.layers.mapped import converted_aside, is_mapped

LARGE = 2**24
"""Tensors of more numbers stay where they lie in a file, if they need not be changed."""
_MANY = 2**20


def in_single(tensor: Tensor) -> torch.dtype:
    """Return the dtype in which a tensor is kept without a model: of real numbers, float32."""
    return torch.float32 if tensor.is_floating_point() else tensor.dtype


def converted(file: Path, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in another dtype, in memory of its own.

    What is large, of that dtype already and mapped from a file is returned as it is. What is
    widened and not small is mapped from a nameless file, where the disk has room.

    Raises:
        ModelError: If numbers lie beyond the range of the dtype, or would become others.
    """
    if tensor.is_complex() and not dtype.is_complex:
        raise _others(file, name, tensor, dtype)
    if _is_widened(tensor, dtype) and tensor.numel() > _MANY:
        with suppress(OSError):
            return converted_aside(tensor, dtype)
    copy = tensor.numel() <= LARGE or not is_mapped(tensor)
    result = tensor.to(dtype, copy=copy, memory_format=torch.contiguous_format)
    if tensor.dtype == dtype or _is_widened(tensor, dtype):
        return result
    if tensor.is_floating_point() and dtype.is_floating_point:
        lost = int((torch.isinf(result) & ~torch.isinf(tensor)).sum())
        if lost:
            largest = float(tensor[torch.isfinite(tensor)].abs().max())
            raise ModelError(
                f"'{name}' in '{file}' holds {lost} numbers up to {largest:.3g}, but "
                f"{_short(dtype)} ends at {torch.finfo(dtype).max:.3g}; scale or repair the weight"
            )
    elif not torch.equal(result.to(tensor.dtype), tensor):
        raise _others(file, name, tensor, dtype)
    return result


def _is_widened(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether every number of a tensor is one of another dtype as well."""
    if tensor.dtype == dtype or not (tensor.is_floating_point() and dtype.is_floating_point):
        return False
    old, new = torch.finfo(tensor.dtype), torch.finfo(dtype)
    return old.max <= new.max and old.eps >= new.eps


def _others(file: Path, name: str, tensor: Tensor, dtype: torch.dtype) -> ModelError:
    return ModelError(
        f"'{name}' in '{file}' is of {_short(tensor.dtype)}, the model's of {_short(dtype)}, "
        "and its numbers do not pass from one to the other; convert it"
    )


def conversions(file: Path, pairs: Iterable[tuple[torch.dtype, torch.dtype]]) -> tuple[str, ...]:
    """Say in one line each from which dtype to which numbers were brought."""
    lines: dict[str, None] = {}
    for old, new in pairs:
        if old != new and old.is_floating_point and new.is_floating_point:
            exact = torch.finfo(old).bits < torch.finfo(new).bits
            how = "widened without loss" if exact else "rounded"
            lines[f"{file.name}: {_short(old)} {how} to {_short(new)}"] = None
    return tuple(lines)


def not_finite(file: Path, name: str, tensor: Tensor) -> tuple[str, ...]:
    """Say how many numbers of a tensor are NaN or infinite, if any."""
    if not tensor.is_floating_point():
        return ()
    bad = n_not_finite(tensor)
    if not bad:
        return ()
    return (f"{file.name}: {bad} of the {tensor.numel()} numbers of {name} are NaN or infinite",)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
