"""How the models of a task are served: as the task says, or by arrays."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autocompress.architectures import ARCHITECTURES
from autocompress.knowledge.guarded import GuardedTask
from autocompress.layers.copies import untouched
from autocompress.outcome.about import Serving, written_array
from autocompress.support.blame import told
from autocompress.support.process import randomness_kept

_ARRAYS = "autocompress.engines.torch.serving:Arrays"
_MOST_NUMBERS = 2**16


class Service(NamedTuple):
    """How a model is served, or why not.

    Attributes:
        serving: How; None where it is not.
        reason: Why it is not; None where it is.
    """

    serving: Serving | None
    reason: str | None = None


@randomness_kept()
def service_of(model: nn.Module, task: GuardedTask) -> Service:
    """Say how compressed models are served, by the task's own words or by arrays.

    Raises:
        TaskError: If the task raises an exception.
    """
    own = task.serving(model)
    if own is not None:
        return Service(own)
    factory, config = task.model_factory, task.model_config(model) or {}
    if factory is None and config.get("architecture") not in ARCHITECTURES:
        return Service(
            None,
            "nothing says how to make its module anew; set `model_factory = "
            '"package.module:factory"` on the task',
        )
    batch = next(task.calibration_batches(), None)
    if not isinstance(batch, Tensor):
        return Service(None, "the task's calibration batches are no tensors")
    try:
        example = _example(model, batch)
    except Exception as error:  # whatever a user's module raises
        return Service(None, f"`model(batch)` {told(error)}")
    if example is None:
        return Service(None, "an input of it has too many numbers for an example")
    settings = {} if factory is None else {"factory": factory}
    code = None if factory is None else _file_of(factory.partition(":")[0])
    return Service(Serving(_ARRAYS, settings, written_array(example.numpy()), code=code))


def _example(model: nn.Module, batch: Tensor) -> Tensor | None:
    """Return one row of a batch, or where the model does not take it, the batch."""
    batch = batch.detach().cpu()
    with untouched(model) as twin, torch.no_grad():
        for one in (batch[:1] if batch.dim() else batch, batch):
            if one.numel() > _MOST_NUMBERS:
                continue
            try:
                twin(one)
            except Exception:  # whatever a user's module raises
                if one is batch:
                    raise
                continue
            return one.float() if one.dtype is torch.bfloat16 else one
    return None


def _file_of(module: str) -> str | None:
    """Return the file of a module that belongs to no package, so that it can go along."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or spec.submodule_search_locations is not None:
        return None
    path = Path(spec.origin)
    of_python = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    is_own = "." not in module and not any(path.is_relative_to(root) for root in of_python)
    return str(path) if is_own and path.suffix == ".py" else None
