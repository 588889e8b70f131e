"""Makes the golden files of the present format version, once: `python tests/golden/make.py`.

For version V, `versionV.acz` is a file of mixed content with what it holds in `versionV.json`. The
folder `versionV` holds one file for each case of `cases.py`, which together use every kind of
content that the format has; `stored.py` says what lies there, and how it is read.

A golden file is never made again. If it stops loading, or other bytes come out of what it was made
of, the code is at fault, not the file. What comes new to the format gets new files: a new kind
of content as a new case in a new folder, which the tests find by themselves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from golden.cases import Case, added_cases, all_cases, lines_cases, trellis_cases
from golden.stored import (
    FORMAT_VERSION,
    Encoder,
    compared,
    describe,
    describe_case,
    home,
    load_factors,
    load_source,
    open_artifact,
    recorded,
    save_factors,
    save_source,
    to_text,
)
from strategies import write_mixed

__all__ = ["describe", "make", "make_added", "make_cases"]


def make(folder: Path) -> None:
    """Write the golden file of mixed content and what it holds.

    Raises:
        FileExistsError: If there is one of this version.
    """
    path = folder / f"version{FORMAT_VERSION}.acz"
    if path.exists():
        raise FileExistsError(f"'{path}' exists; a golden file is never made again")
    earlier = [folder / f"version{number}.acz" for number in range(1, FORMAT_VERSION)]
    like = [found for found in earlier if found.exists()]
    write_mixed(path)
    document = describe(open_artifact(path))
    if like:
        document = compared(document, like[-1], path)
    text = json.dumps(document, indent=1)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def make_cases(folder: Path) -> None:
    """Write the golden files of all cases, what they hold, and what they are made of.

    What is there of an earlier version is written from what that one is made of.

    Raises:
        FileExistsError: If there is a folder of this version.
    """
    cases = folder / f"version{FORMAT_VERSION}"
    if cases.exists():
        raise FileExistsError(f"'{cases}' exists; a golden file is never made again")
    cases.mkdir()
    for case in all_cases():
        path = cases / f"{case.name}.acz"
        earlier = [folder / f"version{n}" / path.name for n in range(1, FORMAT_VERSION)]
        like = [found for found in earlier if found.exists()]
        document = _make_like(like[-1], path) if like else _make_new(case, path)
        path.with_suffix(".json").write_text(to_text(document), encoding="utf-8")


def make_added(folder: Path) -> None:
    """Write the golden files of what came to the present version after its first ones.

    Raises:
        FileExistsError: If all folders of them are there.
    """
    added = {"added": added_cases, "lines": lines_cases, "trellis": trellis_cases}
    folders = {folder / f"version{FORMAT_VERSION}_{name}": one for name, one in added.items()}
    missing = {cases: one for cases, one in folders.items() if not cases.exists()}
    if not missing:
        names = ", ".join(f"'{cases}'" for cases in folders)
        raise FileExistsError(f"{names} exist; a golden file is never made again")
    for cases, make_them in missing.items():
        cases.mkdir()
        for case in make_them():
            path = cases / f"{case.name}.acz"
            path.with_suffix(".json").write_text(to_text(_make_new(case, path)), encoding="utf-8")


def _make_new(case: Case, path: Path) -> dict[str, Any]:
    source = path.parent / "sources" / case.source_name
    if not source.with_suffix(".json").exists():
        save_source(case.source, source)
    if case.factors is not None:
        save_factors(case.factors, path.parent / "factors" / f"{case.name}.safetensors")
    Encoder(case.source).write(case.plan, path, case.factors)
    about = {"source": case.source_name, "trained": case.trained}
    return {**about, **describe_case(open_artifact(path))}


def _make_like(like: Path, path: Path) -> dict[str, Any]:
    about = recorded(like)
    source = load_source(home(like).parent / "sources" / about["source"])
    factors = home(like).parent / "factors" / f"{like.stem}.safetensors"
    stored = load_factors(factors) if factors.exists() else None
    Encoder(source).write(open_artifact(like).plan, path, stored)
    return compared(describe_case(open_artifact(path)), like, path)


if __name__ == "__main__":
    for step in (make, make_cases, make_added):
        try:
            step(Path(__file__).parent)
        except FileExistsError as error:
            sys.stdout.write(f"{error}\n")
