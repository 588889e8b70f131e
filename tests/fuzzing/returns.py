"""What workers of a cluster hand back, damaged, and taking it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.artifacts import GOLDEN
from fuzzing.documents import mutated
from strategies import PRECISIONS, STRUCTURES, treat

from autocompress.errors import AutocompressError, OutputError, SearchError
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.searching.executors.handed_back import kept
from autocompress.searching.executors.remote import Done
from autocompress.searching.jobs import TrialJob
from autocompress.searching.sending import Sent
from autocompress.trial.looks import GivenUp

_NAMES = (
    *("7.acz", "7.onnx", "../7.acz", "/tmp/escaped", "a/b", ".", "..", "", ".hidden", "a\0b", "~"),
    *("x" * 300, "\ud800", "C:\\x", "..\\x", "a\nb", "7.acz/", "con"),
)


class Returns:
    """Outcomes and files of jobs; nothing may be written but in the folder of the job."""

    name = "what workers hand back"
    allowed = (AutocompressError,)

    def __init__(self, folder: Path) -> None:
        """Make a job.

        Args:
            folder: Where a folder for the job's files is made.
        """
        self._folder = folder / "trials"
        self._folder.mkdir(exist_ok=True)
        self._file = (GOLDEN / "version2_added" / "exact.acz").read_bytes()
        plan = CompressionPlan(treatments={"w": treat(STRUCTURES[0], PRECISIONS[0])})
        self._job = TrialJob(7, plan, self._folder / "7.acz")
        values = {"size_bytes": float(len(self._file)), "loss": 1.5}
        self._result = TrialResult(7, plan, values, True, 1.0, 2.0, 3.0, losses=(1.0, 2.0))

    def made(self, random: Random) -> Done:
        """Return what a worker hands back."""
        outcome: Any = random.choice(
            (self._result, self._result, self._another(random), self._another(random))
        )
        if random.random() < 0.2:
            sent = Sent(SearchError, random.choice(("x", "\n\ud800", "y" * 10**5)))
            given_up = GivenUp(7, "too large", {"size_bytes": 0.5})
            kinds: tuple[Any, ...] = (None, 3, int, ValueError, SearchError, OutputError)
            false: Any = random.choice(("x", None, 3, b"x"))
            sent = random.choice((sent, Sent(random.choice(kinds), false, false, false)))
            strange: tuple[Any, ...] = (None, 3, "x", [], {}, self._job, TrialResult)
            outcome = random.choice((*strange, sent, given_up))
        files: Any = {"7.acz": random.choice((*3 * [self._file], b"", b"x" * len(self._file)))}
        for _ in range(random.choice((0, 1, 1, 3))):
            files[random.choice(_NAMES)] = random.choice((b"", b"x", 3, None, "text", b"y" * 1000))
        if random.random() < 0.05:
            files = random.choice((None, [], "7.acz", {3: b"x"}, {None: b""}, {b"x": b"x"}, 7))
        return Done(outcome, files)

    def _another(self, random: Random) -> Any:
        fields = {field.name: getattr(self._result, field.name) for field in _fields()}
        document = self._result.to_json()
        del document["plan"]
        changed = mutated(random, document)
        fields |= changed if isinstance(changed, dict) else {"values": changed}
        known = {field.name for field in _fields()}
        return TrialResult(**{name: value for name, value in fields.items() if name in known})

    def read(self, data: Done) -> None:
        """Take what a worker hands back."""
        outcome = kept(self._job, data)
        if isinstance(outcome, AutocompressError):
            raise outcome
        assert isinstance(outcome, TrialResult | GivenUp)
        assert outcome.number == 7


def _fields() -> Iterator[dataclasses.Field[Any]]:
    yield from dataclasses.fields(TrialResult)
