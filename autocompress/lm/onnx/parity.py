"""Whether an exported model computes what the artifact does in torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.artifact import Artifact
from autocompress.engines.onnx.session import open_session
from autocompress.engines.torch import load
from autocompress.errors import ExportError
from autocompress.lm.evaluate import perplexity
from autocompress.lm.onnx.build import Form, build
from autocompress.lm.onnx.modules import SequenceModel, StepModel
from autocompress.plan import Runtime

_WORDS, _COLUMNS = 400, 4
_TOLERANCE = 0.0005


@dataclass(frozen=True)
class Parity:
    """Perplexities of an artifact on the same words.

    Attributes:
        torch: In torch, single precision.
        onnx: In ONNX Runtime.
        words: How many words were read.
    """

    torch: float
    onnx: float
    words: int

    @property
    def rise(self) -> float:
        """By how much the exported model is worse, in shares."""
        return self.onnx / self.torch - 1


def check_parity(
    artifact: Artifact,
    form: Form = "step",
    runtime: Runtime | None = None,
    tokens: NDArray[np.int64] | None = None,
) -> Parity:
    """Measure an artifact in torch and in ONNX Runtime.

    Where all weights run in single precision, both must agree. Where activations or weights are
    rounded for the sake of speed, the difference is what that costs.

    Args:
        artifact: Of a language model.
        form: Which form of it is exported.
        runtime: In what numbers all weights run, or None for what their treatments say.
        tokens: Word ids of a text, int64 of shape (words,); by default 400 random words.

    Raises:
        ExportError: If weights run in single precision and the perplexity differs by more than
            0.05 %.
    """
    model = load(artifact)
    if tokens is None:
        size = next(model.parameters()).shape[0]
        tokens = np.random.default_rng(0).integers(size, size=_WORDS)
    session = open_session(build(artifact, form, runtime=runtime).SerializeToString())
    exported = StepModel(session) if form == "step" else SequenceModel(session)
    parity = Parity(_score(model, tokens), _score(exported, tokens), len(tokens))
    kinds = {runtime or one.runtime for one in artifact.plan.treatments.values()}
    if kinds == {"float32"} and not abs(parity.rise) <= _TOLERANCE:
        raise ExportError(
            f"'{artifact.path}' has a perplexity of {parity.torch:.4f} in torch and of "
            f"{parity.onnx:.4f} in ONNX Runtime; at most {100 * _TOLERANCE:g} % of difference are "
            "allowed in single precision: a defect of the export or of ONNX Runtime"
        )
    return parity


def _score(model: nn.Module, tokens: NDArray[np.int64]) -> float:
    with torch.inference_mode():
        score = perplexity(model, tokens, batch=_COLUMNS)
    assert not math.isnan(score)
    return score
