"""Checkpoints as a user loads them."""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path
from typing import TypeVar, overload

from torch import Tensor, nn

from autocompress.checkpoints.dtypes import conversions, converted, in_single, not_finite
from autocompress.checkpoints.fitting import fitted
from autocompress.checkpoints.reading import Checkpoint, read_checkpoint
from autocompress.errors import ModelError
from autocompress.knowledge.tensors import check_readable, tensors_of
from autocompress.layers.memory import first_names
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
        model: What to fill, in place; its mode and its dtypes stay. What is on the meta device
            (`with torch.device("meta"): model = Net()`) takes over the tensors of the file: large
            ones of its dtype stay there, in mapped memory. Prefixes such as `module.`,
            `model.` or `_orig_mod.` are taken off the names where they then fit, and `rnn.` is
            read as `lstm.` or `gru.`. Of tied weights the file may name one, or several that are
            equal.

    Returns:
        The model. Without one, the tensors by their names in the file, real numbers in float32.
        Tensors of more than 2^24 numbers that need not be changed are read from a safetensors file
        as they are looked at: put a new file in its place rather than write into it.

    Raises:
        ModelError: If there is no such file, it is damaged or would have to run code, numbers lie
            beyond the range of float32 or of the model's dtype, or names or shapes do not fit
            the model, which is then unchanged.
    """
    if model is not None:
        check_readable(model, to_be_filled=True)
    checkpoint = read_checkpoint(Path(path))
    checkpoint = _single(checkpoint) if model is None else fitted(checkpoint, tensors_of(model))
    for line in checkpoint.done:
        progress.say(line)
    if model is None:
        return dict(checkpoint.tensors)
    _fill(model, checkpoint)
    return model


def _fill(model: nn.Module, checkpoint: Checkpoint) -> None:
    wanted = tensors_of(model)
    every = {**wanted, **dict(model.named_buffers())}
    absent = {name for name, tensor in every.items() if tensor.is_meta}
    lacking = sorted(absent - checkpoint.tensors.keys())
    if lacking:
        raise ModelError(
            f"{checkpoint.path} has no values for {lacking[0]}, which is on the meta device; make "
            "the model on the CPU"
        )
    # Phase by phase: what has memory is filled where it is, and perhaps held by others.
    present = set(wanted) - absent
    for names, assign in ((absent, True), (present, False)):
        if not names:
            continue
        state = model.state_dict()  # with the versions of its modules, which names and shapes fit
        for name in list(state):
            if name in wanted and name not in names:
                del state[name]
        state.update(
            {name: checkpoint.tensors[name] for name in names & checkpoint.tensors.keys()}
        )
        model.load_state_dict(state, strict=not absent, assign=assign)
    for name, first in first_names(wanted).items():
        if name != first and name in absent:
            path, _, key = name.rpartition(".")
            setattr(model.get_submodule(path), key, attrgetter(first)(model))


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
