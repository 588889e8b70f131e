"""The state dict within what a training run saves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from autocompress.errors import ModelError

_KEYS = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network"),
    *("weights", "params", "generator"),
)
"""Where training runs keep the weights, the usual names first."""
_SHOWN = 6


def state_dict_in(saved: Any, file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the tensors by name in what `torch.save` wrote.

    Args:
        saved: A state dict, or a dictionary in which one is kept beside an optimizer's state and
            the like, perhaps in several layers.
        file: What errors name.

    Returns:
        The tensors, without what else there is, and lines that say what was left out.

    Raises:
        ModelError: If there is no state dict, or several among which none has a usual name.
    """
    path: list[str] = []
    left_out: list[str] = []
    while True:
        if not isinstance(saved, Mapping):
            within = f" in {'.'.join(path)!r}" if path else ""
            raise ModelError(
                f"'{file}' holds a {type(saved).__name__}{within}, not a state dict; save it by "
                "`torch.save(model.state_dict(), 'weights.pt')`"
            )
        key = _inner(saved, file)
        if key is None:
            break
        left_out += [str(other) for other in saved if other != key]
        path.append(key)
        saved = saved[key]
    tensors = {str(name): value.detach() for name, value in saved.items() if _is_tensor(value)}
    left_out += [str(name) for name, value in saved.items() if not _is_tensor(value)]
    done = [f"{file.name}: the weights are its {'.'.join(path)!r}"] if path else []
    if left_out:
        more = len(left_out) - _SHOWN
        shown = ", ".join(left_out[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        done.append(f"{file.name}: left out what is no weight: {shown}")
    return tensors, tuple(done)


def _inner(saved: Mapping[Any, Any], file: Path) -> str | None:
    """Return under which key the weights are; None where they are here."""
    usual = [key for key in _KEYS if key in saved and _has_tensors(saved[key])]
    if usual:
        return usual[0]
    if any(_is_tensor(value) for value in saved.values()):
        return None
    inner = [str(key) for key, value in saved.items() if isinstance(key, str)]
    inner = [key for key in inner if _has_tensors(saved[key]) and "optim" not in key.lower()]
    if len(inner) > 1:
        raise ModelError(
            f"'{file}' holds {len(inner)} dictionaries of tensors ({', '.join(inner[:_SHOWN])}); "
            "save the one that is the model's state dict in a file of its own"
        )
    if not inner:
        raise ModelError(
            f"'{file}' holds no state dict, that is tensors by name; save one by "
            "`torch.save(model.state_dict(), 'weights.pt')`"
        )
    return inner[0]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _has_tensors(value: Any) -> bool:
    """Whether a value is a dictionary of tensors, or holds one under a usual name."""
    if not isinstance(value, Mapping):
        return False
    return any(map(_is_tensor, value.values())) or any(
        isinstance(value.get(key), Mapping) and any(map(_is_tensor, value[key].values()))
        for key in _KEYS
    )
