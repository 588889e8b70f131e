"""Running commands as a user does, and looking at how they end."""

from __future__ import annotations

import signal
import subprocess
import sys

from click.testing import CliRunner

from autocompress.cli import main

Done = subprocess.CompletedProcess[str]


def run(*arguments: object, expect: int = 0) -> Done:
    """Run a command in this process."""
    command = list(map(str, arguments))
    result = CliRunner().invoke(main, command)
    return checked(Done(command, result.exit_code, result.stdout, result.stderr), expect)


def run_alone(*arguments: object, expect: int = 0) -> Done:
    """Run a command as a user does, in a process of its own."""
    command = [sys.executable, "-m", "autocompress", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return checked(done, expect)


def checked(done: Done, expect: int) -> Done:
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


def only_line(done: Done) -> str:
    """Return the one line of an error; usage hints of click come before it."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert done.stderr.endswith(lines[0] + "\n")
    return lines[0]


def listen_to_interrupts() -> None:
    """Undo what a shell does to its background jobs, which may be what runs the tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
