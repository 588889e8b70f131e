"""The end of a search: scores on test data, what a miss is worth, and files for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from autocompress.errors import TaskError
from autocompress.outcome.about import About
from autocompress.outcome.results import Scored, SearchResult
from autocompress.reporting.insight import write_insight
from autocompress.reporting.rows import shown
from autocompress.reporting.tables import write_front
from autocompress.searching.records import Records
from autocompress.support import progress
from autocompress.support.files import write_json
from autocompress.trial.evaluator import Evaluator
from autocompress.trial.noise import noise_of_change


class Conclusion:
    """Concludes one search."""

    def __init__(self, records: Records, evaluator: Evaluator, about: About) -> None:
        self._records, self._folder = records, records.folder
        self._evaluator, self._about = evaluator, about

    def reached(self, summarize: Callable[[], SearchResult]) -> SearchResult:
        """Score on test data what people are shown, write the outcome, and say so in MLflow.

        Args:
            summarize: Tells what was found, as far as it lies in the folder.

        Raises:
            TaskError: If the task raises an exception on test data; all else is written.
        """
        found, scores = summarize(), self._folder.test_scores()
        nearest = () if found.nearest is None else (found.nearest,)
        everything = (*shown(found), *found.fine_tuned, *found.controls, *nearest)
        fault = self._score(everything, scores)
        self._folder.save_test_scores(scores)
        self._weigh(found)
        result = summarize()
        write_json(self._folder.path / "result.json", result.to_json())
        trials = self._folder.trials()
        files = write_front(result, trials, self._folder.path)
        files += write_insight(result, trials, self._folder.path, self._folder.understood())
        self._records.conclude(result, files, self._about)
        if fault is not None:
            raise TaskError(
                f"{fault}; all else of the search is in '{self._folder.path}', and the same call "
                "adds the scores on test data when the task is mended"
            ) from (fault.__cause__ or fault)
        return result

    def _weigh(self, found: SearchResult) -> None:
        """Learn how exactly the metric of the nearest plan is measured, where it misses a rise."""
        nearest = found.nearest
        if nearest is None or found.max_rise is None or nearest.track != "plain":
            return
        if found.bounds[found.metric].excess(nearest.values[found.metric]) <= 0:
            return
        if self._folder.noise(nearest.artifact) is None:
            error = noise_of_change(self._evaluator, found.baseline.artifact, nearest.artifact)
            if error is not None and math.isfinite(error):
                self._folder.save_noise(nearest.artifact, error)

    def _score(self, models: Sequence[Scored], scores: dict[Path, float]) -> TaskError | None:
        """Add the scores on test data that are missing; return the fault that ended it, if any."""
        unknown = {one.artifact: one for one in models if one.artifact not in scores}
        missing = list(unknown.values())
        if not missing:
            return None
        progress.say(f"scoring on test data what is shown: {len(missing)} files")
        with progress.bar("test data", len(missing)) as bar:
            for scored in missing:
                try:
                    score = self._evaluator.score(scored.artifact, "test")
                except TaskError as error:
                    return error
                if math.isfinite(score):
                    scores[scored.artifact] = score
                else:
                    where = "the baseline" if scored.trial is None else f"trial {scored.trial}"
                    metric = self._evaluator.task.metric
                    progress.say(f"the {metric} of {where} on test data is {score}")
                bar.advance()
        return None
