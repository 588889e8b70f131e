"""The pictures of runs, which others draw: where the bytes of a file go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from autocompress.artifact import Artifact, open_artifact
from autocompress.tracking.notes import WEIGHTS_PICTURE
from autocompress.tracking.runs import Runs

DrawWeights = Callable[[str, Artifact, Mapping[str, float], Path], None]
"""Draws as a PNG file what the weights of a file cost: below a title, with predicted rises."""


class Pictures:
    """Gives runs their pictures, once each; none where nothing draws them."""

    def __init__(self, runs: Runs, draw: DrawWeights | None) -> None:
        self._runs, self._draw = runs, draw

    def add(
        self, run_id: str, title: str, artifact: Path, rises: Mapping[str, float] | None = None
    ) -> None:
        """Give a run its picture, if it has none.

        Args:
            run_id: The run.
            title: What stands above the picture.
            artifact: The file whose weights are shown.
            rises: By weight, the predicted rise of the loss, as far as that is known.
        """
        draw = self._draw
        if draw is not None and not self._runs.has_file(run_id, WEIGHTS_PICTURE):
            opened = open_artifact(artifact)
            self._runs.log_drawn(
                run_id, WEIGHTS_PICTURE, lambda path: draw(title, opened, rises or {}, path)
            )
