"""What runs artifacts: the protocol of an engine, and the engines by name.

An engine is one folder that ends in a class registered here. It is made for one model, whose
uncompressed artifact it may keep as the reference that latencies are compared with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from autocompress.artifact import Artifact
from autocompress.registry import Registry


@dataclass(frozen=True)
class Latency:
    """What one model takes for one input, one at a time, on one thread.

    Attributes:
        p50_ms: Median over rounds of the mean over the inputs of a round, in milliseconds of
            processor time.
        p95_ms: The 95th percentile of the same.
        ratio: Median over rounds of how many times as long as the reference the model takes.
        noise: Standard error of that median, in shares of it.
        rounds: How many rounds there were.
    """

    p50_ms: float
    p95_ms: float
    ratio: float
    noise: float
    rounds: int


class Engine(ABC):
    """Runs the artifacts of one model.

    Attributes:
        name: What spaces and reports call the engine.
        since: The version of its package that first had it.
        measures_latency: Whether it tells how long a model takes.
        suffix: How the file of an exported model ends, which lies beside the artifact, or None
            where the engine writes none.
    """

    name: ClassVar[str]
    since: ClassVar[str]
    measures_latency: ClassVar[bool] = False
    suffix: ClassVar[str | None] = None

    @abstractmethod
    def __init__(self, model: nn.Module, uncompressed: Artifact) -> None:
        """Prepare to run the artifacts of a model.

        Args:
            model: A copy of the user's model, which the engine may fill and change.
            uncompressed: The model as it is, every weight in single precision.

        Raises:
            ExportError: If the engine cannot run models of this kind.
        """

    @abstractmethod
    def load(self, artifact: Artifact) -> nn.Module:
        """Return what tasks evaluate: a module that computes with an artifact's weights.

        What was returned for one artifact may change when the next one is loaded.

        Raises:
            ArtifactError: If the artifact is damaged or does not fit the model.
        """

    def run_on(self, device: str) -> None:
        """Run on a device what is loaded from now on, where the engine knows devices of PyTorch.

        Args:
            device: "cpu" or "cuda".
        """
        del device

    def latency(self, loaded: nn.Module) -> Latency | None:
        """Measure what `load` returned beside the uncompressed model; None if it cannot."""
        del loaded
        return None


ENGINES: Registry[type[Engine]] = Registry("engine", "autocompress.engines")
"""The engines by name; those of this package are found by entry points, as a stranger's are."""
