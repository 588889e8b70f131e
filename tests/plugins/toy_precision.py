"""Steps with a wide zero: small numbers are worth no bits."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from autocompress.precisions import Precision
from autocompress.structures import Scaled

_ROUNDING = 0.4  # of a step, from which on the level farther from zero is taken


class WideZero(Precision):
    """Rounds to multiples of a step in units of the root mean square, zero having the most."""

    kind: Literal["toy_wide_zero"] = "toy_wide_zero"
    since: ClassVar[str] = "1.0"
    has_zero_level: ClassVar[bool] = True
    has_steps: ClassVar[bool] = True
    width: Annotated[float, Field(gt=0, le=16), Scaled(1)]

    def label(self):
        return f"wide zero {self.width:.2g}"

    def misfit(self, factor):
        step, largest = self._step(factor), float(np.abs(factor.values).max(initial=0))
        if step > 0 and np.isfinite(step) and largest / step < 2**30 and largest + step < 3e38:
            return None
        return (
            f"`0 < |weight| / step < 2^30` must hold, but got step={step:g}, largest={largest:g}"
        )

    def encode(self, factor):
        step = self._step(factor)
        ratio = np.abs(factor.values.astype(np.float64)) / step
        codes = np.sign(factor.values) * np.floor(ratio + (0.5 if factor.nearest else _ROUNDING))
        return {"codes": codes.astype(np.int64), "step": np.full((1, 1), step, np.float32)}

    def decode(self, streams, shape, mask):
        step = float(streams["step"].ravel()[0])
        return (streams["codes"].reshape(shape) * step).astype(np.float32)

    def steps(self, factor):
        return np.full((1, 1), self._step(factor))

    def widened(self, octaves):
        return self.model_copy(update={"width": self.width * 2.0**octaves})

    def _step(self, factor):
        """Return the step; any will do for zeros."""
        rms = np.sqrt(np.mean(np.square(factor.values, dtype=np.float64)))
        with np.errstate(over="ignore"):
            return float(np.float32(self.width * rms)) if rms > 0 else 1.0
