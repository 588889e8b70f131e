"""Artifact -> torch module, with weights decoded to single precision, or as their factors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import nn

from autocompress.architectures import ARCHITECTURES
from autocompress.artifact import Artifact, open_artifact
from autocompress.engines.torch.factored import factorized
from autocompress.errors import ArtifactError, ModelError
from autocompress.layers.copies import original
from autocompress.layers.memory import part, sharing
from autocompress.layers.parametrized import make_plain
from autocompress.structures import Matrix, matrix_shape, row_blocks
from autocompress.support.process import randomness_kept

_LARGE = 2**20


@randomness_kept()
def load(
    artifact: Artifact | str | os.PathLike[str],
    model: nn.Module | None = None,
    *,
    factored: bool = False,
) -> nn.Module:
    """Return a running model that holds an artifact's weights, in evaluation mode.

    Args:
        artifact: An artifact or the path of its file.
        model: A module of the architecture that was compressed, to be filled in place. May be
            left out where the artifact describes how to build it. Weights that it computes from
            others (`torch.nn.utils.parametrizations`, `weight_norm`, `prune`) become plain
            parameters of the stored values; weights that it ties, but the artifact holds apart,
            are parted. Of what `torch.compile` wrapped, the model inside is filled.
        factored: Whether low rank, GroupReduce and tensor trains run as stored, where that takes
            fewer multiplications. Modules keep their classes and attributes; a weight that is
            asked for is decoded. Hidden states are projected once for all that read them.
            This saves memory; recurrent layers step through time in Python, which takes longer.
            What is returned is not compiled, and can be compiled again.

    Raises:
        ArtifactError: If the file is damaged, or does not hold what the module needs.
    """
    opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact)
    filled = fill(_build(opened) if model is None else model, opened)
    return factorized(original(filled), opened) if factored else filled


def fill(model: nn.Module, artifact: Artifact) -> nn.Module:
    """Replace a module's weights by those of an artifact; return it in evaluation mode.

    The module then computes what was measured, whatever it was before: weights that it computes
    from others, as by `torch.nn.utils.parametrizations`, `weight_norm` or `prune`, become plain
    parameters of the stored values, and weights that it ties although the artifact holds
    different ones are parted. What the artifact ties and the module does not gets equal values.
    What `get_extra_state` of its modules returns stays, unless it is a tensor.

    Raises:
        ArtifactError: If names or shapes differ between the module and the artifact.
    """
    given, model = model.eval(), original(model)
    make_plain(model)
    state = _filled(model, artifact)
    own = {name: value for name, value in model.state_dict().items() if name not in state}
    extra = {name: value for name, value in own.items() if not isinstance(value, torch.Tensor)}
    try:
        model.load_state_dict({**state, **extra})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"'{artifact.path}' does not fit the model: {reason}") from error
    together = part(model, state)
    if together:
        raise ArtifactError(
            f"'{artifact.path}' does not fit the model: it holds other values for {together[0]!r} "
            "than for the weight that the model ties it to; part the two"
        )
    return given


def _filled(model: nn.Module, artifact: Artifact) -> dict[str, Any]:
    """Return an artifact's tensors; large weights are in the model already, and are its own.

    They are decoded by blocks of rows, and never twice in memory.
    """
    state: dict[str, Any] = {n: torch.from_numpy(a) for n, a in artifact.buffers().items()}
    own: dict[str, Any] = model.state_dict()
    places = {name: t for name, t in own.items() if isinstance(t, torch.Tensor)}
    shared = {name: set(names) for names in sharing(places) for name in names}
    for item in artifact.contents.header.items:
        names = [(member.name, *member.aliases) for member in item.members]
        targets = [
            places[first]
            for (first, *others), member in zip(names, item.members, strict=True)
            if first in places
            and _is_large(places[first], member.shape)
            and shared.get(first, set()) <= {first, *others}
        ]
        if len(targets) < len(names):
            state |= {name: torch.from_numpy(a) for name, a in artifact.members(item).items()}
            continue
        for rows, values in artifact.blocks(item):
            _put(targets, rows.start, values)
        for some, tensor in zip(names, targets, strict=True):
            state |= dict.fromkeys(some, tensor)
    return state


def _is_large(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a weight of this shape is worth being put where it belongs block by block."""
    fits = tuple(tensor.shape) == shape and tensor.is_contiguous() and tensor.is_floating_point()
    return fits and tensor.numel() >= _LARGE


def _put(targets: list[torch.Tensor], first: int, values: Matrix) -> None:
    """Copy rows, of which the first has this number, into the weights stacked upon each other."""
    for target in targets:
        matrix = target.reshape(matrix_shape(tuple(target.shape)))
        start, stop = max(first, 0), min(first + len(values), len(matrix))
        for rows in row_blocks((max(stop - start, 0), matrix.shape[1]), _LARGE):
            some = values[start - first :][rows][: stop - start]
            matrix[start:stop][rows] = torch.from_numpy(np.array(some))
        first -= len(matrix)


def _build(artifact: Artifact) -> nn.Module:
    description = artifact.model_config or {}
    architecture = str(description.get("architecture", ""))
    if architecture not in ARCHITECTURES:
        raise ArtifactError(
            f"'{artifact.path}' does not describe how to build its model; "
            "pass a module of its architecture: `load(path, model=...)`"
        )
    try:
        return ARCHITECTURES[architecture](description)
    except ModelError as error:
        raise ArtifactError(f"'{artifact.path}' describes no model: {error}") from error
