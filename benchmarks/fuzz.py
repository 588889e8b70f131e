"""Whether hostile files end in a documented error, in little time and memory.

    python benchmarks/fuzz.py --artifacts 1000000 --others 110000 --seed 0

Makes artifacts, search spaces, plans, checkpoints, model folders, vocabularies and results of
workers that are damaged or false, most with checksums that are right, and reads each as users do.
An input is made from seed and number alone: `--only "artifacts:4711"` repeats one. Writes
`benchmarks/results/fuzz.md`. Each chunk runs in a process of its own, which may take no more than
1 GB; what ends that process, or keeps it for minutes, is told like any other fault.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fuzzing.apart import told_of
from fuzzing.course import Told
from fuzzing.subjects import ARTIFACTS, OTHERS

RESULTS = Path(__file__).parent / "results" / "fuzz.md"
CHUNK = 25_000
_ADDRESS_SPACE = 8 * 2**30  # torch alone maps some
_STUCK_S, _LOOK_S = 300.0, 0.2
_SHOWN = 10


def main() -> None:
    """Read all inputs that were asked for and write the table."""
    options = _options()
    if options.only:
        name, _, number = options.only.rpartition(":")
        first = int(number)
        print(_told_as_json(_here(name, options.seed, range(first, first + 1), None)))
        return
    if options.chunk:
        name, first, last, place = options.chunk.rsplit(":", 3)
        numbers = range(int(first), int(last))
        print(_told_as_json(_here(name, options.seed, numbers, Path(place))))
        return
    counts = {ARTIFACTS: options.artifacts}
    counts |= {name: options.others * share // 100 for name, (share, _) in OTHERS.items()}
    found: dict[str, Told] = {}
    for name, count in ((name, count) for name, count in counts.items() if count):
        found[name] = _all_of(name, options.seed, count)
        options.out.write_text(_document(found, options.seed), encoding="utf-8")
    faults = sum(len(told.faults) for told in found.values())
    sys.exit(f"{faults} faults, see {options.out}" if faults else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=10_000, help="how many artifacts")
    parser.add_argument("--others", type=int, default=10_000, help="how many of all others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the table")
    parser.add_argument("--only", help="KIND:NUMBER, to read a single input")
    parser.add_argument("--chunk", help=argparse.SUPPRESS)
    return parser.parse_args()


def _here(name: str, seed: int, numbers: range, place: Path | None) -> Told:
    """Read inputs in this process, and keep the number of the present one in a file."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    with tempfile.TemporaryDirectory() as folder:
        if place is None:
            return told_of(name, Path(folder), seed, numbers)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT)
        return told_of(
            name,
            Path(folder),
            seed,
            numbers,
            tell=lambda number: os.pwrite(descriptor, b"%12d" % number, 0),
        )


def _all_of(name: str, seed: int, count: int) -> Told:
    told, first = Told(), 0
    while first < count:
        last = min(first + CHUNK, count)
        first = _chunk(told, name, seed, range(first, last))
        print(f"{name}: {told.n_inputs:,} of {count:,}, {len(told.faults)} faults", flush=True)
    return told


def _chunk(told: Told, name: str, seed: int, numbers: range) -> int:
    """Read inputs in another process; return the number of the first that was not read."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "number"
        task = f"{name}:{numbers.start}:{numbers.stop}:{place}"
        command = [sys.executable, __file__, "--seed", str(seed), "--chunk", task]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            is_stuck = _watched(process, place)
            output = process.communicate()[0]
        if process.returncode == 0:
            _add(told, json.loads(output))
            return numbers.stop
        number = int(place.read_text(encoding="utf-8"))
    reason = f"takes more than {_STUCK_S:.0f} s" if is_stuck else f"ends the process: {output}"
    told.faults.append((number, f"{reason} (exit {process.returncode})"))
    if number > numbers.start:
        _chunk(told, name, seed, range(numbers.start, number))
    told.n_inputs += 1
    return number + 1


def _watched(process: subprocess.Popen[str], place: Path) -> bool:
    """Wait for a process, and end it where it has read the same input for too long."""
    known, since = "", time.monotonic()
    while process.poll() is None:
        time.sleep(_LOOK_S)
        number = place.read_text(encoding="utf-8") if place.exists() else ""
        if number != known:
            known, since = number, time.monotonic()
        elif number and time.monotonic() > since + _STUCK_S:
            process.kill()
            return True
    return False


def _told_as_json(told: Told) -> str:
    return json.dumps(vars(told))


def _add(told: Told, further: dict[str, Any]) -> None:
    told.n_inputs += further["n_inputs"]
    told.errors += Counter(further["errors"])
    told.largest = max(told.largest, further["largest"])
    told.faults += [(number, fault) for number, fault in further["faults"]]
    if further["slowest_s"] > told.slowest_s:
        told.slowest_s, told.slowest = further["slowest_s"], further["slowest"]


def _document(found: dict[str, Told], seed: int) -> str:
    titles = ("input", "how many", "read", "refused, by error", "slowest, s", "its number")
    lines = [
        f"Mutated inputs of seed {seed}, by `benchmarks/fuzz.py`; times are processor time.",
        "",
        f"| {' | '.join(titles)} | peak memory, MB | faults |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, told in found.items():
        refused = ", ".join(f"{kind} {count:,}" for kind, count in sorted(told.errors.items()))
        read = told.n_inputs - sum(told.errors.values()) - len(told.faults)
        lines.append(
            f"| {name} | {told.n_inputs:,} | {read:,} | {refused} | {told.slowest_s:.2f} "
            f"| {told.slowest} | {told.largest / 1e6:.0f} | {len(told.faults)} |"
        )
    total = sum(told.n_inputs for told in found.values())
    slowest = max((told.slowest_s for told in found.values()), default=0.0)
    largest = max((told.largest for told in found.values()), default=0) / 1e6
    faults = sum(len(told.faults) for told in found.values())
    summary = (
        f"{total:,} inputs: {faults} faults; the slowest took {slowest:.2f} s, and no process"
    )
    lines += ["", f"{summary} more than {largest:.0f} MB, torch and the package included."]
    for name, told in found.items():
        lines += [f"- {name}:{number}: {fault}" for number, fault in told.faults[:_SHOWN]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
