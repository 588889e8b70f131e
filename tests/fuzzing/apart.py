"""A run in a process that does nothing else, so that its memory is that of what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from fuzzing.course import Told, run
from fuzzing.subjects import subject_of

from autocompress.support import progress


def told_of(name: str, folder: Path, seed: int, numbers: range, tell: Any = None) -> Told:
    """Read inputs of a kind as `run` does, and say nothing of the thousands of them.

    Args:
        name: Of the kind.
        folder: Where inputs may lie.
        seed: With a number it makes an input.
        numbers: Of the inputs.
        tell: Is called with each number before its input is made.
    """
    progress.console.quiet = True
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return run(subject_of(name, folder), seed, numbers, tell=tell)
