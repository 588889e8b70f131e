"""Jobs in this process and in others: the same results, and what happens where one dies."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from platforms import needs_posix
from torch import nn
from toys import Classification, teacher

from autocompress import Objective
from autocompress.encoding.encoder import Encoder
from autocompress.errors import ObjectiveError, OutOfMemoryError, SearchError
from autocompress.outcome.limits import Budget
from autocompress.outcome.objectives import Split
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep, Float32
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.executors import Executor, LocalProcesses, ThisMachine, ThisProcess
from autocompress.searching.jobs import Bench, RecoveryJob, TrialJob
from autocompress.structures import Dense
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.looks import GivenUp


def deadly(end: Callable[[], object]) -> Classification:
    """Return a task of a class that other processes get by value."""

    class Deadly(Classification):
        """Ends any process but the first."""

        def evaluate(self, model: nn.Module, split: Split) -> float:
            if multiprocessing.parent_process() is not None:
                end()
            return super().evaluate(model, split)

    return Deadly()


class Elsewhere:
    """Cannot be made anew in another process."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("no number",)


def bench_of(task: Classification, *own: Objective, limit: int = 10**6) -> Bench:
    limits = {"size_bytes": Budget(limit).limit}
    return Bench(teacher(), Evaluator.of(teacher(), task, limits, own))


def plan_of(bench: Bench, step: float) -> CompressionPlan:
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=step))
    weights = bench.evaluator.source.weights.weights
    return CompressionPlan(treatments=dict.fromkeys(weights, treatment))


def jobs_of(bench: Bench, folder: Path, count: int = 3) -> list[TrialJob]:
    return [
        TrialJob(number, plan_of(bench, 0.2 + number / 10), folder / str(number) / "model.acz")
        for number in range(count)
    ]


def carried_out(executor: Executor, jobs: list[TrialJob]) -> dict[int, TrialResult]:
    waiting, found = list(jobs), {}
    while waiting or executor.n_begun:
        while waiting and executor.n_begun < executor.capacity:
            executor.begin(waiting.pop(0))
        job, outcome = executor.next()
        assert isinstance(job, TrialJob)
        assert isinstance(outcome, TrialResult)
        found[job.number] = outcome
    return found


def test_other_processes_give_the_same_results_and_files(tmp_path: Path) -> None:
    bench = bench_of(Classification())
    here = carried_out(ThisProcess(bench), jobs_of(bench, tmp_path / "here"))
    with ThisMachine().executing(bench, 2) as executor:
        assert isinstance(executor, LocalProcesses)
        there = carried_out(executor, jobs_of(bench, tmp_path / "there"))
    assert here.keys() == there.keys()
    for number, one in here.items():
        assert there[number].values == one.values
        paths = [tmp_path / place / str(number) / "model.acz" for place in ("here", "there")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_this_process_does_the_earliest_first(tmp_path: Path) -> None:
    bench = bench_of(Classification())
    with ThisMachine().executing(bench, 1) as executor:
        first, second, _ = jobs_of(bench, tmp_path)
        executor.begin(first)
        executor.begin(second)
        assert (executor.n_begun, executor.next()[0], executor.n_begun) == (2, first, 1)
        assert executor.next()[0] is second


def test_a_job_may_give_up_or_fail(tmp_path: Path) -> None:
    def broken(_: object) -> float:
        return float("nan")

    bench = bench_of(Classification(), Objective("mine", "minimize", broken), limit=9000)
    executor = ThisProcess(bench)
    exact = Treatment(structure=Dense(), precision=Float32())
    plan = plan_of(bench, 2.0)
    large = CompressionPlan(treatments=dict.fromkeys(plan.treatments, exact))
    executor.begin(TrialJob(4, large, tmp_path / "a.acz"))
    outcome = executor.next()[1]
    assert isinstance(outcome, GivenUp)
    assert outcome.number == 4
    executor.begin(TrialJob(5, plan, tmp_path / "b.acz"))
    assert isinstance(executor.next()[1], ObjectiveError)


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    bench = bench_of(deadly(lambda: os._exit(9)))
    with ThisMachine().executing(bench, 2) as executor:
        executor.begin(jobs_of(bench, tmp_path)[2])
        with pytest.raises(SearchError, match=r"the process of trial 2 died \(exit code 9\)"):
            executor.next()


@needs_posix
@pytest.mark.parametrize(
    "times", [1, pytest.param(3, marks=pytest.mark.slow)], ids=["once", "each time"]
)
def test_a_process_that_is_killed_is_replaced(
    times: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the system kills it where memory runs out."""

    def kill() -> None:
        before = len(list(tmp_path.glob("killed*")))
        if before < times:
            (tmp_path / f"killed-{before}").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    bench = bench_of(deadly(kill))
    with LocalProcesses(bench, 1) as executor:
        first, second, _ = jobs_of(bench, tmp_path)
        executor.begin(first)
        job, outcome = executor.next()
        assert job is first
        if times == 3:
            assert isinstance(outcome, OutOfMemoryError)
            assert str(outcome) == (
                "its process was killed 3 times (exit code -9), as the system does where memory "
                "runs out; use fewer jobs"
            )
        else:
            assert isinstance(outcome, TrialResult)
        executor.begin(second)
        assert isinstance(executor.next()[1], TrialResult)
    said = capsys.readouterr().err.count("the process of trial 0 was killed (exit code -9): again")
    assert said == min(times, 2)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
    ids=["numpy", "torch", "CUDA"],
)
def test_memory_that_runs_out_is_an_outcome(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    bench = bench_of(Classification())
    executor = ThisProcess(bench)
    executor.begin(jobs_of(bench, tmp_path)[0])
    monkeypatch.setattr(Encoder, "write", fail)
    outcome = executor.next()[1]
    assert isinstance(outcome, OutOfMemoryError)
    assert str(outcome).startswith("trial 0 ran out of memory (")
    assert outcome.__context__ is outcome.__cause__ is None  # or else all of it stays


def test_other_errors_are_defects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes differ")

    bench = bench_of(Classification())
    executor = ThisProcess(bench)
    executor.begin(jobs_of(bench, tmp_path)[0])
    monkeypatch.setattr(Encoder, "write", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        executor.next()


def test_what_cannot_be_copied_is_refused() -> None:
    lock = threading.Lock()
    held = Objective("held", "minimize", lambda _: float(lock.locked()))
    with pytest.raises(SearchError, match=r"can be copied to other processes.*; use one job"):
        ThisMachine().executing(bench_of(Classification(), held), 2)


def test_what_cannot_be_loaded_there_is_told(tmp_path: Path) -> None:
    task = Classification()
    task.extra = Elsewhere()  # type: ignore[attr-defined]
    bench = bench_of(task)
    with ThisMachine().executing(bench, 2) as executor:
        executor.begin(jobs_of(bench, tmp_path)[0])
        with pytest.raises(SearchError, match="another process cannot load the task: invalid"):
            executor.next()


def test_a_plan_that_cannot_be_loaded_there_is_told(tmp_path: Path) -> None:
    bench = bench_of(Classification())
    job = TrialJob(1, plan_of(bench, 0.5), tmp_path / "a.acz", [Elsewhere()])  # type: ignore[list-item]
    with ThisMachine().executing(bench, 2) as executor:
        executor.begin(job)
        with pytest.raises(SearchError, match="another process cannot load a plan: invalid"):
            executor.next()


@pytest.mark.slow
def test_a_recovery_is_a_job_for_any_executor(tmp_path: Path) -> None:
    bench = bench_of(Classification())
    settings = RecoverySettings(RecoveryBudget(steps=6), segments=2)
    limits = {"size_bytes": Budget(20_000).limit}
    values = []
    for jobs in (1, 2):
        path = tmp_path / str(jobs) / "model.acz"
        with ThisMachine().executing(bench, jobs) as executor:
            executor.begin(RecoveryJob(7, plan_of(bench, 2.0), path, settings, limits))
            job, outcome = executor.next()
        assert job.title == "recovery of trial 7"
        assert isinstance(outcome, TrialResult)
        assert outcome.size_bytes == path.stat().st_size <= 20_000
        values.append(outcome.values)
    assert values[0] == values[1]
