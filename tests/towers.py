"""What another package may bring: an architecture, its exporter, and a structure of thin products.

Nothing here is known to the package but by its registries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from autocompress import Task
from autocompress.artifact import Artifact
from autocompress.engines.onnx.exporter import EXPORTERS, Exporter
from autocompress.engines.onnx.graph import Graph
from autocompress.engines.onnx.maps import Maps
from autocompress.engines.onnx.module import SessionModule
from autocompress.outcome.objectives import Split
from autocompress.structures import STRUCTURES, Curvature, Factor, Matrix, Shape, Structure, Thin

WIDTH, HIDDEN = 64, 96


class Tower(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.Linear(WIDTH, HIDDEN)
        self.upper = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.upper(self.lower(x).tanh())
        return result


class Copying(Task):
    """Scores how near a tower's output is to its input."""

    metric = "error"

    def __init__(self, architecture: str | None = "tower") -> None:
        self.architecture = architecture
        generator = np.random.default_rng(0)
        self.vectors = torch.from_numpy(generator.standard_normal((20, WIDTH), np.float32))

    def evaluate(self, model: nn.Module, split: Split) -> float:
        del split
        with torch.no_grad():
            return float((model(self.vectors) - self.vectors).square().mean())

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield self.vectors

    def model_config(self, model: nn.Module) -> Mapping[str, Any] | None:
        del model
        return {"architecture": self.architecture} if self.architecture else None


class TowerInOnnx(SessionModule):
    """A tower in ONNX Runtime."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"x": x.numpy()})[0])


@EXPORTERS.register("tower")
class TowerExporter(Exporter):
    """Exports towers."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        assert config["architecture"] == "tower"

    def export(self, artifact: Artifact) -> onnx.ModelProto:
        maps, graph = Maps(artifact), Graph("tower")
        bias = graph.constant("bias", maps.decoded("lower.bias"))
        hidden = graph.one("Tanh", [maps["lower.weight"].times(graph, "x", bias)])
        graph.result(maps["upper.weight"].times(graph, hidden), "y")
        signature = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", WIDTH))
            for name in "xy"
        ]
        return graph.model(signature[:1], signature[1:], {})

    def module(self, session: onnxruntime.InferenceSession) -> TowerInOnnx:
        return TowerInOnnx(session)

    def reader(self, session: onnxruntime.InferenceSession) -> Callable[[Any], object]:
        return lambda x: session.run(None, {"x": x})

    def inputs(self) -> Sequence[NDArray[np.float32]]:
        return [np.full((1, WIDTH), number, np.float32) for number in range(5)]


@STRUCTURES.register("even_odd")
class EvenOdd(Structure):
    """Even and odd rows, each of a low rank of their own."""

    kind: Literal["even_odd"] = "even_odd"
    since: ClassVar[str] = "0.1"
    rank: int

    def label(self) -> str:
        return f"even and odd {self.rank}"

    def misfit(self, shape: Shape) -> str | None:
        return None if min(shape) >= 2 * self.rank else f"shape {shape} is too small"

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        rows = {"0": (shape[0] + 1) // 2, "1": shape[0] // 2}
        return {
            f"{side}{half}": (count, self.rank) if side == "left" else (self.rank, shape[1])
            for half, count in rows.items()
            for side in ("left", "right")
        }

    def factorize(
        self,
        weight: Matrix,
        row_frequencies: NDArray[np.float64] | None,
        curvature: Curvature | None = None,
    ) -> dict[str, Factor]:
        factors = {}
        for half in (0, 1):
            left, values, right = np.linalg.svd(weight[half::2], full_matrices=False)
            factors[f"left{half}"] = Factor(left[:, : self.rank] * values[: self.rank])
            factors[f"right{half}"] = Factor(right[: self.rank])
        return factors

    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        thin = self.thin(factors)
        assert thin.order is not None
        halves = [left @ right for left, right in zip(thin.lefts, thin.rights, strict=True)]
        return np.concatenate(halves)[thin.order]

    def thin(self, factors: Mapping[str, Any]) -> Thin:
        lefts = [factors["left0"], factors["left1"]]
        rows = np.arange(sum(len(left) for left in lefts))
        order = np.where(rows % 2 == 0, rows // 2, rows // 2 + len(lefts[0]))
        return Thin(lefts, [factors["right0"], factors["right1"]], order)
