"""Where models run: the processor, or a device beside it that PyTorch knows."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from autocompress.errors import DeviceError
from autocompress.support import progress

_CPU = torch.device("cpu")
_KINDS = ("cpu", "cuda", "mps")


def chosen_device(name: str | torch.device) -> torch.device:
    """Understand the name of a device, and refuse one that is not there.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or "auto", which is a CUDA device where there is
            one, or else the processor; which of them is said.

    Raises:
        DeviceError: If it is no device, or this machine has none of that name.
    """
    if str(name) == "auto":
        found = torch.device("cuda", 0) if torch.cuda.is_available() else _CPU
        is_gpu = found.type == "cuda"
        what = torch.cuda.get_device_name(found) if is_gpu else "no CUDA device is there"
        progress.say(f"running on {found}: {what}")
        return found
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in _KINDS:
        raise DeviceError(f"a device is auto, cpu, cuda, cuda:1 or mps, but got '{name}'")
    there = {"cpu": 1, "cuda": _count_cuda(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there[device.type]:
        kinds = [kind for kind, count in there.items() if count]
        raise DeviceError(
            f"device '{name}' is not there: PyTorch {torch.__version__} sees "
            f"{', '.join(kinds)} on this machine; choose one of these, or auto"
        )
    return device


def _count_cuda() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_of(model: nn.Module) -> torch.device:
    """Return where a model runs: where its first tensor lies; the processor if it has none."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return _CPU if first is None else first.device


def has_fused(device: torch.device) -> bool:
    """Whether PyTorch's optimizers take a step in one operation there, in all of its versions."""
    return device.type in ("cpu", "cuda")


def is_on(model: nn.Module, device: torch.device) -> bool:
    """Whether all tensors of a model lie on a device."""
    tensors = chain(model.parameters(), model.buffers())
    places = {(one.device.type, one.device.index or 0) for one in tensors}
    return places <= {(device.type, device.index or 0)}


def moved(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device, however deep in tuples, lists and mappings.

    What runs on the processor gets its batches as they are.
    """
    if device.type == "cpu":
        return batch
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(part, device) for part in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(moved(part, device) for part in batch)
    if isinstance(batch, dict):
        return {key: moved(part, device) for key, part in batch.items()}
    return batch.to(device) if callable(getattr(batch, "to", None)) else batch
