"""What "good" means for a model: the one thing that a user's own problem has to say.

A task evaluates a model on held-out data and hands out batches to calibrate with. It knows
nothing of compression; `autocompress.lm` holds the task of language modelling.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.errors import TaskError
from autocompress.outcome.about import DataDescription, Serving
from autocompress.outcome.metric import Direction
from autocompress.outcome.objectives import Split


class Task(ABC):
    """A problem that a model solves, and the number that says how well.

    What a method raises, and what it gives that it must not, reaches the caller as a `TaskError`
    that names the method, the exception and its line, with the exception as its `__cause__`. In
    a search each method is called at the start, before any trial; only "test" waits for the end.

    Attributes:
        metric: Name of the number that `evaluate` returns, such as "perplexity"; of letters,
            digits, "_" and "-".
        direction: Whether less or more of it is better.
        model_factory: Import path, "package.module:factory", of a function without arguments, or
            a class, that makes a module of the model's architecture; None where nothing does.
            With it the best of a search is served as an MLflow model.
    """

    metric: str
    direction: Direction = "minimize"
    model_factory: str | None = None

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """Make a task.

        Raises:
            TaskError: If the class does not define what every task must.
        """
        del args, settings
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise TaskError(
                "a task defines `evaluate` and `calibration_batches`, but "
                f"{cls.__name__} lacks {' and '.join(f'`{name}`' for name in missing)}"
            )
        return super().__new__(cls)

    @abstractmethod
    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Score a model on a split.

        Plans are chosen by "valid"; "test" is read once, for the front, at the end.
        The result must not depend on anything but the model and the split: the model is in
        evaluation mode, and the random numbers of Python, numpy and torch are the same each time.
        A plan whose model gives NaN or infinite on "valid" does not count; the uncompressed model
        must give a finite number, the same when it is stored and reloaded.

        Returns:
            A float, or what is one number: an int, a numpy scalar, a tensor of one element.
        """

    @abstractmethod
    def calibration_batches(self) -> Iterator[Any]:
        """Yield batches of training data, or return a list, each as `forward` takes it."""

    def forward(self, model: nn.Module, batch: Any) -> Any:
        """Run a model on one calibration batch; by default `model(batch)`."""
        return model(batch)

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        """Yield the loss of one training batch after another, as long as it is asked.

        A model is changed between two losses. Recovery needs them, and asks for another pass
        where they end; curvatures are measured with them, which is worth much.

        Args:
            model: What is trained.
            teacher: The original model, or a larger one that a search was given, whose
                predictions may serve as targets.
            distillation: Share, in [0, 1], of the loss that compares with the teacher. At 1 no
                label may be looked at: with that, models are tuned without labels.
            seed: Of the order of the data.

        Yields:
            Scalar tensors with gradients.
        """
        del model, teacher, distillation, seed
        return iter(())

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[float]:
        """Yield the loss on one part of a split after another, as long as it is asked.

        The parts are always the same, in the same order, and each stands for the whole as well
        as the next; less is better. With this, a search gives a plan up after some parts if it
        is clearly worse than one that is known. Without, every plan is evaluated whole.
        """
        del model, split
        return iter(())

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        """Tell how often each row of a weight is used in training data.

        Returns:
            By weight name, an array of shape (rows,) of counts: for an embedding and a softmax
            layer the token counts. Weights that are not named have rows of equal importance.
        """
        del model
        return {}

    def fingerprint(self) -> str:
        """Identify the data, so that a search is never continued on other data.

        By default this is the name of the class, and a search is continued if the first
        calibration batches, and the metric of the uncompressed model, are what they were when it
        began: then `evaluate` may have been mended, but measures the same. With a fingerprint of
        the task's own that is not looked at again.
        """
        return type(self).__qualname__

    def assets(self) -> Mapping[str, bytes]:
        """Name files that belong into every artifact, such as a vocabulary."""
        return {}

    def model_config(self, model: nn.Module) -> Mapping[str, Any] | None:
        """Describe a model so that `autocompress.load` can build it without the user's code.

        Returns:
            A JSON object with a key "architecture" that `autocompress.load` knows, or None,
            which means that `load` has to be given a module to fill.
        """
        del model
        return None

    def describe_data(self) -> DataDescription | None:
        """Describe the data, for the record of a search; None where there is nothing to say."""
        return None

    def serving(self, model: nn.Module) -> Serving | None:
        """Say how a compressed model answers requests, where it is served by MLflow.

        Returns:
            By what, or None, which means with arrays: `model(batch)`, of one tensor as
            `calibration_batches` yields them. That takes a `model_factory`, or a `model_config`.
        """
        del model
        return None
