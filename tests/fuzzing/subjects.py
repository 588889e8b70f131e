"""All kinds of input, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fuzzing.artifacts import Artifacts
from fuzzing.checkpoints import Checkpoints
from fuzzing.course import Subject
from fuzzing.language_models import Carried, Folders, Trainings, Vocabularies
from fuzzing.returns import Returns
from fuzzing.spaces import Plans, Spaces

ARTIFACTS = "artifacts"
OTHERS: Mapping[str, tuple[int, Callable[[Path], Subject]]] = {
    "spaces": (35, Spaces),
    "plans": (3, Plans),
    "checkpoints": (42, Checkpoints),
    "training runs": (4, Trainings),
    "model folders": (6, Folders),
    "vocabularies": (6, lambda folder: Vocabularies()),
    "language models in artifacts": (2, Carried),
    "what workers hand back": (2, Returns),
}
"""With what share of all, in percent, each of the others is tried."""


def subject_of(name: str, folder: Path) -> Subject:
    """Make a kind of input ready.

    Args:
        name: What it is called.
        folder: Where its inputs are put.
    """
    return Artifacts() if name == ARTIFACTS else OTHERS[name][1](folder)
