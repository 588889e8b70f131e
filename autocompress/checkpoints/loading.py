"""Checkpoints as a user loads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar, overload

from torch import Tensor, nn

from autocompress.checkpoints.dtypes import conversions, converted, in_single, not_finite
from autocompress.checkpoints.fitting import fitted
from autocompress.checkpoints.reading import Checkpoint, read_checkpoint
from autocompress.knowledge.tensors import check_readable, tensors_of
from autocompress.support import progress

_Model = TypeVar("_Model", bound=nn.Module)


@overload
def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]: ...


@overload
def load_checkpoint(path: str | os.PathLike[str], model: _Model) -> _Model: ...


def load_checkpoint(
    path: str | os.PathLike[str], model: nn.Module | None = None
) -> dict[str, Tensor] | nn.Module:
    """Read a checkpoint, and fill a model with it. Code in a file is never run.

    What is done to make it fit is said in one line each on stderr.

    Args:
        path: A safetensors file; a file that `torch.save` wrote, with a state dict or a
            dictionary in which a training run keeps one; the index of a sharded checkpoint
            (`model.safetensors.index.json`); or a folder that holds one of these.
        model: What to fill, in place; its mode and its dtypes stay. Prefixes such as `module.`,
            `model.` or `_orig_mod.` are taken off the names where they then fit, and `rnn.` is
            read as `lstm.` or `gru.`. Of tied weights the file may name one, or several that are
            equal.

    Returns:
        The model. Without one, the tensors by their names in the file, real numbers in float32.

    Raises:
        ModelError: If there is no such file, it is damaged or would have to run code, numbers lie
            beyond the range of float32 or of the model's dtype, or names or shapes do not fit
            the model, which is then unchanged.
    """
    if model is not None:
        check_readable(model)
    checkpoint = read_checkpoint(Path(path))
    checkpoint = _single(checkpoint) if model is None else fitted(checkpoint, tensors_of(model))
    for line in checkpoint.done:
        progress.say(line)
    if model is None:
        return dict(checkpoint.tensors)
    state = model.state_dict()  # with the versions of its modules, which names and shapes fit
    state.update(checkpoint.tensors)
    model.load_state_dict(state)
    return model


def _single(checkpoint: Checkpoint) -> Checkpoint:
    file = checkpoint.path
    tensors = {
        name: converted(file, name, tensor, in_single(tensor))
        for name, tensor in checkpoint.tensors.items()
    }
    done = [*conversions(file, ((t.dtype, in_single(t)) for t in checkpoint.tensors.values()))]
    for name, tensor in tensors.items():
        done += not_finite(file, name, tensor)
    return checkpoint.changed(tensors, *done)
