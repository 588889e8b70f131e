"""A device that no machine has: tensors there may not be mixed with others, nor read as arrays.

Their numbers lie on the processor, so that all of PyTorch can be run on them, and what a GPU would
refuse is refused: operations on tensors of two devices, and `numpy()` without `cpu()`. What
changes a shape in place, as recurrent layers with `batch_first` do, is not followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("lazy:0")
"""Of a kind that PyTorch knows and that needs no driver for its name to be used."""
_aten = torch.ops.aten
_CROSSING = (_aten._to_copy.default, _aten.copy_.default)
"""Operations between devices."""
_INDEXING = (_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default)
"""Their indices may lie on the processor."""


class There(Tensor):
    """A tensor on the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        made: There = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=ELSEWHERE,
        )
        made.held = inner
        return made

    def data_ptr(self) -> int:
        """Say where the numbers lie, by which tied weights are known."""
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        """Likewise."""
        return self.held.untyped_storage()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        return run_there(func, tuple(args), dict(kwargs or {}))


class Device(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Brings tensors to the device, and counts what runs there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        found = run_there(func, tuple(args), dict(kwargs or {}))
        if any(isinstance(one, There) for one in tree_flatten((args, kwargs))[0]):
            self.counts[func.overloadpacket.__name__] += 1
        return found


def run_there(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Run an operation where its tensors are.

    Raises:
        RuntimeError: If they are on two devices.
    """
    flat = tree_flatten((arguments, named))[0]
    tensors = [one for one in flat if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, There)]
    target = named.get("device")
    makes = target is not None and torch.device(target).type == ELSEWHERE.type
    if function in _INDEXING and isinstance(arguments[0], There):
        tensors = [one for one in arguments[2:] if isinstance(one, Tensor)]
    here = [one for one in tensors if not isinstance(one, There)]
    if there and function not in _CROSSING and any(one.dim() for one in here):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{ELSEWHERE} and cpu, in {function}"
        )
    if makes:
        named = {**named, "device": torch.device("cpu")}
    result = function(*tree_map(_inner, arguments), **tree_map(_inner, named))
    if function is _aten.copy_.default or _is_in_place(function):
        return arguments[0]
    stays = bool(there) and target is None
    return tree_map(_outer, result) if makes or stays else result


def _is_in_place(function: Any) -> bool:
    name = function.overloadpacket.__name__
    return bool(name.endswith("_") and not name.endswith("__") and function._schema.is_mutable)


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, There) else value


def _outer(value: Any) -> Any:
    return There(value) if isinstance(value, Tensor) else value


@contextmanager
def elsewhere() -> Iterator[Device]:
    """Have the device within the block."""
    with Device() as device:
        yield device
