"""A language model that predicts word after word in ONNX Runtime; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Stepper:
    """A step model that reads one endless text, its states kept inside ONNX Runtime.

    Inputs and outputs are bound once, as a program would that predicts word after word: the
    states that come out are those that go in next, and nothing is copied.

    Attributes:
        scores: What came out for the word that was read last: `logits`, or the top words.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        words, *states = session.get_inputs()
        scores = [one.name for one in session.get_outputs() if not one.name.endswith("_next")]
        # On the processor, an OrtValue shares the memory of its array.
        self._word = np.zeros((1, 1), np.int64)
        before, after = (
            {one.name: np.zeros((1, 1, one.shape[2]), np.float32) for one in states}
            for _ in range(2)
        )
        found = session.run(scores, {words.name: self._word, **before})
        self.scores = dict(zip(scores, found, strict=True))
        self._bindings = [self._bind(before, after), self._bind(after, before)]

    def _bind(
        self, before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]
    ) -> onnxruntime.IOBinding:
        binding, value = self._session.io_binding(), onnxruntime.OrtValue.ortvalue_from_numpy
        for name, array in {"words": self._word, **before}.items():
            binding.bind_ortvalue_input(name, value(array))
        results = {**self.scores, **{f"{name}_next": array for name, array in after.items()}}
        for name, array in results.items():
            binding.bind_ortvalue_output(name, value(array))
        return binding

    def __call__(self, word: int) -> None:
        """Read the next word; the scores are in `scores`."""
        self._word[0, 0] = word
        self._session.run_with_iobinding(self._bindings[0])
        self._bindings.reverse()
