"""Artifact -> torch module, with weights decoded to single precision, or as their factors."""

from __future__ import annotations

import os

import torch
from torch import nn

from autocompress.architectures import ARCHITECTURES
from autocompress.artifact import Artifact, open_artifact
from autocompress.engines.torch.factored import factorized
from autocompress.errors import ArtifactError


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
            left out where the artifact describes how to build it.
        factored: Whether low rank, GroupReduce and tensor trains run as stored, where that takes
            fewer multiplications. Modules keep their classes and attributes; a weight that is
            asked for is decoded. Hidden states are projected once for all that read them.
            This saves memory; recurrent layers step through time in Python, which takes longer.

    Raises:
        ArtifactError: If the file is damaged, or does not hold what the module needs.
    """
    opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact)
    filled = fill(_build(opened) if model is None else model, opened)
    return factorized(filled, opened) if factored else filled


def fill(model: nn.Module, artifact: Artifact) -> nn.Module:
    """Replace a module's weights by those of an artifact; return it in evaluation mode.

    Raises:
        ArtifactError: If names or shapes differ between the module and the artifact.
    """
    state = {name: torch.from_numpy(values) for name, values in artifact.state_dict().items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"'{artifact.path}' does not fit the model: {reason}") from error
    return model.eval()


def _build(artifact: Artifact) -> nn.Module:
    description = artifact.model_config or {}
    architecture = str(description.get("architecture", ""))
    if architecture not in ARCHITECTURES:
        raise ArtifactError(
            f"'{artifact.path}' does not describe how to build its model; "
            "pass a module of its architecture: `load(path, model=...)`"
        )
    return ARCHITECTURES[architecture](description)
