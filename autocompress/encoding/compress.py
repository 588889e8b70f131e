"""Compression by a single plan, without a search."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.encoding.encoder import Encoder
from autocompress.errors import PlanError
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.plan import CompressionPlan
from autocompress.support.process import randomness_kept


@randomness_kept()
def compress(
    model: nn.Module, plan: CompressionPlan, task: Task, path: str | os.PathLike[str]
) -> Artifact:
    """Compress a model by a plan and open the artifact.

    Args:
        model: Any module; its floating-point tensors must be finite.
        plan: A treatment for every weight.
        task: Tells token frequencies and the like; nothing is evaluated.
        path: The artifact's file; replaced if it exists.

    Raises:
        ModelError: If the model cannot be compressed.
        TaskError: If the task raises an exception, or gives what it must not.
        PlanError: If the plan leaves a weight out, treats one twice, or does not fit one.
    """
    if not isinstance(plan, CompressionPlan):
        raise PlanError(
            "`plan` must be a `CompressionPlan`, as `CompressionPlan.from_json` makes of a "
            f"document, but got an object of type {type(plan).__name__}"
        )
    Encoder(Source.of(model, task)).write(plan, Path(path))
    return open_artifact(path)
