"""The search of one of several models, open only while it has the turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from autocompress.knowledge.guarded import GuardedTask
from autocompress.outcome.results import pareto_front
from autocompress.searching.beginning import FirstLook
from autocompress.searching.conducting import Beside, begun
from autocompress.searching.course import Course
from autocompress.searching.openings.guide import Guide
from autocompress.searching.request import Request
from autocompress.searching.several.joined import JoinedFolder
from autocompress.searching.several.models import Candidate
from autocompress.support.memory import give_back
from autocompress.tracking import PatientTracker, RelayTracker, Tracker
from autocompress.trial.looks import Hurdle

_TWO = 2  # size and the task's metric


class Session(NamedTuple):
    """A search that is open.

    Attributes:
        name: Of the model.
        course: What is done.
        guide: Knows the first trials; None where no plan fits the budget.
    """

    name: str
    course: Course
    guide: Guide | None


class Sessions:
    """Opens the search of one model at a time, which then has the memory to itself."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        task: GuardedTask,
        requests: Mapping[str, Request],
        folder: JoinedFolder,
        tracker: Tracker | PatientTracker,
    ) -> None:
        """Take what is needed.

        Args:
            candidates: The models.
            task: Says what a good one is.
            requests: By name, what is asked of each.
            folder: Of the search.
            tracker: MLflow's record of it.
        """
        self._loaders = {one.name: one.load for one in candidates}
        self._task, self._requests = task, requests
        self._folder, self._tracker = folder, tracker
        self._stack, self._open = ExitStack(), None

    _open: Session | None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = None
        self._stack.__exit__(kind, error, trace)

    def close(self) -> None:
        """Close the search that is open, and give its memory back."""
        self._open = None
        self._stack.close()
        self._stack = ExitStack()
        give_back()

    def at(self, name: str) -> Session:
        """Return the search of a model, open."""
        if self._open is None or self._open.name != name:
            self.close()
            course = self._stack.enter_context(self._begun(name))
            self._open = Session(name, course, course.plan())
        return self._open

    def _begun(self, name: str) -> AbstractContextManager[Course]:
        folder = self._folder
        seen = next(one for one in folder.seen if one.name == name)
        relay = RelayTracker(
            self._tracker,
            lambda result: folder.numbered(name, result),
            lambda own: folder.number(name, own),
        )
        beside = Beside(FirstLook(seen.score, seen.batches), relay, self._rivals(name))
        request = self._requests[name]
        return begun(self._loaders[name](), self._task, request, folder.member(name), beside)

    def _rivals(self, name: str) -> tuple[Hurdle, ...]:
        """Return the front of the other models, which a plan must not be clearly worse than."""
        directions = self._folder.settings().directions
        if len(directions) != _TWO:
            return ()
        front = pareto_front(self._folder.trials(), directions)
        named = [(one, self._folder.model_of(one.number)) for one in front]
        return tuple(
            Hurdle(
                one.losses,
                one.size_bytes,
                f"worse than trial {one.number} of {model}, which is smaller",
            )
            for one, model in named
            if model != name
        )
