"""A user's task, called so that whatever goes wrong in it is told as what it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autocompress.errors import AutocompressError, TaskError
from autocompress.knowledge.task import Task
from autocompress.outcome.about import DataDescription, Serving
from autocompress.outcome.metric import Direction
from autocompress.outcome.numbers import number_of
from autocompress.outcome.objectives import Split
from autocompress.support.blame import told
from autocompress.support.device import device_of, moved
from autocompress.support.process import same_randomness

_NEEDED = ("evaluate", "calibration_batches")
_END = object()


class GuardedTask(Task):
    """Hands every call on to a user's task.

    What its code raises becomes a `TaskError` that names the call, the exception and the line,
    and what it gives is checked. A task need not inherit `Task`: what it lacks is as there.
    `evaluate` and `part_losses` get the model in evaluation mode, and the same random numbers
    each time. Whether gradients are computed is the same after a call as before.

    Attributes:
        own: The user's task.
    """

    def __init__(self, task: Any) -> None:
        """Take a task.

        Raises:
            TaskError: If it is a class or a function, or lacks something.
        """
        _check(task)
        self.own = task
        self.metric, self.direction = task.metric, getattr(task, "direction", "minimize")
        factory = getattr(task, "model_factory", None)
        self.model_factory = factory if isinstance(factory, str) else None

    @property
    def identifies_data(self) -> bool:
        """Whether the task has a `fingerprint` of its own."""
        return getattr(type(self.own), "fingerprint", Task.fingerprint) is not Task.fingerprint

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Score a model on a split; NaN and infinite where the task says so."""
        call = f'evaluate(model, "{split}")'
        with _told(call), same_randomness():
            return _number(call, self.own.evaluate(model.eval(), split))

    def calibration_batches(self) -> Iterator[Any]:
        """Yield the batches, also of a task that returns a list of them."""
        return self._each("calibration_batches()", lambda: self.own.calibration_batches())

    def forward(self, model: nn.Module, batch: Any) -> Any:
        """Run a model on one calibration batch, which is brought to where the model is."""
        with _told("forward(model, batch)"):
            return self._method("forward")(model, moved(batch, device_of(model)))

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield losses: scalar tensors, with gradients where these are computed."""
        call = "training_losses(...)"
        losses = partial(self._method("training_losses"), model, teacher, distillation, seed)
        for loss in self._each(call, losses):
            yield _checked_loss(call, loss, model)

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[float]:
        """Yield losses on the parts of a split, up to the first that is not finite."""
        call = f'part_losses(model, "{split}")'
        for loss in self._each(call, lambda: self._method("part_losses")(model.eval(), split)):
            value = _number(call, loss)
            if not np.isfinite(value):
                return  # the metric will tell
            yield value

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        """Tell how often rows are used, by weight name."""
        call = "row_frequencies(model)"
        given = self._mapping(call, "weight names to counts", model)
        return {str(name): _counts(call, name, counts) for name, counts in given.items()}

    def fingerprint(self) -> str:
        """Identify the data; by the name of the task's class where it does not say."""
        if not callable(getattr(self.own, "fingerprint", None)):
            return type(self.own).__qualname__
        with _told("fingerprint()"):
            text = self.own.fingerprint()
        if not isinstance(text, str):
            raise TaskError(f"`task.fingerprint()` must return a text, but gave {_kind(text)}")
        return text

    def assets(self) -> Mapping[str, bytes]:
        """Name files that belong into every artifact."""
        return self._mapping("assets()", "names to bytes")

    def model_config(self, model: nn.Module) -> Mapping[str, Any] | None:
        """Describe a model so that it can be built without the user's code."""
        with _told("model_config(model)"):
            config: Mapping[str, Any] | None = self._method("model_config")(model)
        return config

    def describe_data(self) -> DataDescription | None:
        """Describe the data."""
        with _told("describe_data()"):
            return self._method("describe_data")()  # type: ignore[no-any-return]

    def serving(self, model: nn.Module) -> Serving | None:
        """Say how a compressed model answers requests."""
        with _told("serving(model)"):
            return self._method("serving")(model)  # type: ignore[no-any-return]

    def _method(self, name: str) -> Callable[..., Any]:
        own = getattr(self.own, name, None)
        return own if callable(own) else partial(getattr(Task, name), self)

    def _mapping(self, call: str, what: str, *given: Any) -> Mapping[str, Any]:
        with _told(call):
            found = self._method(call.partition("(")[0])(*given)
        if not isinstance(found, Mapping):
            raise TaskError(
                f"`task.{call}` must return a mapping from {what}, but gave {_kind(found)}"
            )
        return found

    def _each(self, call: str, iterable: Callable[[], Iterable[Any]]) -> Iterator[Any]:
        with _told(call):
            found = iterable()
            if isinstance(found, Tensor | np.ndarray | str | bytes | Mapping) or found is None:
                raise TaskError(
                    f"`task.{call}` must yield its items one by one, or return a list of them, "
                    f"but gave {_kind(found)}"
                )
            iterator = iter(found)
        while True:
            with _told(call):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item


def guarded(task: Any) -> GuardedTask:
    """Return a task whose faults are told, once.

    Raises:
        TaskError: If it is a class or a function, or lacks something.
    """
    return task if isinstance(task, GuardedTask) else GuardedTask(task)


def differentiate(loss: Tensor) -> None:
    """Go backwards from a loss that a task has given.

    Raises:
        TaskError: If that fails, as where the task has done so itself.
    """
    try:
        torch.autograd.backward(loss)
    except RuntimeError as error:
        raise TaskError(
            "the loss that `task.training_losses(...)` yielded must be differentiable, but going "
            f"backwards {told(error)}; yield it without calling `backward()` on it"
        ) from error


@contextmanager
def _told(call: str) -> Iterator[None]:
    gradients = torch.is_grad_enabled()
    try:
        yield
    except AutocompressError:
        raise  # in one line already
    except (Exception, SystemExit) as error:  # whatever a user's code raises
        raise TaskError(f"`task.{call}` {told(error)}") from error
    finally:
        torch.set_grad_enabled(gradients)


def _check(task: Any) -> None:
    name = getattr(task, "__name__", type(task).__name__)
    if isinstance(task, type):
        raise TaskError(f"a task is an object, but got the class {name}; call it: `{name}()`")
    missing = [one for one in _NEEDED if not callable(getattr(task, one, None))]
    if missing:
        raise TaskError(
            f"a task defines {' and '.join(f'`{one}`' for one in _NEEDED)}, but {name} lacks "
            f"{' and '.join(f'`{one}`' for one in missing)}; derive it from `autocompress.Task`"
        )
    metric = getattr(task, "metric", None)
    if not isinstance(metric, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", metric):
        raise TaskError(
            "`metric` of a task must name what `evaluate` returns, in letters, digits, '_' and "
            f"'-', such as \"perplexity\", but {name} has {metric!r}"
        )
    direction = getattr(task, "direction", "minimize")
    if direction not in get_args(Direction):
        known = " or ".join(f'"{one}"' for one in get_args(Direction))
        raise TaskError(f"`direction` of a task must be {known}, but {name} has {direction!r}")


def _number(call: str, value: Any) -> float:
    try:
        return number_of(value)
    except ValueError as error:
        hint = "; does a `return` lack?" if value is None else ""
        raise TaskError(f"`task.{call}` must give a number, but gave {error}{hint}") from None


def _checked_loss(call: str, loss: Any, model: nn.Module) -> Tensor:
    if not isinstance(loss, Tensor) or not loss.is_floating_point():
        raise TaskError(
            f"`task.{call}` must yield losses as scalar tensors with gradients, but yielded "
            f"{_kind(loss)}; yield the loss itself, without `.item()`"
        )
    if loss.numel() != 1:
        raise TaskError(
            f"`task.{call}` must yield scalar tensors, but yielded one of shape "
            f"{tuple(loss.shape)}; take its mean"
        )
    needs = torch.is_grad_enabled() and any(one.requires_grad for one in model.parameters())
    if needs and not loss.requires_grad:
        raise TaskError(
            f"`task.{call}` must yield losses with gradients, but yielded one without; compute it "
            "from the model that was handed over, not under `no_grad`, and without `detach`"
        )
    return loss if loss.dim() == 0 else loss.reshape(())


def _counts(call: str, name: Any, counts: Any) -> NDArray[np.float64]:
    if isinstance(counts, Tensor):
        counts = counts.detach().cpu().numpy()
    try:
        return np.asarray(counts, dtype=np.float64)
    except (TypeError, ValueError):
        raise TaskError(
            f"`task.{call}` must give an array of counts for '{name}', but gave {_kind(counts)}"
        ) from None


def _kind(value: Any) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
