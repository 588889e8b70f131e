"""Keeping a file within its budget while the numbers in it are trained."""

from __future__ import annotations

import math
from pathlib import Path

from autocompress.encoding.encoder import Encoder
from autocompress.recovery.represented import Represented

_FINEST_BYTES = 2  # of each number that is stored in steps
_FITTINGS, _FILLING, _SLACK, _LARGEST_STRIDE = 12, 0.997, 0.003, 0.5


def fit_steps(represented: Represented, encoder: Encoder, limit_bytes: int, path: Path) -> None:
    """Widen or narrow the steps until the file just fits the budget, or has 16 bits a number.

    Training moves the numbers, and with them the bits that they need. One octave of all steps is
    worth about one bit of each number.

    Args:
        represented: The factors; the steps of its plan are changed.
        encoder: Of the model.
        limit_bytes: The limit on the file.
        path: A file to write to.
    """
    octave_bytes = represented.n_stepped / 8
    widened, best = 0.0, math.inf  # octaves by now, and the fewest at which the file fits
    too_fine = -math.inf
    for _ in range(_FITTINGS if octave_bytes else 0):
        encoder.write(represented.plan, path, represented.factors())
        size = path.stat().st_size
        excess = size - _FILLING * limit_bytes
        if -_SLACK * limit_bytes <= excess <= (1 - _FILLING) * limit_bytes:
            return
        if excess < 0 and size > _FINEST_BYTES * represented.n_stepped:
            return  # a budget so wide is not worth filling
        if excess > 0:
            too_fine = widened
        else:
            best = widened
        octaves = min(max(excess / octave_bytes, -_LARGEST_STRIDE), _LARGEST_STRIDE)
        if not too_fine < widened + octaves < best:
            # Sizes jump where the coder changes; between two known ends, the middle is safe.
            octaves = (too_fine + best) / 2 - widened
        represented.widen_steps(octaves)
        widened += octaves
    if math.isfinite(best):
        represented.widen_steps(best - widened)
