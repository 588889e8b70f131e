"""What must hold for weights that run from their factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from autocompress.structures import Matrix, Shape, Structure
from autocompress.testing import samples
from autocompress.testing.rules import require

_CLOSE, _SLACK = 1e-5, 0.02
_STEP = 1e-3


def close(found: Any, expected: Any, rule: str) -> None:
    """Require that two arrays, or tensors, are the same but for rounding."""
    found, expected = (np.asarray(torch.as_tensor(one).detach()) for one in (found, expected))
    require(found.shape == expected.shape, rule, shape=found.shape, expected=expected.shape)
    off = float(np.abs(found - expected).max(initial=0))
    scale = float(np.abs(expected).max(initial=0))
    require(off <= _CLOSE * scale * found.shape[-1] + 1e-30, rule, off_by=off, largest=scale)


def _vectors(shape: Shape) -> tuple[Matrix, np.ndarray[Any, np.dtype[np.int64]]]:
    return samples.normal((2, 3, shape[1]), 5), np.array([[0, shape[0] - 1], [shape[0] // 2, 0]])


def check_running(
    structure: Structure, shape: Shape, factors: Mapping[str, Matrix], where: str
) -> None:
    """Check that a weight runs from its factors, as arrays and as tensors, and its gradients."""
    _check_arrays(structure, shape, factors, where)
    _check_tensors(structure, shape, factors, where)
    if any(values.any() for values in factors.values()):
        _check_gradients(structure, shape, factors, where)


def _check_arrays(
    structure: Structure, shape: Shape, factors: Mapping[str, Matrix], where: str
) -> None:
    weight, (x, ids) = structure.reconstruct(factors), _vectors(shape)
    close(structure.times(factors, x), x @ weight.T, f"times of {where} must be the weight's")
    close(structure.rows(factors, ids), weight[ids], f"rows of {where} must be the weight's")
    count = structure.multiplications(shape, factors)
    require(
        isinstance(count, int) and count > 0,
        f"multiplications of {where} must be a number above zero",
        count=count,
    )
    thin = structure.thin(factors)
    if thin is None:
        return
    close(thin.rows(np.arange(shape[0])), weight, f"the thin products of {where} must be it")
    require(
        count == thin.multiplications,
        f"multiplications of {where} must be those of its thin products",
        count=count,
        thin=thin.multiplications,
    )


def _check_tensors(
    structure: Structure, shape: Shape, factors: Mapping[str, Matrix], where: str
) -> None:
    given, (x, ids) = _tensors(structure, shape, factors), _vectors(shape)
    weight: Any = structure.reconstruct(given)
    require(
        isinstance(weight, torch.Tensor), f"{where} must decode to a tensor", type=type(weight)
    )
    close(weight, structure.reconstruct(factors), f"tensors of {where} must decode as arrays do")
    times = structure.times(given, torch.from_numpy(x))
    close(times, structure.times(factors, x), f"times of {where} must do the same with tensors")
    rows = structure.rows(given, torch.from_numpy(ids))
    close(rows, structure.rows(factors, ids), f"rows of {where} must do the same with tensors")


def _tensors(structure: Structure, shape: Shape, factors: Mapping[str, Matrix]) -> dict[str, Any]:
    """Return factors as recovery hands them in: tensors, but for whole numbers."""
    whole = structure.integer_shapes(shape)
    return {
        name: values if name in whole else torch.from_numpy(values.copy()).requires_grad_()
        for name, values in factors.items()
    }


def _check_gradients(
    structure: Structure, shape: Shape, factors: Mapping[str, Matrix], where: str
) -> None:
    """Compare gradients through `reconstruct` with differences along random directions."""
    given = _tensors(structure, shape, factors)
    names = [name for name, one in given.items() if isinstance(one, torch.Tensor)]
    weight: Any = structure.reconstruct(given)
    require(weight.requires_grad, f"`reconstruct` of {where} must be differentiable")
    towards = samples.normal(shape, 6)
    (weight * torch.from_numpy(towards)).sum().backward()
    for name in names:
        gradient = given[name].grad
        fits = gradient is not None and torch.isfinite(gradient).all()
        require(fits, f"factor '{name}' of {where} must get a finite gradient", gradient=gradient)
    largest = max(float(np.abs(factors[name]).max()) for name in names)
    moves = {
        name: _STEP * largest * samples.normal(factors[name].shape, 7 + number)
        for number, name in enumerate(names)
    }
    ends = []
    for sign in (1, -1):
        moved = {name: factors[name] + sign * moves[name] for name in names}
        end = structure.reconstruct({**factors, **moved}).astype(np.float64)
        ends.append(float((end * towards).sum()))
    slopes = [given[name].grad.numpy().astype(np.float64) * moves[name] for name in names]
    slope, measured = sum(float(one.sum()) for one in slopes), (ends[0] - ends[1]) / 2
    allowed = _SLACK * sum(float(np.abs(one).sum()) for one in slopes)
    require(
        abs(slope - measured) <= allowed + _CLOSE * max(map(abs, ends)),
        f"gradients of {where} must be those of `reconstruct`",
        slope=slope,
        measured=measured,
    )
