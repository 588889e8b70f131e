"""How a fine-tuning went, as its folder keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TRAINING = "training.json"
"""What the file is called, beside the model that was fine-tuned."""


@dataclass(frozen=True)
class TrainingLog:
    """How a fine-tuning went.

    Attributes:
        started: When it began, in seconds since the epoch.
        ended: When its last segment was finished, alike.
        seconds: How long training and measuring took; interruptions are left out.
        losses: Number of steps, and the mean training loss of the last of them.
        files: Number of steps, and what was measured of the file after them, by objective name.
    """

    started: float
    ended: float
    seconds: float = 0.0
    losses: tuple[tuple[int, float], ...] = ()
    files: tuple[tuple[int, Mapping[str, float]], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrainingLog:
        """Read what `to_json` gave.

        Raises:
            TypeError, ValueError, LookupError: If it is something else.
        """
        return cls(
            float(document["started"]),
            float(document["ended"]),
            float(document["seconds"]),
            tuple((int(step), float(loss)) for step, loss in document["losses"]),
            tuple((int(step), dict(values)) for step, values in document["files"]),
        )
