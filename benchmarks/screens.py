"""The pictures of docs/images: the terminal, the page of a search, and MLflow.

    python benchmarks/screens.py DEMO FINE_TUNED MISSED

DEMO is the folder of a finished `autocompress demo`; FINE_TUNED that of a finished search with
`--recover`, MISSED that of one whose limits were missed. Needs Chromium. Writes
`docs/images/*.{png,svg}`; each is to be looked at before it is kept.
"""

from __future__ import annotations

import argparse
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from rich.console import Console
from rich.text import Text

from autocompress.tracking.model import model_name

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
COLUMNS = 80
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
WAIT_MS = 90_000  # of the page's own time, for MLflow to draw


def typed(command: list[str], columns: int = COLUMNS) -> str:
    """Run a command in a terminal of so many columns and return what stands there at its end."""
    main, other = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdout=other, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(other)
        pieces = []
        with suppress(OSError):  # which is how a terminal ends
            while piece := os.read(main, 65536):
                pieces.append(piece)
    os.close(main)
    if process.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    shown = b"".join(pieces).decode().replace("\r\n", "\n")
    return shown.replace(f"{Path.cwd()}/", "")  # which is nobody else's


def terminal(path: Path, line: str, shown: str, columns: int = COLUMNS) -> None:
    """Draw a terminal after a command."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True)
        console.print(f"[bold]$[/] {line}")
        console.print(Text.from_ansi(shown))
        console.save_svg(str(path), title="autocompress")


def photograph(path: Path, address: str, width: int, height: int, *options: str) -> None:
    """Have Chromium draw a page."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                f"--virtual-time-budget={WAIT_MS}",
                f"--screenshot={path}",
                *options,
                address,
            ],
            check=True,
            capture_output=True,
            timeout=180,
        )


@contextmanager
def browsed(folder: Path) -> Iterator[str]:
    """Run `autocompress ui` and give the address that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "autocompress", "ui", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()  # in the background, Ctrl-C is ignored


def pages(demo: Path, missed: Path) -> None:
    """Photograph the page of a search: light and dark, on a phone, and one that missed."""
    page = (demo / "search" / "front.html").resolve().as_uri()
    photograph(IMAGES / "page-light.png", page, 1000, 1160)
    dark = "--blink-settings=preferredColorScheme=0"
    photograph(IMAGES / "page-dark.png", page, 1000, 1160, dark)
    photograph(IMAGES / "page-phone.png", page, 500, 1500)
    photograph(IMAGES / "page-miss.png", (missed / "front.html").resolve().as_uri(), 1000, 1500)


def trials(folder: Path) -> None:
    """Photograph MLflow: the trials, their charts, a trial, the search and the model."""
    with browsed(folder) as address:
        photograph(IMAGES / "mlflow-trials.png", address, 1700, 800)
        photograph(IMAGES / "mlflow-charts.png", f"{address}&compareRunsMode=CHART", 1900, 1050)
        root, experiment = address.split("/#/experiments/")
        experiment = experiment.split("/")[0]
        client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        name = next(one.name for one in client.search_registered_models())
        best = client.get_model_version_by_alias(model_name(name), "best")
        drawn = folder / "mlartifacts" / str(best.run_id) / "artifacts" / "weights.png"
        shutil.copy(drawn, IMAGES / "weights.png")
        parent = client.get_run(str(best.run_id)).data.tags["mlflow.parentRunId"]
        runs = f"{root}/#/experiments/{experiment}/runs"
        photograph(IMAGES / "mlflow-trial.png", f"{runs}/{best.run_id}", 1500, 1000)
        photograph(IMAGES / "mlflow-search.png", f"{runs}/{parent}", 1500, 1100)
        version = f"{root}/#/models/{name}/versions/{best.version}"
        photograph(IMAGES / "mlflow-model.png", version, 1500, 700)


def main() -> None:
    """Draw all of them."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("demo", "fine_tuned", "missed"):
        arguments.add_argument(name, type=Path)
    given = arguments.parse_args()
    if CHROMIUM is None:
        raise SystemExit("no Chromium is installed")
    terminal(
        IMAGES / "terminal.svg",
        "autocompress demo",
        typed(["autocompress", "demo", "--out", str(given.demo)]),
    )
    shutil.copy(given.fine_tuned / "front.png", IMAGES / "front.png")
    pages(given.demo, given.missed)
    trials(given.fine_tuned)


if __name__ == "__main__":
    main()
