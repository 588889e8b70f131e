"""The log of a fine-tuning: losses and files by step, and the time it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from autocompress.outcome.training import TRAINING, TrainingLog
from autocompress.support.files import kept_json, write_json

_POINTS = 20  # of losses, for each segment


class Log:
    """Writes a `TrainingLog` into a folder; an interrupted one goes on."""

    def __init__(self, folder: Path, steps: int) -> None:
        """Begin, or go on.

        Args:
            folder: Of the fine-tuning.
            steps: Those that are known to be done; what was logged of later ones is dropped.
        """
        self._path = folder / TRAINING
        now = time.time()
        document = kept_json(self._path, TrainingLog.from_json)
        known = TrainingLog(now, now) if document is None else TrainingLog.from_json(document)
        losses = tuple(entry for entry in known.losses if entry[0] <= steps)
        files = tuple(entry for entry in known.files if entry[0] <= steps)
        self._log = replace(known, losses=losses, files=files)
        self._before, self._start = self._log.seconds, time.perf_counter()

    def trained(self, steps: int, losses: list[float]) -> None:
        """Take the losses of the steps since the last call away, and note them."""
        width = max(1, -(-len(losses) // _POINTS))
        first = steps - len(losses)
        points = tuple(
            (first + min(start + width, len(losses)), fmean(losses[start : start + width]))
            for start in range(0, len(losses), width)
        )
        losses.clear()
        self._log = replace(self._log, losses=(*self._log.losses, *points))

    def measured(self, steps: int, values: Mapping[str, float]) -> None:
        """Note what was measured of the file after so many steps."""
        self._log = replace(self._log, files=(*self._log.files, (steps, dict(values))))

    def save(self) -> None:
        """Write it to the disk."""
        seconds = self._before + time.perf_counter() - self._start
        ended = max(time.time(), self._log.ended)  # also where the clock was set back
        self._log = replace(self._log, ended=ended, seconds=round(seconds, 3))
        write_json(self._path, self._log.to_json())
