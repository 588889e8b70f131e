"""What an objective may look at: a plan, and what has become of it so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from autocompress.errors import ObjectiveError

if TYPE_CHECKING:
    from torch import nn

    from autocompress.artifact import Artifact
    from autocompress.plan import CompressionPlan

T = TypeVar("T")


class Measured:
    """A plan, from phase to phase its artifact, and the model that the engine has made of it.

    Attributes:
        plan: The plan that was carried out.
        path: The artifact's file; it is there from the phase "file" on.
        values: What was measured so far, by name: in the phase "engine", where latency counts,
            "latency" and "latency_ms" among them.
    """

    def __init__(
        self,
        plan: CompressionPlan,
        path: Path,
        artifact: Artifact | None = None,
        model: nn.Module | None = None,
        values: Mapping[str, float] | None = None,
    ) -> None:
        self.plan, self.path = plan, path
        self.values: Mapping[str, float] = values or {}
        self._artifact, self._model = artifact, model

    @property
    def artifact(self) -> Artifact:
        """The file, opened; from the phase "file" on.

        Raises:
            ObjectiveError: If there is no file yet.
        """
        return _known(self._artifact, "artifact", "file")

    @property
    def model(self) -> nn.Module:
        """What computes with the artifact's weights, in evaluation mode; from "engine" on.

        Raises:
            ObjectiveError: If nothing was loaded yet.
        """
        return _known(self._model, "model", "engine")


def _known(value: T | None, what: str, phase: str) -> T:
    if value is None:
        raise ObjectiveError(
            f"an objective looked at `measured.{what}`, which is there from the phase "
            f'"{phase}" on; declare it with `phase="{phase}"` or later'
        )
    return value
