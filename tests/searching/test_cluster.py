"""Jobs on a cluster: who may do them, where they go, and what happens where a worker is lost."""

import json
import math
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import Classification, teacher

import autocompress
from autocompress import Objective
from autocompress.errors import ObjectiveError, SearchError
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import EntropyStep
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.searching.executors import (
    Executor,
    Outcome,
    Place,
    ThisProcess,
    crew,
    places,
    remote,
)
from autocompress.searching.executors import connecting as way
from autocompress.searching.executors.base import pickled
from autocompress.searching.executors.cluster import OnCluster
from autocompress.searching.executors.crew import Crew
from autocompress.searching.executors.probe import facts, misfit
from autocompress.searching.executors.remote import Done, stopped_when
from autocompress.searching.jobs import Bench, Job, RecoveryJob, TrialJob
from autocompress.searching.sending import Sent
from autocompress.structures import Dense
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.looks import GivenUp

pytest.importorskip("distributed", reason="Dask comes with the extra 'cluster'")

SETTINGS = RecoverySettings(RecoveryBudget(steps=6), segments=2)
WAIT_S = 60
DEADLY = 0.4


def deadly() -> Objective:
    """Return an objective that ends the processes of workers for the plans of one step."""
    here = os.getpid()

    def measure(measured: autocompress.Measured) -> float:
        steps = {getattr(one.precision, "step", 0) for one in measured.plan.treatments.values()}
        if os.getpid() != here and steps == {DEADLY}:
            os._exit(9)
        return 1.0

    return Objective("deadly", "minimize", measure)


def bench_of(*own: Objective) -> Bench:
    model = teacher()
    return Bench(model, Evaluator.of(model, Classification(), {}, own))


def plan_of(bench: Bench, step: float) -> CompressionPlan:
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=step))
    weights = bench.evaluator.source.weights.weights
    return CompressionPlan(treatments=dict.fromkeys(weights, treatment))


def jobs_of(bench: Bench, folder: Path, count: int) -> list[Job]:
    jobs: list[Job] = [
        TrialJob(number, plan_of(bench, 0.2 + number / 10), folder / str(number) / "model.acz")
        for number in range(count)
    ]
    path = folder / "recovered" / "model.acz"
    return [*jobs, RecoveryJob(7, plan_of(bench, 2.0), path, SETTINGS, {})]


def carried_out(executor: Executor, jobs: list[Job]) -> dict[str, Outcome]:
    waiting, found = list(jobs), {}
    while waiting or executor.n_begun:
        while waiting and executor.n_begun < executor.capacity:
            executor.begin(waiting.pop(0))
        job, outcome = executor.next()
        found[job.title] = outcome
    return found


@pytest.fixture(scope="module")
def bench() -> Bench:
    return bench_of()


# The fakes: a scheduler whose workers do what a test says.
class Cluster:
    """Stands for a client of Dask; keeps what is submitted until a test answers it."""

    status, is_cut_off = "running", False

    def __init__(self, *addresses: str) -> None:
        self._directories = 0
        self.workers = {address: self.worker() for address in addresses}
        self.code: dict[str, str] = {}
        self.silent: set[str] = set()
        self.adopted: list[str] = []
        self.submitted: list[tuple[str, dict[str, Any], Future[Done]]] = []

    def worker(self, **resources: float) -> dict[str, Any]:
        self._directories += 1
        directory = f"worker-{self._directories}"
        return {"status": "running", "local_directory": directory, "resources": resources}

    @property
    def scheduler(self) -> "Cluster":
        return self

    def identity(self, n_workers: int) -> dict[str, Any]:
        assert n_workers == -1
        if self.is_cut_off:
            raise OSError("no connection")
        return {"workers": dict(self.workers)}

    def sync(self, function: Callable[..., Any], **settings: Any) -> Any:
        return function(**settings)

    def run(
        self, function: Any, *arguments: Any, workers: list[str], on_error: str
    ) -> dict[str, Any]:
        assert on_error == "return"
        return {address: self._answer(address, function, arguments) for address in workers}

    def _answer(self, address: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        if address in self.silent:
            return OSError("timed out")
        if function is remote.lacks:
            return address not in self.adopted
        if function is remote.adopt:
            self.adopted.append(address)
            return None
        found = pickle.loads(pickle.dumps(function))(*arguments)
        return {**found, "code": self.code.get(address, found["code"])}

    def submit(self, *arguments: Any, **settings: Any) -> Any:
        assert arguments[0] is remote.carry_out
        future: Future[Done] = Future()
        (address,) = settings["workers"]
        self.submitted.append((address, settings, future))
        return future

    def cancel(self, futures: list[Future[Done]]) -> None:
        for future in futures:
            future.cancel()

    def answer(self, index: int, done: Done) -> None:
        self.submitted[index][2].set_result(done)

    def lose(self, address: str) -> None:
        del self.workers[address]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocompress.searching.executors.crew._LOOK_S", 0.02)
    monkeypatch.setattr("autocompress.searching.executors.cluster._WAIT_S", 0.01)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def answer_later(cluster: Cluster, index: int) -> None:
    """Answer a job for trial 0 once it is with a worker."""

    def answer() -> None:
        until(lambda: len(cluster.submitted) == index + 1)
        cluster.answer(index, done(0))

    threading.Thread(target=answer, daemon=True).start()


def executor_on(cluster: Cluster) -> OnCluster:
    end = threading.Timer(WAIT_S, setattr, (cluster, "status", "closed"))  # of a test that hangs
    end.daemon = True
    end.start()
    return OnCluster(cluster, Crew(cluster, b"the bench"))


def trial(number: int, folder: Path) -> TrialJob:
    return TrialJob(number, CompressionPlan(treatments={}), folder / f"{number}" / "model.acz")


def recovery(folder: Path) -> RecoveryJob:
    path = folder / "recovered" / "model.acz"
    return RecoveryJob(7, CompressionPlan(treatments={}), path, SETTINGS, {})


def done(number: int, **files: bytes) -> Done:
    return Done(GivenUp(number, "hopeless", {}), files)


def test_workers_are_given_the_bench_once_and_one_job_each(tmp_path: Path) -> None:
    cluster = Cluster("a", "b")
    executor = executor_on(cluster)
    assert (sorted(cluster.adopted), executor.capacity) == (["a", "b"], 2)
    for number in range(3):
        executor.begin(trial(number, tmp_path))
    assert [address for address, *_ in cluster.submitted] == ["a", "b"]
    cluster.answer(1, done(1))
    assert executor.next()[0].title == "trial 1"
    cluster.answer(0, done(0))
    executor.next()
    assert executor.n_begun == 1
    assert len(cluster.adopted) == 2
    Crew(cluster, b"the bench")  # of another search with the same model
    assert len(cluster.adopted) == 2


def test_a_worker_of_another_version_is_refused_at_the_start() -> None:
    cluster = Cluster("a")
    cluster.code["a"] = "0123456789ab"
    with pytest.raises(
        SearchError, match=r"a: its autocompress is another version .*0123456789ab"
    ):
        executor_on(cluster)
    assert cluster.adopted == []


def test_a_worker_of_another_version_is_refused_when_it_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    executor.begin(trial(1, tmp_path))
    cluster.code["b"] = "0123456789ab"
    cluster.workers |= {"b": cluster.worker(), "c": cluster.worker()}
    end = threading.Timer(0.5, lambda: cluster.answer(0, done(0)))
    end.start()
    executor.next()
    assert [address for address, *_ in cluster.submitted] == ["a", "c"]
    said = capsys.readouterr().err
    assert said.count("worker b is not used: its autocompress is another version") == 1


def test_a_worker_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    cluster = Cluster("a")
    cluster.silent.add("a")
    executor = executor_on(cluster)
    assert executor.capacity == 1
    executor.begin(trial(0, tmp_path))
    cluster.silent.clear()
    answer_later(cluster, 0)
    assert executor.next()[0].title == "trial 0"


def test_a_search_waits_for_the_first_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster()
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    assert executor.capacity == 1
    cluster.workers["a"] = cluster.worker()
    answer_later(cluster, 0)
    assert executor.next()[0].title == "trial 0"
    assert capsys.readouterr().err.count("waiting for one") == 1


def test_recoveries_go_to_workers_with_a_graphics_processor(tmp_path: Path) -> None:
    cluster = Cluster("a", "b")
    cluster.workers["b"] = cluster.worker(GPU=1.0)
    executor = executor_on(cluster)
    executor.begin(recovery(tmp_path))
    executor.begin(recovery(tmp_path))  # waits, since "a" has none
    executor.begin(trial(0, tmp_path))
    assert [(address, settings["resources"]) for address, settings, _ in cluster.submitted] == [
        ("b", {"GPU": 1}),
        ("a", None),
    ]


def test_the_job_of_a_lost_worker_is_done_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster("a", "b", "c")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.lose("a")
    answer_later(cluster, 1)
    assert executor.next()[1] == GivenUp(0, "hopeless", {})
    assert [address for address, *_ in cluster.submitted] == ["a", "b"]
    assert cluster.submitted[0][2].cancelled()
    assert executor.n_begun == 0
    assert "the worker of trial 0 was lost" in capsys.readouterr().err


def test_workers_are_not_lost_while_the_scheduler_is_not_heard(tmp_path: Path) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.is_cut_off = True
    threading.Timer(0.3, lambda: cluster.answer(0, done(0))).start()
    assert executor.next()[1] == GivenUp(0, "hopeless", {})
    assert len(cluster.submitted) == 1


def test_a_job_that_three_workers_do_not_survive_has_failed(tmp_path: Path) -> None:
    cluster = Cluster("a", "b", "c", "d")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))

    def kill() -> None:
        for count, address in enumerate("abc", 1):
            until(lambda count=count: len(cluster.submitted) == count)  # type: ignore[misc]
            cluster.lose(address)

    threading.Thread(target=kill, daemon=True).start()
    outcome = executor.next()[1]
    assert isinstance(outcome, SearchError)
    assert str(outcome).startswith("3 workers were lost while they did it, the last c")
    assert len(cluster.submitted) == 3


def test_a_successor_at_the_same_address_is_asked_and_given_the_bench(tmp_path: Path) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.adopted.clear()
    cluster.workers["a"] = cluster.worker()
    answer_later(cluster, 1)
    executor.next()
    assert cluster.adopted == ["a"]


@pytest.mark.parametrize("end", [Done(None, {}), CancelledError(), OSError("connection lost")])
def test_what_ends_without_an_outcome_is_done_again(
    end: Done | BaseException, tmp_path: Path
) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    future = cluster.submitted[0][2]
    future.set_result(end) if isinstance(end, Done) else future.set_exception(end)
    answer_later(cluster, 1)
    assert executor.next()[1] == GivenUp(0, "hopeless", {})


@pytest.mark.parametrize(
    "name",
    [
        *("../model.acz", "/tmp/model.acz", ".lock", "a/b", "", "..", "a\\b", "C:\\x", "a\0b"),
        *("x" * 300, "a\nb", "\ud800", 3),
    ],
)
def test_files_of_other_names_than_plain_ones_are_refused(name: Any, tmp_path: Path) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.answer(0, Done(GivenUp(0, "hopeless", {}), {name: b"hostile"}))
    outcome = executor.next()[1]
    assert isinstance(outcome, SearchError)
    assert "no plain name" in str(outcome)
    assert list(tmp_path.rglob("*")) == []


RESULT = TrialResult(
    0, CompressionPlan(treatments={}), {"size_bytes": 3.0}, True, 0.0, 0.0, 0.0, None, None, (1.0,)
)


def changed(**values: Any) -> TrialResult:
    return replace(RESULT, **values)


@pytest.mark.parametrize(
    ("outcome", "files", "message"),
    [
        (3, {}, "an outcome of type int"),
        (RESULT, None, "files as NoneType"),
        (RESULT, {"model.acz": "text"}, "holds no bytes, but str"),
        (RESULT, {"model.acz": b"abc"}, "cannot be used"),
        (changed(number=1), {}, "trial 1 for trial 0"),
        (changed(number=True), {}, "trial True for trial 0"),
        (changed(plan=None), {}, "without its plan"),
        (changed(values={}), {}, "without the size"),
        (changed(values={"size_bytes": math.nan}), {}, "no finite numbers"),
        (changed(values=[3]), {}, "no finite numbers"),
        (changed(values={"size_bytes": 10**400}), {}, "no finite numbers"),
        (changed(started="x"), {}, "is no number"),
        (changed(seconds=math.inf), {}, "is no number"),
        (changed(losses=("x",)), {}, "is no number"),
        (changed(rises={"w": None}), {}, "is no number"),
        (GivenUp(1, "hopeless", {}), {}, "trial 1 for trial 0"),
        (Sent(int, "x"), {}, "an error that is none"),  # type: ignore[arg-type]
        (Sent(None, "x"), {}, "an error that is none"),
        (Sent(SearchError, 3), {}, "an error that is none"),  # type: ignore[arg-type]
        (GivenUp(0, None, {}), {}, "without a reason"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_have_come_of_a_job_is_refused(
    outcome: Any, files: Any, message: str, tmp_path: Path
) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.answer(0, Done(outcome, files))
    found = executor.next()[1]
    assert isinstance(found, SearchError)
    assert message in str(found)
    assert list(tmp_path.rglob("*")) == []


def test_what_can_have_come_of_a_job_is_kept(tmp_path: Path) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.answer(0, Done(RESULT, {"model.txt": b"abc"}))
    assert executor.next()[1] == RESULT
    assert (tmp_path / "0" / "model.txt").read_bytes() == b"abc"


def test_a_size_that_is_not_that_of_the_file_is_refused(tmp_path: Path) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    job = trial(0, tmp_path)
    executor.begin(job)
    result = TrialResult(0, job.plan, {"size_bytes": 3.0}, True, 0.0, 0.0, 0.0)
    cluster.answer(0, Done(result, {"model.acz": b"longer"}))
    outcome = executor.next()[1]
    assert isinstance(outcome, SearchError)
    assert "a file of 6 bytes, and says of it that it has 3" in str(outcome)


def test_what_user_code_raised_is_told_as_it_is(tmp_path: Path) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.answer(0, Done(Sent.of(ObjectiveError("it is NaN")), {}))
    assert isinstance(executor.next()[1], ObjectiveError)
    executor.begin(trial(1, tmp_path))
    cluster.answer(1, Done(Sent.of(ZeroDivisionError("a defect")), {}))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        executor.next()


def test_a_scheduler_that_is_gone_ends_the_search(tmp_path: Path) -> None:
    cluster = Cluster("a")
    executor = executor_on(cluster)
    executor.begin(trial(0, tmp_path))
    cluster.status = "closed"
    with pytest.raises(SearchError, match="the same search again continues this one"):
        executor.next()
    executor.cancel()
    assert cluster.submitted[0][2].cancelled()


def test_the_probe_needs_no_package_of_ours() -> None:
    class Taking(Cluster):
        def run(self, function: Any, *_: Any, workers: list[str], on_error: str) -> dict[str, Any]:
            self.function = pickle.dumps(function)
            return dict.fromkeys(workers, OSError())

    taking = Taking("a")
    Crew(taking, b"")
    code = (
        "import sys, pickle; sys.modules['autocompress'] = None; "
        f"print(pickle.loads({taking.function!r})('json'), "
        f"pickle.loads({taking.function!r})('no_such_package'))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"{facts('json')} {facts('no_such_package')}"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_tensors_go_out_as_if_they_lay_in_ordinary_memory(
    elsewhere: bool, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.Tensor] = []

    def is_elsewhere(tensor: torch.Tensor) -> bool:
        asked.append(tensor)
        return elsewhere

    monkeypatch.setattr(crew, "is_elsewhere", is_elsewhere)
    copy: Bench = pickle.loads(pickled(bench, crew.OnProcessor))
    assert len(asked) >= 2 * len([*bench.model.parameters()])  # of the model and its engine
    for name, tensor in bench.model.state_dict().items():
        assert torch.equal(copy.model.state_dict()[name], tensor)


def test_who_can_do_jobs_for_whom() -> None:
    here = {"python": "3.11", "code": "a"}
    assert misfit(here, dict(here)) is None
    assert "not installed" in str(misfit(here, {"python": "3.11"}))
    assert "Python 3.12" in str(misfit(here, {"python": "3.12", "code": "a"}))
    assert "another version" in str(misfit(here, {"python": "3.11", "code": "b"}))
    assert facts("autocompress")["code"] == facts("autocompress")["code"]


def test_work_that_nobody_waits_for_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_LOOK_S", 0.02)
    start, steps = time.monotonic(), 0

    def work() -> None:
        nonlocal steps
        with stopped_when(lambda: steps > 10):
            while time.monotonic() < start + WAIT_S:
                steps += 1
                time.sleep(0.001)

    with pytest.raises(remote._Cancelled):
        work()
    with stopped_when(lambda: False):
        time.sleep(0.1)


@pytest.mark.parametrize(
    "address", ["", "local:0", "local:", "local:-1", "host", "host:port", "tcp://host", "a b:1", 4]
)
def test_what_is_no_address_is_refused(address: Any, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"tcp://host:8786.*local:4"):
        autocompress.search(
            teacher(), Classification(), cluster=address, out=tmp_path / "never made"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "tls://node-7:1", "host:8786", "[::1]:1"]
)
def test_addresses_of_schedulers_are_taken(address: str) -> None:
    way.check_address(address)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "find_spec", lambda _: None)
    with pytest.raises(SearchError, match=r"pip install 'autocompress\[cluster\]'"):
        way.check_address("local:2")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"jobs": 2}, "leave one of both out"),
        ({"latency_budget": "0.5x"}, "leave the cluster out, or the latency"),
    ],
)
def test_what_does_not_go_with_a_cluster_is_refused(
    asked: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=told):
        autocompress.search(
            teacher(), Classification(), cluster="local:2", out=tmp_path / "a", **asked
        )


def test_a_scheduler_that_does_not_answer_is_told_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "_PATIENCE_S", 0.5)
    start = time.monotonic()
    with pytest.raises(SearchError, match=r"no Dask scheduler answers at '127.0.0.1:9' \("):
        autocompress.search(teacher(), Classification(), cluster="127.0.0.1:9", out=tmp_path / "a")
    assert time.monotonic() < start + 10
    (tmp_path / "scheduler.json").write_text("{}")
    with (
        pytest.raises(SearchError, match="is no scheduler file"),
        way.connected(str(tmp_path / "scheduler.json")),
    ):
        pass


# A cluster of two processes on this machine, over TCP.
@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with places.place_of("local:2") as two:
        yield two


@pytest.mark.slow
def test_a_cluster_gives_the_same_results_and_files(
    place: Place, bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here = carried_out(ThisProcess(bench), jobs_of(bench, tmp_path / "here", 3))
    capfd.readouterr()
    with place.executing(bench, 1) as executor:
        assert executor.capacity == 2
        there = carried_out(executor, jobs_of(bench, tmp_path / "there", 3))
    assert here.keys() == there.keys()
    for title, one in here.items():
        other = there[title]
        assert isinstance(one, TrialResult)
        assert isinstance(other, TrialResult)
        assert (other.plan, other.values) == (one.plan, one.values)
    for path in (tmp_path / "here").rglob("model.acz"):
        copy = tmp_path / "there" / path.relative_to(tmp_path / "here")
        assert copy.read_bytes() == path.read_bytes()
    names = {path.name for path in (tmp_path / "there" / "recovered").iterdir()}
    assert names == {"model.acz", "training.json"}
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_job_that_kills_its_workers_fails_and_the_others_do_not(
    place: Place, tmp_path: Path
) -> None:
    """Three workers die of one job; their successors do the rest, each job once."""
    bench = bench_of(deadly())
    jobs = jobs_of(bench, tmp_path, 4)
    with place.executing(bench, 1) as executor:
        found = carried_out(executor, jobs)
    assert found.keys() == {job.title for job in jobs}
    failed = {title for title, outcome in found.items() if isinstance(outcome, SearchError)}
    assert failed == {"trial 2"}  # its step is 0.4
    assert all(job.path.exists() for job in jobs if job.title not in failed)


def files(folder: Path) -> dict[str, bytes]:
    """Return the artifacts of trials and of what was fine-tuned."""
    kept = (path for part in ("trials", "recovered") for path in (folder / part).glob("*/*.acz"))
    return {path.parent.name: path.read_bytes() for path in kept}


@pytest.mark.slow
def test_one_worker_makes_the_plans_of_one_job(out: Path) -> None:
    asked: dict[str, Any] = {"budget": 12_000, "trials": 10, "recovery": SETTINGS}
    for cluster, folder in ((None, out / "here"), ("local:1", out / "there")):
        autocompress.search(teacher(), Classification(), out=folder, cluster=cluster, **asked)
    assert files(out / "there") == files(out / "here")


@pytest.mark.slow
def test_a_search_whose_workers_are_killed_loses_and_doubles_nothing(out: Path) -> None:
    """After every third trial a worker is killed, whatever it does."""
    from mlflow import MlflowClient

    over, ledger = threading.Event(), out / "study.jsonl"
    killed: list[int | None] = []

    def kill() -> None:
        while not over.wait(0.05):
            ended = len(ledger.read_bytes().splitlines()) if ledger.exists() else 0
            workers = multiprocessing.active_children()
            if workers and ended >= 3 * (len(killed) + 1):
                victim = workers[len(killed) % len(workers)]
                victim.kill()
                killed.append(victim.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = autocompress.search(
            teacher(), Classification(), budget=12_000, trials=12, cluster="local:2", out=out
        )
    finally:
        over.set()
        killer.join()
    assert len(killed) > 1
    assert found.trials == 12
    numbers = [json.loads(line)["number"] for line in ledger.read_text().splitlines()]
    assert len(numbers) == len(set(numbers))
    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    runs = [
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id], max_results=1000)
    ]
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED"}
    names = [run.info.run_name for run in runs if str(run.info.run_name).startswith("trial-")]
    assert len(names) == len(set(names)) == 12
