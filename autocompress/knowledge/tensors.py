"""The tensors of a model's state as arrays, and models that have none to be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autocompress.errors import ModelError

EXTRA_STATE = "_extra_state"
_RESERVED = "__metadata__"
_AT_ONCE = 2**20


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return all tensors of a model's state by name, parameters as such.

    What `get_extra_state` of a module returns is among them if it is a tensor; all else that it
    may return belongs to the module and is not looked at.
    """
    state: dict[str, Any] = model.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def n_not_finite(tensor: Tensor) -> int:
    """Count the numbers that are NaN or infinite, a few at once: each asks for memory."""
    parts = torch.split(tensor.detach().flatten(), _AT_ONCE)
    return sum(int((~torch.isfinite(part)).sum()) for part in parts)


def check_readable(model: nn.Module, *, to_be_filled: bool = False) -> None:
    """Refuse a model whose tensors cannot be read, before any work.

    Args:
        model: It is not changed.
        to_be_filled: Whether values are still to come, so that the meta device has all that is
            needed.

    Raises:
        ModelError: If it is scripted, quantized or not initialised, or has a tensor that is
            sparse or on the meta device, or a name that files cannot have; or if its own
            `state_dict` fails.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"a model must be an `nn.Module`, but got {_instead_of_module(model)}")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"module '{path}' is scripted or traced, so that nothing of it can be watched; "
                "hand in the module that it was made from"
            )
        if ".quantized" in type(module).__module__ and "torch" in type(module).__module__:
            raise ModelError(
                f"module '{path}' is quantized by PyTorch already ({type(module).__name__}); "
                "hand in the model as it was before"
            )
    try:
        state: dict[str, Any] = model.state_dict(keep_vars=True)
    except Exception as error:  # whatever a user's hook raises
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"the model's own `state_dict` fails ({said}); mend it first") from error
    for name, value in state.items():
        reason = _fault(name, value)
        if reason and not (to_be_filled and isinstance(value, Tensor) and value.is_meta):
            raise ModelError(f"'{name}' of the model's state {reason}")


def _instead_of_module(given: Any) -> str:
    if isinstance(given, type) and issubclass(given, nn.Module):
        return f"the class {given.__name__}; call it: `{given.__name__}(...)`"
    if isinstance(given, Mapping):
        return "a state dict; make a module of its architecture and call `load_state_dict` on it"
    return f"an object of type {type(given).__name__}"


def _fault(name: str, value: Any) -> str | None:
    if name == _RESERVED or name.startswith(":"):
        return "has a name that files keep for themselves; give it another one"
    if not isinstance(value, Tensor):
        is_extra = name.rpartition(".")[2] == EXTRA_STATE
        return None if is_extra else f"is no tensor but a {type(value).__name__}; leave it out"
    if is_lazy(value):
        return "has no shape yet; run the model once before compression"
    if value.is_meta:
        return "is on the meta device and has no values; load its weights first"
    if value.is_quantized:
        return "is quantized by PyTorch already; hand in the model as it was before"
    if value.layout != torch.strided:
        return f"is stored as {value.layout}; make it dense with `.to_dense()`"
    return None


def as_array(name: str, tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array that holds exactly the same numbers.

    What numpy has no type for, such as bfloat16, becomes single precision.

    Raises:
        ModelError: If there is no type that holds them.
    """
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype in (torch.complex128, torch.complex32):
        single = tensor.to(torch.complex64)
        if not torch.equal(single.to(tensor.dtype), tensor):
            raise ModelError(
                f"'{name}' of the model's state holds complex numbers in double precision, which "
                "files cannot; make it complex64"
            )
        tensor = single
    elif tensor.is_floating_point() and tensor.itemsize < 4 and tensor.dtype != torch.float16:
        tensor = tensor.to(torch.float32)
    array: NDArray[Any] = tensor.contiguous().numpy()
    return array


def as_weight(name: str, tensor: Tensor) -> NDArray[np.float32]:
    """Return a floating-point tensor as an array in single precision.

    Raises:
        ModelError: If finite numbers lie beyond its range.
    """
    array: NDArray[np.float32] = tensor.detach().cpu().to(torch.float32).contiguous().numpy()
    if tensor.dtype == torch.float64:
        beyond = np.isinf(array) & np.isfinite(tensor.detach().cpu().numpy())
        if beyond.any():
            raise ModelError(
                f"weights are stored in single precision, which ends at 3.4e38, but '{name}' "
                f"holds {int(beyond.sum())} numbers beyond that; scale the weight, or repair it"
            )
    return array


def rounding(model: nn.Module) -> str | None:
    """Say that weights in double precision are rounded, if there are any."""
    doubles = [name for name, each in model.named_parameters() if each.dtype == torch.float64]
    if not doubles:
        return None
    return (
        f"{len(doubles)} weights in double precision, such as {doubles[0]}, are rounded to single "
        "precision, by at most 6e-8 of a number"
    )
