"""Tasks as people write them: every method, and every kind of fault in it."""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

from autocompress import Task
from autocompress.errors import ModelError, TaskError
from autocompress.knowledge.curvature import measure_curvatures
from autocompress.knowledge.guarded import GuardedTask, differentiate, guarded
from autocompress.knowledge.identity import batches_sha256
from autocompress.knowledge.tensors import check_readable
from autocompress.outcome.objectives import Split


class Fine(Task):
    """A task in which nothing is wrong."""

    metric = "loss"

    def __init__(self) -> None:
        self.batches = list(torch.ones(3, 5, 4).unbind())

    def evaluate(self, model: nn.Module, split: Split) -> Any:
        return float(model(self.batches[0]).square().mean())

    def calibration_batches(self) -> Any:
        yield from self.batches

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Any]:
        for batch in self.batches:
            yield model(batch).square().mean()

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[Any]:
        yield from (1.0, 2.0, 3.0)

    def row_frequencies(self, model: nn.Module) -> Any:
        return {"weight": [1, 2, 3]}


def model() -> nn.Linear:
    return nn.Linear(4, 3)


CALLS: dict[str, Callable[[Task], Any]] = {
    "evaluate": lambda task: task.evaluate(model(), "valid"),
    "calibration_batches": lambda task: list(task.calibration_batches()),
    "forward": lambda task: task.forward(model(), torch.ones(2, 4)),
    "training_losses": lambda task: list(task.training_losses(model(), model(), 0.0, 0)),
    "part_losses": lambda task: list(task.part_losses(model(), "valid")),
    "row_frequencies": lambda task: task.row_frequencies(model()),
    "fingerprint": lambda task: task.fingerprint(),
    "assets": lambda task: task.assets(),
    "model_config": lambda task: task.model_config(model()),
}
each_method = pytest.mark.parametrize("method", CALLS)


def with_method(name: str, function: Callable[..., Any]) -> Task:
    task: Task = type("Mine", (Fine,), {name: function})()
    return task


class Late:
    """Gives two items and then raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        yield torch.ones((), requires_grad=True)
        yield torch.ones((), requires_grad=True)
        raise self._error


@each_method
@pytest.mark.parametrize(
    "error",
    [ValueError("bad\npath"), KeyError("test"), SystemExit("no licence"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_what_a_method_raises_is_told_with_its_line(method: str, error: BaseException) -> None:
    def broken(self: Task, *given: Any) -> Any:
        raise error

    with pytest.raises(TaskError, match=rf"^`task\.{method}\(.*\)` raised ") as told:
        CALLS[method](guarded(with_method(method, broken)))
    line = broken.__code__.co_firstlineno + 1
    assert type(error).__name__ in str(told.value)
    assert f"{__file__}, line {line}, in broken" in str(told.value)
    assert "\n" not in str(told.value)
    assert told.value.__cause__ is error
    assert traceback.extract_tb(error.__traceback__)[-1].name == "broken"


@pytest.mark.parametrize("method", ["calibration_batches", "training_losses", "part_losses"])
def test_what_is_raised_between_two_items_is_told(method: str) -> None:
    error = ValueError("bad path")
    task = guarded(with_method(method, lambda *_: Late(error)))
    with pytest.raises(TaskError, match=f"{method}.*ValueError: bad path") as told:
        CALLS[method](task)
    assert told.value.__cause__ is error


@each_method
def test_interrupts_and_errors_of_ours_pass(method: str) -> None:
    for error in (KeyboardInterrupt(), ModelError("mine")):

        def broken(*_: Any, error: BaseException = error) -> Any:
            raise error

        with pytest.raises(type(error)) as raised:
            CALLS[method](guarded(with_method(method, broken)))
        assert raised.value is error


@pytest.mark.parametrize(
    "score",
    [
        *(1.5, 3, np.float32(1.5), np.array([1.5]), np.array(1.5), torch.tensor(1.5), True),
        *(torch.tensor([[1.5]], requires_grad=True), Decimal("1.5"), Fraction(3, 2), math.nan),
    ],
    ids=lambda score: type(score).__name__,
)
def test_numbers_of_every_kind_are_taken(score: Any) -> None:
    found = CALLS["evaluate"](guarded(with_method("evaluate", lambda *_: score)))
    assert type(found) is float
    assert found in (1.5, 3.0, 1.0) or math.isnan(found)


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (None, "None; does a `return` lack?"),
        ("1.5", "'1.5'"),
        (1j, "1j"),
        ((1.5, 1), r"\(1.5, 1\)"),
        (torch.ones(2), r"an object of type Tensor of shape \(2,\)"),
        (np.ones((1, 2)), r"an object of type ndarray of shape \(1, 2\)"),
        (10**400, "too large"),
        (object(), "object"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_number_is_refused(score: Any, told: str) -> None:
    for method, given in (("evaluate", score), ("part_losses", [score])):
        task = guarded(with_method(method, lambda *_, given=given: given))
        with pytest.raises(TaskError, match=f"must give a number, but gave .*{told}") as error:
            CALLS[method](task)
        assert "\n" not in str(error.value)


def test_batches_and_losses_may_be_lists() -> None:
    batches = Fine().batches
    assert CALLS["calibration_batches"](
        guarded(with_method("calibration_batches", lambda _: batches))
    ) == list(batches)


@pytest.mark.parametrize("method", ["calibration_batches", "training_losses", "part_losses"])
@pytest.mark.parametrize("given", [None, torch.ones(3), "abc", {"a": 1}], ids=repr)
def test_what_is_no_sequence_of_items_is_refused(method: str, given: Any) -> None:
    with pytest.raises(TaskError, match=f"{method}.*must yield its items one by one"):
        CALLS[method](guarded(with_method(method, lambda *_: given)))


@pytest.mark.parametrize("given", [3, None, torch.ones(3)], ids=repr)
def test_what_is_no_iterable_is_refused(given: Any) -> None:
    with pytest.raises(TaskError, match="calibration_batches"):
        CALLS["calibration_batches"](guarded(with_method("calibration_batches", lambda _: given)))


LOSSES: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "floats": (lambda m: m(torch.ones(4)).mean().item(), r"without `\.item\(\)`"),
    "whole": (lambda m: torch.tensor(3), r"without `\.item\(\)`"),
    "none": (lambda m: None, "yielded None"),
    "vectors": (lambda m: m(torch.ones(4)), r"one of shape \(3,\); take its mean"),
    "detached": (lambda m: m(torch.ones(4)).mean().detach(), "without `detach`"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_that_cannot_train_are_refused(kind: str) -> None:
    loss, told = LOSSES[kind]
    task = guarded(with_method("training_losses", lambda _, m, *__: iter([loss(m)])))
    with pytest.raises(TaskError, match=rf"training_losses\(\.\.\.\).*{told}"):
        measure_curvatures(model(), task, {})


def test_a_loss_of_one_element_is_a_scalar() -> None:
    task = with_method("training_losses", lambda _, m, *__: iter([m(torch.ones(4))[:1]]))
    assert [one.shape for one in CALLS["training_losses"](guarded(task))] == [()]


def test_losses_are_not_judged_where_no_gradient_is_asked_for() -> None:
    with torch.no_grad():
        assert len(CALLS["training_losses"](guarded(Fine()))) == 3
    frozen = model().requires_grad_(False)
    assert len(list(guarded(Fine()).training_losses(frozen, frozen, 0.0, 0))) == 3


def test_a_loss_that_the_task_has_gone_backwards_from_is_told() -> None:
    def backwards(_: Task, m: nn.Module, *__: Any) -> Iterator[Any]:
        loss = m(torch.ones(4)).square().mean()
        loss.backward()
        yield loss

    with pytest.raises(TaskError, match=r"yield it without calling `backward\(\)`"):
        measure_curvatures(model(), guarded(with_method("training_losses", backwards)), {})
    differentiate(model()(torch.ones(4)).sum())


def test_parts_end_where_they_are_not_finite() -> None:
    task = with_method("part_losses", lambda *_: iter([1, math.nan, 2]))
    assert CALLS["part_losses"](guarded(task)) == [1.0]


@pytest.mark.parametrize("given", [None, [1], "abc"], ids=repr)
@pytest.mark.parametrize("method", ["row_frequencies", "assets"])
def test_what_is_no_mapping_is_refused(method: str, given: Any) -> None:
    with pytest.raises(TaskError, match=f"{method}.*must return a mapping"):
        CALLS[method](guarded(with_method(method, lambda *_: given)))


@pytest.mark.parametrize("counts", [[1, 2, 3], torch.ones(3, requires_grad=True), np.ones(3)])
def test_counts_of_every_kind_are_taken(counts: Any) -> None:
    found = CALLS["row_frequencies"](
        guarded(with_method("row_frequencies", lambda *_: {"a": counts}))
    )
    assert found["a"].dtype == np.float64


def test_a_fingerprint_is_a_text() -> None:
    with pytest.raises(TaskError, match=r"fingerprint\(\)` must return a text, but gave None"):
        CALLS["fingerprint"](guarded(with_method("fingerprint", lambda _: None)))
    assert guarded(Fine()).fingerprint() == "Fine"
    assert not guarded(Fine()).identifies_data
    assert guarded(with_method("fingerprint", lambda _: "mine")).identifies_data


class Duck:
    """Inherits nothing, and has what is needed."""

    metric = "loss"

    def evaluate(self, model: nn.Module, split: str) -> int:
        return 1

    def calibration_batches(self) -> list[Any]:
        return [torch.ones(2, 4)]


def test_a_task_need_not_inherit_anything() -> None:
    task = guarded(Duck())
    assert task.direction == "minimize"
    assert {name: call(task) for name, call in CALLS.items() if name not in ("forward",)} == {
        "evaluate": 1.0,
        "calibration_batches": [pytest.approx(torch.ones(2, 4))],
        "training_losses": [],
        "part_losses": [],
        "row_frequencies": {},
        "fingerprint": "Duck",
        "assets": {},
        "model_config": None,
    }
    assert task.forward(model(), torch.ones(2, 4)).shape == (2, 3)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (Fine, r"got the class Fine; call it: `Fine\(\)`"),
        (lambda model: 1.0, "lambda> lacks `evaluate` and `calibration_batches`"),
        (None, "NoneType lacks `evaluate`"),
        (type("Half", (), {"metric": "a", "evaluate": min})(), "Half lacks `calibration_batches`"),
    ],
)
def test_what_is_no_task_is_refused(task: Any, told: str) -> None:
    with pytest.raises(TaskError, match=told):
        guarded(task)


def test_a_class_that_lacks_a_method_makes_no_task() -> None:
    half = type("Half", (Task,), {"evaluate": lambda *_: 1.0})
    with pytest.raises(TaskError, match="but Half lacks `calibration_batches`"):
        half()


@pytest.mark.parametrize("metric", [None, "", "word error rate (%)", 3, "ümlaut"])
def test_a_metric_is_a_name(metric: Any) -> None:
    task = type("Mine", (Fine,), {"metric": metric})()
    with pytest.raises(TaskError, match=r"`metric` of a task must name .* but Mine has"):
        guarded(task)


@pytest.mark.parametrize("direction", ["maximise", "max", None, "Minimize"])
def test_a_misspelt_direction_is_refused(direction: Any) -> None:
    task = type("Mine", (Fine,), {"direction": direction})()
    with pytest.raises(TaskError, match='must be "minimize" or "maximize", but Mine has'):
        guarded(task)


def test_a_call_leaves_no_trace() -> None:
    def rude(self: Task, m: nn.Module, *_: Any) -> float:
        m.train()
        torch.set_grad_enabled(False)
        return float(torch.rand(()) + np.random.rand() + random.random())  # noqa: NPY002

    task, layer = guarded(with_method("evaluate", rude)), model()
    before = torch.get_rng_state(), random.getstate()
    first = task.evaluate(layer, "valid")
    torch.rand(3)
    assert task.evaluate(layer, "valid") == first  # the same random numbers each time
    assert torch.is_grad_enabled()
    torch.set_rng_state(before[0])
    assert random.getstate() == before[1]
    looking = with_method("evaluate", lambda _, m, __: m.training)
    assert guarded(looking).evaluate(layer, "valid") == 0


def test_no_grad_around_a_yield_ends_with_it() -> None:
    def careless(_: Task, m: nn.Module, *__: Any) -> Iterator[Any]:
        with torch.no_grad():
            while True:
                yield m(torch.ones(4)).mean()

    task = guarded(with_method("training_losses", careless))
    with pytest.raises(TaskError, match="not under `no_grad`"):
        next(task.training_losses(model(), model(), 0.0, 0))
    assert torch.is_grad_enabled()


def test_a_guard_is_put_on_once_and_travels() -> None:
    task = guarded(Fine())
    assert guarded(task) is task
    copy = cloudpickle.loads(cloudpickle.dumps(task))
    assert isinstance(copy, GuardedTask)
    assert copy.metric == "loss"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (nn.Linear, r"the class Linear; call it"),
        (lambda x: x, "of type function"),
        (model().state_dict(), "a state dict; make a module"),
        ("model.pt", "of type str"),
    ],
)
def test_what_is_no_model_is_told(given: Any, told: str) -> None:
    with pytest.raises(ModelError, match=f"a model must be an `nn.Module`, but got .*{told}"):
        check_readable(given)


class Other:
    """Holds something, in a way that differs from process to process."""

    def __init__(self, value: int) -> None:
        self.value, self.itself, self.call = value, self, lambda: value


def _hash(*batches: Any) -> str | None:
    return batches_sha256(guarded(with_method("calibration_batches", lambda _: list(batches))))


def test_batches_are_told_apart_by_their_values_alone() -> None:
    batch = {"ids": torch.arange(4), "labels": [np.ones(2), "a", None, (1.5, Other(3))]}
    again = {"ids": torch.arange(4), "labels": [np.ones(2), "a", None, (1.5, Other(3))]}
    assert _hash(batch) == _hash(again) != None  # noqa: E711
    for changed in (
        {**batch, "ids": torch.arange(1, 5)},
        {**batch, "ids": torch.arange(4).float()},
        {**batch, "labels": [np.ones(2), "a", None, (1.5, Other(4))]},
        {**batch, "labels": [np.ones(2), "b", None, (1.5, Other(3))]},
    ):
        assert _hash(changed) != _hash(batch)


def test_shuffled_batches_are_the_same_by_their_seed_or_not_compared() -> None:
    seeded = with_method("calibration_batches", lambda _: iter([torch.randperm(9)]))
    assert batches_sha256(guarded(seeded)) == batches_sha256(guarded(seeded)) is not None
    numbers = iter(range(1000))
    never = with_method("calibration_batches", lambda _: [torch.tensor(next(numbers))])
    assert batches_sha256(guarded(never)) is None
