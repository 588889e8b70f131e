"""What a search is asked for is checked before any work."""

import math
from typing import Any

import pytest

from autocompress.errors import ExportError, RegistryError, SearchError
from autocompress.outcome.limits import Limit
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.effort import Effort
from autocompress.searching.request import Request, fine_tuning, instead_of_samples
from autocompress.searching.space.language import Space, load_space

TIMED = Limit(0.25, unit="x")


def request(space: str = "size", effort: Effort | None = None, **options: Any) -> Request:
    return Request("toy", load_space(space), effort or Effort(1, math.inf), **options)


def space_of(**changes: object) -> Space:
    return load_space("size").model_copy(update=changes)


@pytest.mark.parametrize(
    ("effort", "name"), [(Effort(0, 1.0), "trials"), (Effort(1, 1, 0), "jobs")]
)
def test_less_than_one_is_refused(effort: Effort, name: str) -> None:
    with pytest.raises(
        SearchError, match=f"`{name} >= 1` must hold for a whole number, but got 0"
    ):
        request(effort=effort)


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(SearchError, match="must be one of tpe, nsga2, random, but got 'best'"):
        request(sampler="best")


@pytest.mark.parametrize(
    ("space", "options", "engine"),
    [("size", {}, "torch"), ("size", {"latency": TIMED}, "onnx"), ("latency", {}, "onnx")],
)
def test_the_engine_follows_from_whether_latency_counts(
    space: str, options: dict[str, Any], engine: str
) -> None:
    assert request(space, **options).engine == engine


def test_the_space_may_name_the_engine() -> None:
    effort = Effort(1, math.inf)
    assert Request("toy", space_of(engine="onnx"), effort).engine == "onnx"
    with pytest.raises(ExportError, match="engine 'torch' measures no latency"):
        Request("toy", space_of(engine="torch"), effort, latency=TIMED)
    with pytest.raises(RegistryError, match="unknown engine 'abacus'"):
        Request("toy", space_of(engine="abacus"), effort)


def test_latency_needs_one_job() -> None:
    with pytest.raises(SearchError, match="use one job"):
        request(effort=Effort(1, math.inf, 2), latency=TIMED)


def test_a_space_may_ask_for_the_pipeline() -> None:
    recovery = RecoverySettings(RecoveryBudget(steps=5))
    effort = Effort(1, math.inf)
    asked = Request("toy", space_of(pipeline=True), effort, recovery=recovery)
    assert asked.recovery is not None
    assert asked.recovery.pipeline
    assert request(recovery=recovery).recovery == recovery


def test_fine_tuning_is_a_text_or_settings() -> None:
    settings = RecoverySettings(RecoveryBudget(steps=5), dropout=0.5)
    assert fine_tuning(settings, 3) == settings
    assert fine_tuning("20steps", 3) == RecoverySettings(RecoveryBudget(steps=20), seed=3)
    assert fine_tuning(None, 3) is None


@pytest.mark.parametrize(("timeout", "seconds"), [("1h", 1080), ("20s", 10)])
def test_a_share_of_the_time_is_for_fine_tuning(timeout: str, seconds: int) -> None:
    assert instead_of_samples(timeout, 0).budget == RecoveryBudget(seconds=seconds)
