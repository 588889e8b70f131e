"""The end of a search of several models: the joint front on test data, and files for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from autocompress.errors import TaskError
from autocompress.knowledge.guarded import GuardedTask
from autocompress.outcome.about import About
from autocompress.outcome.results import Scored, SearchResult
from autocompress.reporting.insight import write_insight
from autocompress.reporting.rows import shown
from autocompress.reporting.tables import write_front
from autocompress.searching.record import given_up_of, outcome_of
from autocompress.searching.request import Request
from autocompress.searching.several.joined import JoinedFolder
from autocompress.searching.several.models import Candidate
from autocompress.searching.several.reference import blank_evaluator
from autocompress.support import progress
from autocompress.support.files import write_json
from autocompress.support.memory import give_back
from autocompress.support.signals import interrupts_held
from autocompress.tracking import PatientTracker, Tracker


@dataclass(frozen=True)
class JointConclusion:
    """Concludes a search of several models.

    Attributes:
        folder: Of the search.
        candidates: The models.
        task: Says what a good one is.
        request: What was asked for.
        about: Tells how it was started.
    """

    folder: JoinedFolder
    candidates: Sequence[Candidate]
    task: GuardedTask
    request: Request
    about: About

    def reached(
        self, summarize: Callable[[], SearchResult], tracker: Tracker | PatientTracker
    ) -> SearchResult:
        """Score on test data what people are shown, write the outcome, and say so in MLflow.

        Raises:
            TaskError: If the task raises an exception on test data; all else is written.
        """
        fault = self._score(summarize())
        result, path = summarize(), self.folder.path
        write_json(path / "result.json", result.to_json())
        trials = self.folder.trials()
        files = [*write_front(result, trials, path), *write_insight(result, trials, path)]
        with interrupts_held():
            tracker.reconcile(trials, self.folder.artifact, given_up_of(self.folder))
            tracker.log_outcome(outcome_of(self.folder, result, files, self.about))
            tracker.end("FINISHED")
        if fault is not None:
            raise TaskError(
                f"{fault}; all else of the search is in '{path}', and the same call adds the "
                "scores on test data when the task is mended"
            ) from (fault.__cause__ or fault)
        return result

    def _score(self, found: SearchResult) -> TaskError | None:
        """Add the scores on test data that are missing; return the fault that ended it, if any."""
        scores = self.folder.test_scores()
        nearest = () if found.nearest is None else (found.nearest,)
        everything = (*shown(found), *found.fine_tuned, *found.controls, *nearest)
        missing = {one.artifact: one for one in everything if one.artifact not in scores}
        if not missing:
            return None
        progress.say(f"scoring on test data what is shown: {len(missing)} files")
        with progress.bar("test data", len(missing)) as bar:
            try:
                for scored, score in self._scores(list(missing.values())):
                    if math.isfinite(score):
                        scores[scored.artifact] = score
                        self.folder.save_test_scores(scores)
                    else:
                        progress.say(f"on test data, {found.title(scored)} scores {score}")
                    bar.advance()
            except TaskError as error:
                return error
        return None

    def _scores(self, missing: Sequence[Scored]) -> Iterator[tuple[Scored, float]]:
        """Yield each file with its score, model by model, of which one is in memory at a time."""
        loaders = {one.name: one.load for one in self.candidates}
        for name, files in groupby(sorted(missing, key=_model), key=_model):
            evaluator = blank_evaluator(loaders[name](), self.task, self.request)
            for scored in files:
                yield scored, evaluator.score(scored.artifact, "test")
            del evaluator
            give_back()


def _model(scored: Scored) -> str:
    return str(scored.model)
