"""A search on 1, 2 and 4 workers of a Dask cluster, and one whose workers are killed all the time.

    python benchmarks/cluster.py MODEL DATA [--trials 40] [--kill-for 6m]

Scheduler and workers are processes of their own, as `dask scheduler` and `dask worker` start them,
and talk over TCP; the trials are logged to an MLflow server. Told are the trials in the study, in
MLflow and on the disk, how many of them are there twice, and the hypervolume of the front. The
last search makes as many trials as it has time for, while one of four workers is killed by SIGKILL
every few seconds, whatever it does, from the first trial on. Scored on the first part of the
validation text.
Writes `benchmarks/results/cluster.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from ptb_small import RESULTS
from torch import nn

from autocompress import Task, search
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.outcome.results import SearchResult
from autocompress.reporting.insight import hypervolume
from autocompress.searching.folder import SearchFolder
from autocompress.searching.ledger import LEDGER, Ledger

WORKERS, EVERY_S = (1, 2, 4), 5.0
PARTS = 8  # of the validation text, of which the first is read


@dataclass
class Row:
    """What has come of a search.

    Attributes:
        name: What was done.
        seconds: How long that took.
        study: Trials in the study.
        logged: In MLflow.
        doubled: Trials that are anywhere more than once.
        running: Runs of MLflow that did not end.
        volume: Hypervolume of the front.
        killed: Workers that were killed.
    """

    name: str
    seconds: float
    study: int
    logged: int
    doubled: int
    running: int
    volume: float
    killed: int = 0


@contextmanager
def dask(workers: int, folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Yield the scheduler file of a cluster, and its workers; one that ends is begun anew."""
    file, over = folder / "scheduler.json", threading.Event()
    common = ["--scheduler-file", str(file)]
    worker = ["dask_worker", *common, "--no-nanny", "--nthreads", "1", "--memory-limit", "0"]
    scheduler = begun(["dask_scheduler", *common, "--no-dashboard", "--port", "0"])
    at_work = [begun([*worker, "--no-dashboard"]) for _ in range(workers)]

    def replace_lost() -> None:
        while not over.wait(1.0):
            for place, process in enumerate(at_work):
                if process.poll() is not None:
                    at_work[place] = begun([*worker, "--no-dashboard"])

    thread = threading.Thread(target=replace_lost)
    thread.start()
    try:
        while not file.exists():
            time.sleep(0.1)
        yield str(file), at_work
    finally:
        over.set()
        thread.join()
        for process in (*at_work, scheduler):
            process.terminate()
            process.wait()
        file.unlink(missing_ok=True)


def begun(words: list[str]) -> subprocess.Popen[bytes]:
    """Begin one of Dask's programs."""
    command = [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def tracking(folder: Path) -> Iterator[str]:
    """Yield the address of an MLflow server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    options += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it starts processes of its own, which end with it
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health").close()
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


@contextmanager
def killing(at_work: list[subprocess.Popen[bytes]], begun: Path) -> Iterator[list[int]]:
    """Kill a worker every few seconds as soon as a file is there; yield who was killed."""
    over, killed = threading.Event(), list[int]()
    chance = random.Random(0)

    def kill() -> None:
        while not over.wait(EVERY_S):
            victim = chance.choice(at_work)
            if begun.exists() and victim.poll() is None:
                victim.kill()
                killed.append(victim.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def counted(name: str, out: Path, server: str, seconds: float) -> Row:
    """Count the trials of a search wherever they are."""
    folder = SearchFolder(out)
    lines = (out / LEDGER).read_text(encoding="utf-8").splitlines()
    numbers = [json.loads(line)["number"] for line in lines]
    client = MlflowClient(server)
    experiments = [one.experiment_id for one in client.search_experiments()]
    every = client.search_runs(experiments, max_results=10_000)
    parent = next(run.info.run_id for run in every if run.info.run_name == out.name)
    runs = [run for run in every if run.data.tags.get("mlflow.parentRunId") == parent]
    names = [str(run.info.run_name) for run in runs]
    trials = [one for one in names if one.startswith("trial-")]
    document = json.loads((out / "result.json").read_text(encoding="utf-8"))
    result = SearchResult.from_json(document)
    return Row(
        name,
        seconds,
        Ledger(out / LEDGER).n_trials(),
        len(trials),
        len(numbers) - len(set(numbers)) + len(trials) - len(set(trials)),
        sum(run.info.status == "RUNNING" for run in runs),
        hypervolume(result, folder.trials())[-1],
    )


def table(rows: list[Row]) -> str:
    """Write the rows as a table of Markdown."""
    first = rows[0].volume
    titles = ["search", "wall time", "trials in the study", "in MLflow", "doubled", "left running"]
    titles += ["hypervolume", "beside the first", "workers killed"]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    lines += [
        f"| {row.name} | {row.seconds:.0f} s | {row.study} | {row.logged} | {row.doubled} | "
        f"{row.running} | {row.volume:.3f} | {100 * (row.volume / first - 1):+.2f} % | "
        f"{row.killed} |"
        for row in rows
    ]
    return "\n".join(lines)


def undisturbed(model: nn.Module, task: Task, trials: int, workers: int, place: Path) -> Row:
    """Make so many trials on so many workers."""
    with dask(workers, place) as (file, _):
        name = f"{workers} worker{'s' if workers > 1 else ''}"
        return searched(name, model, task, place, cluster=file, trials=trials)


def disturbed(model: nn.Module, task: Task, timeout: str, place: Path) -> Row:
    """Search for so long on the most workers, one of which is killed every few seconds."""
    name = f"{WORKERS[-1]} workers, one killed every {EVERY_S:g} s"
    first = folder_of(name, place) / LEDGER  # there is a first trial
    with dask(WORKERS[-1], place) as (file, at_work), killing(at_work, first) as killed:
        row = searched(name, model, task, place, cluster=file, timeout=timeout)
    return replace(row, killed=len(killed))


def searched(name: str, model: nn.Module, task: Task, place: Path, **settings: Any) -> Row:
    """Search, log to a server, and count what has come of it."""
    out, start = folder_of(name, place), time.perf_counter()
    with tracking(place) as server:
        search(model, task, out=out, name=out.name, tracking_uri=server, **settings)
        return counted(name, out, server, time.perf_counter() - start)


def folder_of(name: str, place: Path) -> Path:
    """Name the folder of a search."""
    return place / name.replace(" ", "-").replace(",", "")


def main() -> None:
    """Search, count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--kill-for", default="6m")
    asked = parser.parse_args()
    model, vocabulary = load_model(asked.model)
    corpus = read_corpus(asked.data, vocabulary)
    part = corpus.valid[: len(corpus.valid) // PARTS]
    task = LanguageModeling(replace(corpus, valid=part, test=part))
    with TemporaryDirectory() as place:
        rows = [undisturbed(model, task, asked.trials, n, Path(place)) for n in WORKERS]
        rows.append(disturbed(model, task, asked.kill_for, Path(place)))
    head = f"`benchmarks/cluster.py` of `{asked.model.name}`, {os.cpu_count()} cores\n\n"
    (RESULTS / "cluster.md").write_text(f"{head}{table(rows)}\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
