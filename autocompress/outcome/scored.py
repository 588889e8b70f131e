"""A compressed model with its numbers, as results list it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocompress.outcome.limits import format_bytes
from autocompress.outcome.names import LATENCY, SIZE
from autocompress.outcome.tracks import Track

ONNX = ".onnx"
"""How the name of a model ends that was exported from an artifact, beside it."""


@dataclass(frozen=True)
class Scored:
    """A compressed model with its numbers.

    Attributes:
        trial: Number of the trial; None for the baseline, the model in single precision.
        artifact: Its file.
        values: By objective name, measured on validation data.
        test: The task's metric on test data; None while a search is not finished, and where it
            is no finite number.
        label: The treatments, most bytes first, on one line.
        track: Whether it was not retrained ("plain"), tuned without labels ("tuned"), or
            fine-tuned on labels ("recovered").
        how: The settings of its fine-tuning, such as "60 steps"; nothing of a trial.
        model: Name of the model that was compressed, where several were; else None.
    """

    trial: int | None
    artifact: Path
    values: Mapping[str, float]
    test: float | None
    label: str
    track: Track = "plain"
    how: str = ""
    model: str | None = None

    def __repr__(self) -> str:
        name = "baseline" if self.trial is None else f"trial {self.trial}"
        numbers = (f"{key} {value:.4g}" for key, value in self.values.items() if key != SIZE)
        name += self.of_model
        return f"<Scored {name}: {format_bytes(self.size_bytes)}, {', '.join(numbers)}>"

    @property
    def size_bytes(self) -> int:
        """Length of the file, in bytes."""
        return int(self.values[SIZE])

    @property
    def of_model(self) -> str:
        """Say which of several models it is of, as in " of ptb-small"; nothing of one model."""
        return "" if self.model is None else f" of {self.model}"

    @property
    def folder_name(self) -> str:
        """Name of the file's folder, which tells what was fine-tuned apart; with the model's."""
        name = self.artifact.parent.name
        return name if self.model is None else f"{self.model}/{name}"

    @property
    def onnx(self) -> Path | None:
        """The exported model that was measured, where latency counts and the engine writes one."""
        path = self.artifact.with_suffix(ONNX)
        return path if LATENCY in self.values and path.exists() else None

    def to_json(self, metric: str) -> dict[str, Any]:
        """Return the numbers as a JSON object; the metric's names tell the split."""
        values: dict[str, Any] = dict(self.values)
        document: dict[str, Any] = {"trial": self.trial, "artifact": str(self.artifact)}
        document |= {} if self.model is None else {"model": self.model}
        document |= {SIZE: self.size_bytes, f"valid_{metric}": values.pop(metric)}
        values.pop(SIZE)
        if self.onnx is not None:
            document["onnx"] = str(self.onnx)
        document |= {f"test_{metric}": self.test, **values, "label": self.label}
        return {**document, "track": self.track, "how": self.how}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], metric: str, track: Track = "plain") -> Scored:
        """Read numbers that `to_json` gave.

        Args:
            document: What it gave, of this version or an earlier one.
            metric: The task's.
            track: What an earlier version did not say.
        """
        values = dict(document)
        track, how = values.pop("track", track), values.pop("how", "")
        values.pop("onnx", None)
        values[metric] = values.pop(f"valid_{metric}")
        test = values.pop(f"test_{metric}")
        test = None if test is None or math.isnan(test) else test  # as earlier versions wrote it
        artifact, trial, label = (values.pop(key) for key in ("artifact", "trial", "label"))
        is_named = isinstance(values.get("model"), str)  # or else an objective of this name
        model = values.pop("model") if is_named else None
        return cls(trial, Path(artifact), values, test, label, track, how, model)
