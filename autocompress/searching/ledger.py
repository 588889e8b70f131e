"""The ledger of a study: what was asked and came of it, one line of JSON for each ended trial.

It says the same as Optuna's journal, in a form that needs no history: from it a journal that was
lost is made anew, and from the journal the ledger. Knows nothing of Optuna.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autocompress.errors import PlanError
from autocompress.outcome.origin import SAMPLER
from autocompress.outcome.results import WithoutFile
from autocompress.plan import CompressionPlan
from autocompress.support.files import append_line, put_aside, write_whole

LEDGER, MISFIT = "study.jsonl", "misfit"
"""Its name, and the attribute of a proposal that did not fit or was known: it is no trial."""
ORIGIN, REJECTED, ERROR, PLAN = "origin", "rejected", "error", "plan"

Entry = Mapping[str, Any]
"""What a line says of the trial of its "number"."""


class Ledger:
    """The file, which is only ever appended to, or replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> dict[int, Entry]:
        """Return what can be read, by the number of the trial; damaged lines are left out."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return {}
        found = filter(None, map(_entry, lines))
        return {entry["number"]: entry for entry in found}

    def n_trials(self) -> int:
        """Return how many trials have ended."""
        return sum(MISFIT not in entry.get("user_attrs", ()) for entry in self.entries().values())

    def given_up(self) -> dict[int, WithoutFile]:
        """Return what is known of trials that were given up, or failed, by their numbers.

        Some of them have a file and a result all the same.
        """
        found = {}
        for number, entry in self.entries().items():
            attributes = entry.get("user_attrs", {})
            reason = attributes.get(REJECTED)
            if reason is None and ERROR in attributes:
                reason = failure(attributes[ERROR])
            if reason is not None:
                origin = str(attributes.get(ORIGIN, SAMPLER))
                found[number] = WithoutFile(str(reason), origin, _plan(attributes.get(PLAN)))
        return found

    def append(self, entry: Entry) -> None:
        """Write one more line; it is on the disk when this returns."""
        append_line(self._path, _line(entry))

    def replace(self, entries: Iterable[Entry]) -> None:
        """Write other lines instead of all that are there."""
        if self._path.is_dir():
            put_aside(self._path, IsADirectoryError("it is a folder"))
        write_whole(self._path, map(_line, entries))


def failure(error: object) -> str:
    """Say why a trial was given up that raised an error."""
    return f"failed: {error}"


def _plan(document: Any) -> CompressionPlan | None:
    with suppress(PlanError):  # of methods that are not there
        return None if document is None else CompressionPlan.from_json(document)
    return None


def _line(entry: Entry) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _entry(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
        return entry if isinstance(entry["number"], int) else None
    except (ValueError, TypeError, LookupError):
        return None
