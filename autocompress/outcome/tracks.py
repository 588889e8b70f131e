"""The three tracks of what a search finds, which no table mixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Track = Literal["plain", "tuned", "recovered"]
"""What was done to a compressed model: nothing besides, tuning without labels, or recovery."""

TRACKS: tuple[Track, ...] = get_args(Track)
TITLES: Mapping[Track, str] = {
    "plain": "without retraining",
    "tuned": "tuned without labels",
    "recovered": "with recovery on labels",
}
DONE: Mapping[Track, str] = {
    "plain": "",
    "tuned": "tuned without labels",
    "recovered": "fine-tuned on labels",
}
"""What was done, behind the name of a model."""

METHOD = "method.json"
"""What the file is called, beside the model that was fine-tuned."""


@dataclass(frozen=True)
class Method:
    """How a model was fine-tuned, as its folder keeps it.

    Attributes:
        track: Which track it belongs to.
        told: The settings in words, such as "60 steps".
        control_stays: Whether the uncompressed model has nothing to learn, and is its own control.
    """

    track: Track
    told: str = ""
    control_stays: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Method:
        """Read what `to_json` gave.

        Raises:
            TypeError, ValueError, LookupError: If it is something else.
        """
        track = document["track"]
        if track not in TRACKS:
            raise ValueError(f"'{track}' is no track")
        return cls(track, str(document["told"]), bool(document["control_stays"]))
