"""What a trial costs beside its measurement, by how many trials there were before.

    python benchmarks/many_trials.py [--trials 3000] [--out FOLDER]

Searches a classifier of 2,000 weights, all of whose trials are measured in milliseconds, and
times what goes around them: proposing a plan, keeping its result, logging it to MLflow. Then the
folder is opened, its search called again, and its trials looked at in MLflow. Writes
`benchmarks/results/many_trials.{md,png}`.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import torch
from screens import CHROMIUM, WAIT_MS, browsed
from torch import nn

import autocompress
from autocompress.searching.folder import SearchFolder
from autocompress.searching.judge import Judge
from autocompress.searching.records import Records
from autocompress.searching.study import Study
from autocompress.searching.trials import Trials
from autocompress.tasks import Classification
from autocompress.tracking import Tracker

RESULTS = Path(__file__).parent / "results"
WINDOW, AT = 100, (100, 1000, 3000)

PARTS: dict[str, list[tuple[type, str]]] = {
    "ask: the next plan": [(Trials, "_begin")],
    "of it: what it is compared with": [(Judge, "hurdles")],
    "tell: result to the study": [(Study, "tell"), (Study, "reject"), (Study, "fail")],
    "result to the folder": [(SearchFolder, "save_trial")],
    "MLflow log": [(Tracker, "log_trial"), (Tracker, "log_given_up")],
    "all of keeping a result": [(Records, "keep"), (Records, "reject"), (Records, "fail")],
}
"""What is timed, by the calls that do it; some lie within others."""


class Tagger(nn.Module):
    """Names one of four classes of a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.inner = nn.Linear(24, 40), nn.Linear(40, 24)
        self.out = nn.Linear(24, 4)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return logits, [batch, 4], of vectors, [batch, 24]."""
        scores: torch.Tensor = self.out(self.inner(self.hidden(vectors).relu()).relu())
        return scores


def main() -> None:
    """Search, time and write."""
    parser = argparse.ArgumentParser(description="The cost of a trial by its number")
    parser.add_argument("--trials", type=int, default=AT[-1])
    parser.add_argument("--out", type=Path, help="where the search is left; else nowhere")
    arguments = parser.parse_args()
    with TemporaryDirectory() as path:
        out = arguments.out or Path(path) / "search"
        times: dict[str, list[float]] = {name: [] for name in PARTS}
        model, task = made()
        clock = time.perf_counter()
        with timed(times):
            autocompress.search(model, task, trials=arguments.trials, out=out)
        wall = time.perf_counter() - clock
        write(times, around(model, task, out, arguments.trials), wall)


def made() -> tuple[Tagger, Classification]:
    """Return a trained model and its task; the same ones every time."""
    torch.manual_seed(0)
    centres = torch.randn(4, 24)

    def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        labels = [torch.randint(4, (64,)) for _ in range(count)]
        return [(centres[one] + 1.6 * torch.randn(64, 24), one) for one in labels]

    model, train = Tagger(), batches(40)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for inputs, labels in train * 5:
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(inputs), labels))
        optimizer.step()
    return model.eval(), Classification(train[:4], batches(4), batches(4))


@contextmanager
def timed(times: dict[str, list[float]]) -> Iterator[None]:
    """Note for each part the CPU seconds of each call within the block."""
    before = []
    for name, calls in PARTS.items():
        for owner, method in calls:
            before.append((owner, method, getattr(owner, method)))
            setattr(owner, method, watched(getattr(owner, method), times[name]))
    try:
        yield
    finally:
        for owner, method, own in before:
            setattr(owner, method, own)


def watched(call: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """Return a call that notes what it takes."""

    @functools.wraps(call)
    def noted(*arguments: Any, **named: Any) -> Any:
        clock = time.process_time()
        try:
            return call(*arguments, **named)
        finally:
            seconds.append(time.process_time() - clock)

    return noted


def around(model: Tagger, task: Classification, out: Path, trials: int) -> dict[str, str]:
    """Return what a folder of so many trials takes to be opened, shown and searched on."""
    found: dict[str, str] = {}

    def take(name: str, action: Callable[[], object]) -> Any:
        before = used()
        result = action()
        found[name] = f"{used() - before:.1f} s"
        return result

    opened = take("`open_search`", lambda: autocompress.open_search(out))
    take("its table of trials, `to_dataframe`", opened.to_dataframe)
    page = take("its page, `to_html`", opened.to_html)
    command = [sys.executable, "-m", "autocompress", "front", str(out)]
    take("`autocompress front`", lambda: subprocess.run(command, check=True, capture_output=True))
    take("the search again, with nothing to do", lambda: again(model, task, out, trials))
    take("the search again, with one trial more", lambda: again(model, task, out, trials + 1))
    found["the page"] = f"{len(page.encode()) / 1e6:.1f} MB"
    found["the MLflow database"] = f"{(out / 'mlflow.db').stat().st_size / 1e6:.1f} MB"
    if CHROMIUM is not None:
        with browsed(out) as link:
            clock = time.perf_counter()
            table = drawn(link)
            seconds = time.perf_counter() - clock
            shown = len(set(re.findall(r"trial-\d{4}", table)))
            found["MLflow's table in Chromium"] = f"{shown} trials after {seconds:.1f} s"
    return found


def used() -> float:
    """Return the processor time of this process and those that it waited for, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def drawn(address: str) -> str:
    """Return what Chromium shows of a page when its scripts are done."""
    options = ["--headless=new", "--no-sandbox", "--window-size=1700,1000", "--dump-dom"]
    command = [str(CHROMIUM), *options, f"--virtual-time-budget={WAIT_MS}", address]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def again(model: Tagger, task: Classification, out: Path, trials: int) -> None:
    """Call the search again."""
    autocompress.search(model, task, trials=trials, out=out)


def write(times: dict[str, list[float]], found: dict[str, str], wall: float) -> None:
    """Write the table and the picture."""
    n_trials = len(times["all of keeping a result"])
    at = [number for number in AT if number <= n_trials]
    title = f"A search of {n_trials:,} trials: {wall:.0f} s in all. Medians of {WINDOW} trials, in"
    lines = [
        f"{title} ms of processor time.",
        "",
        "| | " + " | ".join(f"at {number:,}" for number in at) + " |",
        "|---" * (1 + len(at)) + "|",
    ]
    for name, seconds in times.items():
        cells = (f"{1000 * median(window(seconds, number)):.1f}" for number in at)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| the folder afterwards | processor time |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in found.items()]
    (RESULTS / "many_trials.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    draw(times)


def window(seconds: list[float], number: int) -> list[float]:
    """Return the values around a trial, or the last ones."""
    last = min(number + WINDOW // 2, len(seconds))
    return seconds[max(last - WINDOW, 0) : last]


def draw(times: dict[str, list[float]]) -> None:
    """Draw running medians by the number of the trial."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, seconds in times.items():
        numbers = range(WINDOW // 2, len(seconds), WINDOW // 4)
        axes.plot(
            numbers, [1000 * median(window(seconds, number)) for number in numbers], label=name
        )
    axes.set(xlabel="trials before", ylabel="processor time, ms", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(RESULTS / "many_trials.png", dpi=110)


if __name__ == "__main__":
    main()
