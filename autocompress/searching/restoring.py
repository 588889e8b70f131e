"""What of finished trials is missing or damaged in a folder, made anew from the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.errors import ArtifactError, AutocompressError
from autocompress.outcome.names import LATENCY
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.searching.folder import SearchFolder
from autocompress.searching.space.language import Space
from autocompress.searching.space.questions import Replay, ask_plan
from autocompress.searching.study import Known, Study
from autocompress.support import progress
from autocompress.trial.evaluator import Evaluator


class Restorer:
    """Makes files anew, from plans, and measures anew what is no longer known."""

    def __init__(self, folder: SearchFolder, space: Space, evaluator: Evaluator) -> None:
        self._folder, self._space, self._evaluator = folder, space, evaluator

    def restore_baseline(self) -> None:
        """Write the uncompressed model again where its file is missing or damaged."""
        path = self._folder.artifact(None)
        if self._folder.baseline() is not None and not _is_whole_file(path):
            _say(f"'{path}'")
            encoder = self._evaluator.encoder
            encoder.write(uncompressed_plan(encoder.source), path)

    def restore_trials(self, study: Study) -> None:
        """Make anew the results of trials that the study knows, and the files of results."""
        there = {result.number: result for result in self._folder.trials()}
        for result in there.values():
            self._restore_file(result)
        for known in study.measured():
            path = self._folder.artifact(known.number)
            had_file = known.rejected is None or path.parent.exists()
            if known.number not in there and had_file:
                self._measure(known)

    def _restore_file(self, result: TrialResult) -> None:
        path = self._folder.artifact(result.number)
        if not _is_whole_file(path):
            _say(f"'{path}'")
            encoder = self._evaluator.encoder
            encoder.write(result.plan, path)
            if path.stat().st_size != result.size_bytes:
                progress.say(
                    f"'{path}' has {path.stat().st_size} bytes now, and {result.size_bytes} "
                    "before: it is measured anew"
                )
                result = self._run(result.number, result.plan, result.rejected)
                self._folder.save_trial(result)
        engine = self._evaluator.engine
        if engine.suffix and LATENCY in result.values:
            exported = path.with_suffix(engine.suffix)
            if not exported.is_file():
                _say(f"'{exported}'")
                engine.load(open_artifact(path))

    def _measure(self, known: Known) -> None:
        """Measure a trial again, of which the folder has lost the result."""
        _say(f"the result of trial {known.number}")
        try:
            result = self._run(known.number, self._plan_of(known), known.rejected)
        except (AutocompressError, LookupError) as error:
            progress.say(f"trial {known.number} is lost: {error}")
            return
        values = {**result.values, **known.values}
        self._folder.save_trial(replace(result, values=values).of(known.origin))

    def _plan_of(self, known: Known) -> CompressionPlan:
        path = self._folder.artifact(known.number)
        if _is_whole_file(path):
            return open_artifact(path).plan
        return ask_plan(self._space, self._evaluator.source, Replay(known.answers))

    def _run(self, number: int, plan: CompressionPlan, rejected: str | None) -> TrialResult:
        path = self._folder.artifact(number)
        result = self._evaluator.run(number, plan, path)
        if rejected is None:
            return result
        metric = self._evaluator.task.metric
        values = {name: value for name, value in result.values.items() if name != metric}
        return replace(result, values=values, feasible=False, rejected=rejected)


def _say(what: str) -> None:
    progress.say(f"{what} is missing or damaged: made anew")


def _is_whole_file(path: Path) -> bool:
    try:
        open_artifact(path)
    except ArtifactError:
        return False
    return True
