"""What tells a task's data from others, without a fingerprint: batches, and the metric."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from autocompress.support.process import same_randomness

if TYPE_CHECKING:
    from autocompress.knowledge.task import Task

_BATCHES = 4
_SHARE, _SMALLEST = 1e-4, 1e-6


def batches_sha256(task: Task) -> str | None:
    """Hash the first batches of a task; None where they are others each time.

    Equal for equal data in any process: tensors, arrays, numbers and texts count, wherever in
    lists, mappings and objects they lie, and of all else the name of its class.
    """
    digests = []
    for _ in range(2):
        digest = hashlib.sha256()
        with same_randomness():
            for batch in islice(task.calibration_batches(), _BATCHES):
                _add(digest, batch, set())
        digests.append(digest.hexdigest())
    return digests[0] if digests[0] == digests[1] else None


def same_number(value: float, other: float, share: float = _SHARE) -> bool:
    """Whether two measurements of a metric are one but for rounding."""
    return abs(value - other) <= share * max(abs(value), abs(other)) + _SMALLEST


def _add(digest: Any, value: Any, above: set[int]) -> None:
    """Add a value to a hash, whatever it is; what lies within itself is added once."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.is_floating_point() else value.numpy()
    digest.update(f"{type(value).__name__}:".encode())
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(b"" if array.dtype.hasobject else array.tobytes())
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        digest.update(repr(value).encode())
    elif id(value) not in above:
        for part in _parts(value):
            _add(digest, part, above | {id(value)})


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return (part for item in value.items() for part in item)
    if isinstance(value, list | tuple):
        return value
    if is_dataclass(value):
        return (getattr(value, field.name) for field in fields(value))
    return (
        (part for item in sorted(vars(value).items()) for part in item) if _is_plain(value) else ()
    )


def _is_plain(value: Any) -> bool:
    return hasattr(value, "__dict__") and not callable(value)
