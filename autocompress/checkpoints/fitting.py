"""A checkpoint fitted onto the tensors of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autocompress.checkpoints.dtypes import LARGE, conversions, converted, not_finite
from autocompress.checkpoints.names import Renaming, bare, renamings
from autocompress.checkpoints.reading import Checkpoint
from autocompress.errors import ModelError
from autocompress.layers.memory import first_names

_SHOWN = 10
_COUNTER = "num_batches_tracked"
"""Of batch normalisation; checkpoints of old lack it, and nothing depends on it."""


def fitted(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> Checkpoint:
    """Bring a checkpoint into the names, shapes and dtypes of a model.

    Prefixes that all names share, and what `DataParallel` and `torch.compile` put into names, are
    taken off where the names then fit, and `rnn.` is read as `lstm.` or `gru.`. Of weights that
    are tied in the model, the file may name one or, if they are equal there, several.

    Args:
        checkpoint: As it was read.
        wanted: The tensors of the model's state by name, parameters as such (`keep_vars`), so
            that ties are seen; they may be on the meta device.

    Returns:
        A value for each name that is wanted, but for counters that the file lacks; tied ones
        are one tensor.

    Raises:
        ModelError: If names are missing or left over, shapes differ, weights that the model ties
            differ, or numbers do not fit the model's dtypes.
    """
    file = checkpoint.path
    chosen = _chosen(checkpoint, wanted)
    tensors = {chosen.names[name]: tensor for name, tensor in checkpoint.tensors.items()}
    _check_shapes(checkpoint, tensors, wanted)
    done = [f"{file.name}: {chosen.done}"] if chosen.done else []
    done += conversions(file, ((t.dtype, wanted[name].dtype) for name, t in tensors.items()))
    values: dict[str, Tensor] = {}
    for names in _groups(wanted).values():
        present = [name for name in names if name in tensors]
        if not present:
            continue
        first, *others = present
        value = converted(file, first, tensors[first], wanted[first].dtype)
        for other in others:
            _check_equal(checkpoint, (first, other), (tensors[first], tensors[other]))
            done.append(f"{file.name}: {first} and {other} are equal, and tied in the model")
        done += not_finite(file, first, value)
        values |= dict.fromkeys(names, value)
    return checkpoint.changed({name: values[name] for name in wanted if name in values}, *done)


@dataclass(frozen=True)
class _Candidate:
    renaming: Renaming
    missing: list[str]
    extra: list[str]

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.extra)


def _chosen(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> Renaming:
    """Return the first renaming under which all names fit."""
    candidates = []
    for renaming in renamings(checkpoint.tensors, wanted):
        candidate = _compared(renaming, wanted)
        if not candidate.misfits:
            return candidate.renaming
        candidates.append(candidate)
    nearest = min(candidates, key=lambda candidate: candidate.misfits)
    raise ModelError(
        f"{checkpoint.path} must hold the weights of the model, by their names; missing: "
        f"{_listed(nearest.missing)}; not expected: {_listed(nearest.extra)}; hand in the "
        "checkpoint of this very model, or rename its weights"
    )


def _compared(renaming: Renaming, wanted: Mapping[str, Tensor]) -> _Candidate:
    groups = _groups(wanted)
    wrapped = {bare(name): name for name in wanted}
    if len(wrapped) < len(wanted):
        wrapped = {}  # names that differ in nothing else are matched as they are
    names = {
        old: new if new in wanted else wrapped.get(new, new) for old, new in renaming.names.items()
    }
    found = set(names.values())
    if len(found) < len(names):
        names = dict(renaming.names)
        found = set(names.values())
    missing = [
        group[0]
        for group in groups.values()
        if not found & set(group) and not group[0].endswith(_COUNTER)
    ]
    done = renaming.done
    if done is None and any(old != new for old, new in names.items()):
        done = "names without 'module.' and '_orig_mod.', which the model has"
    return _Candidate(Renaming(names, done), sorted(missing), sorted(found - set(wanted)))


def _groups(wanted: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the names of each tensor by the first of them."""
    groups: dict[str, list[str]] = {}
    for name, first in first_names(wanted).items():
        groups.setdefault(first, []).append(name)
    return groups


def _check_shapes(
    checkpoint: Checkpoint, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    wrong = [
        f"{name} must be of shape {tuple(wanted[name].shape)}, got {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
        if tensor.shape != wanted[name].shape
    ]
    if wrong:
        raise ModelError(
            f"{checkpoint.path} does not fit the model: {_listed(wrong, '; ')}; hand in the "
            "checkpoint of this very model, or correct the model's sizes"
        )


def _check_equal(
    checkpoint: Checkpoint, names: tuple[str, str], values: tuple[Tensor, Tensor]
) -> None:
    first, second = values
    parts = (torch.split(values.flatten(), LARGE) for values in (first, second))
    if not all(
        torch.equal(a.double().nan_to_num(), b.double().nan_to_num())
        for a, b in zip(*parts, strict=True)
    ):
        raise ModelError(
            f"the model ties {names[0]} and {names[1]}, but {checkpoint.path} holds different "
            "values for them; untie them in the model, or take one of them out of the file"
        )


def _listed(names: Iterable[str], separator: str = ", ") -> str:
    names = list(names)
    more = len(names) - _SHOWN
    shown = separator.join(names[:_SHOWN]) or "none"
    return shown + (f" and {more} more" if more > 0 else "")
