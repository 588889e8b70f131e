"""How a rule is checked, and rules that hold for methods of every kind."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from autocompress.errors import ArtifactError, PlanError
from autocompress.registry import Registry

DAMAGE = (ArtifactError, PlanError, ValueError, KeyError, IndexError)
"""What decoding may raise where bytes are damaged; a reader makes one error of it."""

_VERSION = re.compile(r"\d+(\.\d+)*([.-]?(a|b|rc|dev|post)\.?\d*)?")
_SHOWN = 200


def require(holds: object, rule: str, **values: object) -> None:
    """Raise an AssertionError with the rule and the values unless it holds."""
    if not holds:
        found = ", ".join(f"{name}={_short(value)}" for name, value in values.items())
        raise AssertionError(f"{rule}; but got {found}" if found else rule)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@contextmanager
def untouched(where: str, **inputs: Any) -> Iterator[None]:
    """Require that global random states and arrays are afterwards what they were."""
    state, before = _random_state(), {name: fingerprint(one) for name, one in inputs.items()}
    yield
    require(_random_state() == state, f"{where} must leave the global random state alone")
    for name, one in inputs.items():
        require(fingerprint(one) == before[name], f"{where} must not modify `{name}`")


def _random_state() -> tuple[object, ...]:
    legacy = np.random.get_state(legacy=True)  # noqa: NPY002 (that it is left alone is the rule)
    parts = [part.tobytes() if isinstance(part, np.ndarray) else part for part in legacy]
    return random.getstate(), tuple(parts), torch.get_rng_state().numpy().tobytes()


def fingerprint(value: Any) -> Any:
    """Return what tells whether arrays, tensors, or objects that hold some, are the same."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return [(key, fingerprint(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [fingerprint(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return fingerprint(vars(value))
    return value


def unraised(where: str, function: Callable[[], Any]) -> Any:
    """Return what a function returns, which must not raise anything."""
    try:
        return function()
    except Exception as error:
        raise AssertionError(
            f"{where} must not raise; but got {type(error).__name__}: {error}"
        ) from error


def check_misfit(where: str, function: Callable[[], str | None]) -> str | None:
    """Return what does not fit, or None: it is said, not raised."""
    misfit: str | None = unraised(where, function)
    if misfit is not None:
        check_text(where, misfit)
    return misfit


def twice(where: str, function: Callable[[], Any], **inputs: Any) -> Any:
    """Call a function twice and return its first result.

    Requires that both are the same, byte for byte, whatever the global random states, and that
    those and the inputs stay as they were.
    """
    with untouched(where, **inputs):
        first = unraised(where, function)
        kept = fingerprint(first)
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        second = fingerprint(function())
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        torch.set_rng_state(state[2])
    require(second == kept, f"{where} must give the same bytes each time")
    return first


def check_text(where: str, text: object) -> None:
    """Require a text of one line."""
    fits = isinstance(text, str) and text.strip() == text != "" and "\n" not in text
    require(fits, f"{where} must be a text of one line", text=text)


def check_since(registered: Any) -> None:
    """Require the version from which on something is there."""
    since = getattr(registered, "since", None)
    fits = isinstance(since, str) and _VERSION.fullmatch(since)
    require(fits, "`since` must be the first version that has it, as in '0.1.0'", since=since)


def check_model(method: BaseModel, registry: Registry[Any]) -> None:
    """Check what holds for structures and precisions: they are registered, frozen values."""
    cls, kind = type(method), getattr(method, "kind", None)
    named = isinstance(kind, str) and kind.isidentifier()
    require(named, "`kind` must be a name of letters, digits and '_'", kind=kind)
    require(
        registry.get(str(kind)) is cls,
        f"{cls.__name__} must be registered by its kind: @{registry.what.upper()}S.register(kind)",
        kind=kind,
        registered=registry.get(str(kind)),
    )
    tag = get_args(cls.model_fields["kind"].annotation)
    require(tag == (kind,), f"`kind` must be annotated as Literal['{kind}']", annotation=tag)
    check_since(cls)
    require(cls.model_config.get("frozen"), f"{cls.__name__} must stay frozen")
    hash(method)
    text = method.model_dump_json()
    require(
        cls.model_validate_json(text) == method,
        f"{cls.__name__} must survive JSON",
        text=text,
        read=cls.model_validate_json(text),
    )
    first = next(iter(cls.model_fields))
    require(first == "kind", "`kind` must come first in JSON", first=first)
    try:
        cls.model_validate({**method.model_dump(), "no_such_hyperparameter": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError(f"{cls.__name__} must refuse unknown hyper-parameters")
    check_text("`label()`", method.label())  # type: ignore[attr-defined]


def only_damage(where: str, function: Callable[[], Any]) -> Any:
    """Return what a function returns, or None if it raises what decoding may raise."""
    try:
        with np.errstate(all="ignore"):
            return function()
    except DAMAGE:
        return None
    except Exception as error:
        raise AssertionError(
            f"{where} must raise ValueError where what it is given cannot have been written; but "
            f"got {type(error).__name__}: {error}"
        ) from error


def as_shape(array: NDArray[Any]) -> tuple[int, int]:
    """Return the shape of a matrix."""
    rows, cols = array.shape
    return rows, cols


def arguments(batch: Any) -> tuple[Any, ...]:
    """Return the arguments of `forward`: a tuple as it is, anything else as the only one."""
    return batch if isinstance(batch, tuple) else (batch,)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return the floating-point tensors of an output, however it is nested."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    parts = value.values() if isinstance(value, Mapping) else value
    return [one for part in parts for one in tensors_of(part)] if nests(value) else []


def nests(value: object) -> bool:
    """Whether a value is made of others."""
    return isinstance(value, tuple | list | Mapping)


def check_outputs(found: Any, expected: Any, rule: str, tolerance: float = 1e-4) -> None:
    """Require that two outputs are the same but for rounding, relative to the largest number."""
    mine, theirs = tensors_of(found), tensors_of(expected)
    require(
        [one.shape for one in mine] == [one.shape for one in theirs] != [],
        rule,
        shapes=[one.shape for one in mine],
        expected=[one.shape for one in theirs],
    )
    for one, other in zip(mine, theirs, strict=True):
        off = float((one.detach() - other.detach()).abs().max())
        scale = float(other.detach().abs().max())
        require(off <= tolerance * scale, rule, off_by=off, largest=scale)


def state_of(module: torch.nn.Module) -> list[Any]:
    """Return what must stay as it is of a module that is only looked at."""
    gradients = {name: fingerprint(one.grad) for name, one in module.named_parameters()}
    hooks = [
        (name, one.training, len(one._forward_hooks), len(one._forward_pre_hooks), type(one))
        for name, one in module.named_modules()
    ]
    return [fingerprint(module.state_dict()), gradients, hooks]
