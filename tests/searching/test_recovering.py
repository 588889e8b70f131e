"""Fine-tuning after a search: what is asked for, by which limits, and that it is done once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from toys import Classification, teacher

from autocompress import Objective
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import AutocompressError, SearchError
from autocompress.outcome.limits import Budget, Limit
from autocompress.outcome.metric import Direction
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep, Float16, Precision
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.executors import Outcome
from autocompress.searching.folder import SearchFolder
from autocompress.searching.jobs import Bench, Job, RecoveryJob
from autocompress.searching.judge import Judge
from autocompress.searching.recovering import carry_out, is_begun, recovery_jobs
from autocompress.searching.settings import Settings
from autocompress.structures import Dense
from autocompress.trial.evaluator import Evaluator

SETTINGS = RecoverySettings(RecoveryBudget(steps=6), segments=2)
LIMITS = {
    "size_bytes": Budget(20_000).limit,
    "accuracy": Limit(0.9, "maximize"),
    "latency": Limit(0.5, unit="x"),
    "few_bits": Limit(0.1, "maximize"),
}


class Prepared:
    """Gives what it was told to, as many at a time as it was told to; keeps what was asked."""

    def __init__(self, outcome: Outcome, capacity: int = 1) -> None:
        self.capacity = capacity
        self.asked: list[Job] = []
        self._outcome = outcome
        self._begun: list[Job] = []

    @property
    def n_begun(self) -> int:
        return len(self._begun)

    def begin(self, job: Job) -> None:
        assert len(self._begun) < self.capacity
        self._begun.append(job)
        self.asked.append(job)

    def next(self) -> tuple[Job, Outcome]:
        job = self._begun.pop()
        assert isinstance(job, RecoveryJob)
        job.path.parent.mkdir(parents=True, exist_ok=True)
        job.path.write_bytes(b"artifact")
        (job.path.parent / "checkpoint.pt").write_bytes(b"half way")
        return job, self._outcome


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(teacher(), Evaluator.of(teacher(), Classification()))


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return SearchFolder(tmp_path / "search")


def best_of(bench: Bench, precision: Precision) -> TrialResult:
    treatment = Treatment(structure=Dense(), precision=precision)
    weights = bench.evaluator.source.weights.weights
    plan = CompressionPlan(treatments=dict.fromkeys(weights, treatment))
    return TrialResult(7, plan, {"size_bytes": 9876.0, "accuracy": 0.8}, True, 0.0, 0.0, 0.0)


def jobs_of(
    bench: Bench, folder: SearchFolder, limits: Mapping[str, Limit], best: TrialResult
) -> dict[str, RecoveryJob]:
    source = bench.evaluator.source
    return recovery_jobs(folder, source, "accuracy", limits, [best], SETTINGS)


def test_files_are_judged_by_the_limits_of_the_search(bench: Bench, folder: SearchFolder) -> None:
    best = best_of(bench, EntropyStep(step=2.5))
    jobs = jobs_of(bench, folder, LIMITS, best)
    assert list(jobs) == ["recovered", "control"]
    assert jobs["recovered"].limits == LIMITS
    assert jobs["recovered"].plan == best.plan
    assert jobs["control"].limits == {"few_bits": LIMITS["few_bits"]}
    assert jobs["control"].plan == uncompressed_plan(bench.evaluator.source)
    assert {job.number for job in jobs.values()} == {7}


@pytest.mark.parametrize(
    ("precision", "limits"),
    [(EntropyStep(step=2.5), {"size_bytes": Budget(9876).limit}), (Float16(), {})],
)
def test_without_a_budget_steps_keep_the_size_of_the_plan(
    precision: Precision, limits: dict[str, Limit], bench: Bench, folder: SearchFolder
) -> None:
    jobs = jobs_of(bench, folder, {}, best_of(bench, precision))
    assert jobs["recovered"].limits == limits
    assert jobs["control"].limits == {}


@pytest.mark.parametrize("capacity", [1, 2])
def test_each_is_done_once_and_what_it_needed_is_removed(
    capacity: int, bench: Bench, folder: SearchFolder
) -> None:
    best = best_of(bench, Float16())
    jobs, executor = jobs_of(bench, folder, LIMITS, best), Prepared(best, capacity)
    assert not is_begun(folder, SETTINGS)
    carry_out(jobs, executor)
    assert executor.asked == list(jobs.values())
    assert is_begun(folder, SETTINGS)
    for name, job in jobs.items():
        assert [*folder.all_recovered(name)] == [(job.path, best)]
        names = {path.name for path in job.path.parent.iterdir()}
        assert names == {"model.acz", "trial.json", "method.json"}
    again = Prepared(best, capacity)
    carry_out(jobs, again)
    assert again.asked == []


def test_what_is_missing_is_done_where_it_was_interrupted(
    bench: Bench, folder: SearchFolder
) -> None:
    best = best_of(bench, Float16())
    jobs = jobs_of(bench, folder, LIMITS, best)
    carry_out({"recovered": jobs["recovered"]}, Prepared(best))
    executor = Prepared(best)
    carry_out(jobs, executor)
    assert executor.asked == [jobs["control"]]


def test_other_settings_are_another_recovery(bench: Bench, folder: SearchFolder) -> None:
    """Labels round their numbers; settings that differ by less must not be taken for equal."""
    near, nearer = (replace(SETTINGS, learning_rate=0.005 + by) for by in (1e-9, 2e-9))
    assert near.label() == nearer.label()
    best = best_of(bench, Float16())
    jobs = recovery_jobs(folder, bench.evaluator.source, "accuracy", LIMITS, [best], near)
    carry_out(jobs, Prepared(best))
    assert is_begun(folder, replace(near))
    assert not is_begun(folder, nearer)


def test_an_error_is_raised_and_nothing_is_kept(bench: Bench, folder: SearchFolder) -> None:
    error: AutocompressError = SearchError("the task yields no training losses")
    jobs = jobs_of(bench, folder, LIMITS, best_of(bench, Float16()))
    with pytest.raises(SearchError, match="no training losses"):
        carry_out(jobs, Prepared(error))
    assert list(folder.all_recovered("recovered")) == []


def test_what_gave_no_file_within_the_limits_is_told(
    bench: Bench, folder: SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    best = best_of(bench, Float16())
    jobs = jobs_of(bench, folder, LIMITS, best)
    carry_out({"recovered": jobs["recovered"]}, Prepared(replace(best, rejected="above 20 kB")))
    carry_out({"control": jobs["control"]}, Prepared(best))
    said = capsys.readouterr().err
    assert said.count("no file counts") == 1
    assert "recovery of trial 7: no file counts: above 20 kB" in said


def test_other_members_keep_their_own_sizes(
    bench: Bench, folder: SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    best = best_of(bench, Float16())
    steps = replace(best_of(bench, EntropyStep(step=2.5)), number=12)
    exact, source = replace(best, number=3), bench.evaluator.source
    members = [best, steps, exact]
    jobs = recovery_jobs(folder, source, "accuracy", LIMITS, members, SETTINGS)
    assert list(jobs) == ["recovered", "recovered-0012", "recovered-0003", "control"]
    assert [job.number for job in jobs.values()] == [7, 12, 3, 7]
    assert jobs["recovered-0012"].limits == {**LIMITS, "size_bytes": Budget(9876).limit}
    assert jobs["recovered-0003"].limits == LIMITS  # its size is what it is
    carry_out(jobs, Prepared(best, 4))
    assert len([*folder.all_recovered("recovered")]) == 3
    assert len([*folder.all_recovered("control")]) == 1
    said = capsys.readouterr().err
    assert "fine-tuning trial 12: 6 steps" in said
    assert "fine-tuned on labels: trial 12: 9.876 kB, accuracy 0.8" in said


def test_what_is_under_way_is_kept_when_another_fails(bench: Bench, folder: SearchFolder) -> None:
    class Failing(Prepared):
        """Fails with what was begun last, and does the rest."""

        def next(self) -> tuple[Job, Outcome]:
            job, outcome = super().next()
            return job, SearchError("lost") if job is self.asked[-1] else outcome

    best = best_of(bench, Float16())
    members = [best, replace(best, number=12), replace(best, number=3)]
    jobs = recovery_jobs(folder, bench.evaluator.source, "accuracy", LIMITS, members, SETTINGS)
    executor = Failing(best, 2)
    with pytest.raises(SearchError, match="lost"):
        carry_out(jobs, executor)
    assert len(executor.asked) == 2
    assert [path for path, _ in folder.all_recovered("recovered")] == [jobs["recovered"].path]


SIZES = [1000, 2000, 4000, 8000, 16_000]
FRONT = [0.5, 0.85, 0.88, 0.9, 0.99]  # of trials 0 to 4, whose uncompressed model has 1.0


@pytest.mark.parametrize(
    ("limits", "count", "numbers"),
    [
        ({}, 0, []),
        ({}, 1, [4]),
        ({}, 2, [4, 1]),
        ({}, 9, [4, 1, 3]),  # trial 0 is worse than fine-tuning could mend
        ({"size_bytes": Budget(8000).limit}, 9, [1, 3]),
    ],
)
def test_members_are_near_in_loss_and_spread_over_the_sizes(
    limits: dict[str, Limit], count: int, numbers: list[int]
) -> None:
    directions: dict[str, Direction] = {"size_bytes": "minimize", "accuracy": "maximize"}
    settings = Settings(
        name="model", metric="accuracy", directions=directions, budget_bytes=None, sampler="tpe",
        seed=0, model="", data="", space="",
    )  # fmt: skip
    judge = Judge(settings, limits, {"size_bytes": 64_000.0, "accuracy": 1.0})
    plan = CompressionPlan(treatments={})
    pairs = [*zip(SIZES, FRONT, strict=True), (9000, 0.6)]  # the last is not on the front
    results = [
        TrialResult(number, plan, {"size_bytes": size, "accuracy": value}, True, 0.0, 0.0, 0.0)
        for number, (size, value) in enumerate(pairs)
    ]
    assert [one.number for one in judge.members(results, results[2], count)] == numbers


def test_a_slow_file_is_scored_all_the_same(tmp_path: Path) -> None:
    """Of files that are all too slow, the best is kept: it misses the limits by the least."""
    slow = Objective("slow", "minimize", lambda _: 7.0, phase="engine")
    limits = {"slow": Limit(5.0)}
    bench = Bench(teacher(), Evaluator.of(teacher(), Classification(), limits, [slow]))
    plan = best_of(bench, Float16()).plan
    assert "accuracy" not in bench.evaluator.run(7, plan, tmp_path / "before.acz").values
    job = RecoveryJob(7, plan, tmp_path / "recovered" / "model.acz", SETTINGS, limits)
    outcome = job.carry_out(bench)
    assert isinstance(outcome, TrialResult)
    assert "accuracy" in outcome.values
    assert not outcome.feasible
