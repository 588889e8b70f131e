"""What the finished trials of a search amount to. Knows neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from autocompress.artifact import WeightReport, open_artifact
from autocompress.errors import SearchError
from autocompress.outcome.limits import resolved
from autocompress.outcome.names import SIZE
from autocompress.outcome.origin import LAST_RESORT
from autocompress.outcome.prospects import prospects, sound
from autocompress.outcome.results import Scored, SearchResult, TrialResult, pareto_front
from autocompress.outcome.tracks import TRACKS
from autocompress.plan import Treatment
from autocompress.searching.folder import CONTROL, SearchFolder

_TREATMENTS_SHOWN, _MISSES_SHOWN = 3, 5


def summary(
    folder: SearchFolder,
    seconds: float,
    smallest_bytes: int | None = None,
    without_file: int | None = None,
) -> SearchResult:
    """Put together what a search has found so far.

    Args:
        folder: Of the search.
        seconds: Wall time spent on it.
        smallest_bytes: The smallest file seen outside of trials, if any.
        without_file: Trials that failed, or were given up before they were encoded; None to
            count them in the folder.

    Raises:
        SearchError: If the folder holds no search, or its baseline is not yet measured.
    """
    settings, baseline = folder.settings(), folder.baseline()
    if baseline is None:
        raise SearchError(f"the search in '{folder.path}' has not measured its baseline yet")
    trials, tests = folder.trials(), folder.test_scores()
    if without_file is None:
        without_file = max(folder.ledger.n_trials() - len(trials), 0)
    limits = resolved(settings.asked, baseline)
    further = limits.keys() - {SIZE, settings.metric}
    sizes = [*(one.size_bytes for one in trials), *([smallest_bytes] if smallest_bytes else [])]
    found = SearchResult(
        name=settings.name,
        metric=settings.metric,
        directions=settings.directions,
        budget_bytes=settings.budget_bytes,
        max_rise=settings.max_rise,
        limits={name: limit.bound for name, limit in limits.items() if name in further},
        baseline=_scored(folder, None, baseline, tests),
        best=None,
        front=tuple(
            _scored(folder, one.number, one.values, tests)
            for one in pareto_front(trials, settings.directions)
        ),
        trials=len(trials) + without_file,
        given_up=sum(settings.metric not in one.values for one in trials) + without_file,
        without_file=without_file,
        smallest_bytes=min(sizes, default=None),
        seconds=seconds,
        models=folder.contenders(),
    )
    return _judged(_with_tuned(found, folder, tests), folder, trials, tests)


def _with_tuned(
    found: SearchResult, folder: SearchFolder, tests: Mapping[Path, float]
) -> SearchResult:
    """Add what was fine-tuned, each to its track, and its controls."""
    tuned = [one for name in TRACKS[1:] for one in _fine_tuned(folder, name, tests)]
    return replace(
        found,
        tuned=tuple(one for one in tuned if one.track == "tuned"),
        recovered=tuple(one for one in tuned if one.track == "recovered"),
        controls=tuple(_controls(folder, found.baseline, tuned, tests)),
    )


def _judged(
    found: SearchResult,
    folder: SearchFolder,
    trials: Sequence[TrialResult],
    tests: Mapping[Path, float],
) -> SearchResult:
    """Add what is the best or the nearest, and what a budget buys."""
    kept = [*found.front, *filter(found.keeps_limits, found.fine_tuned)]
    last = {one.number for one in trials if one.family == LAST_RESORT}
    found_one = any(one.trial not in last or one.track != "plain" for one in kept)
    own = [one for one in trials if one.number not in last]
    misses = () if found_one else _misses(folder, found, own, tests)
    curve = folder.curve()
    return replace(
        found,
        best=found.best_of(kept),
        misses=misses,
        noise=folder.noise(misses[0].artifact) if misses else None,
        prospects=prospects(found, trials, curve),
        sound=sound(found, trials, curve),
    )


def _misses(
    folder: SearchFolder,
    found: SearchResult,
    trials: Sequence[TrialResult],
    tests: Mapping[Path, float],
) -> tuple[Scored, ...]:
    """Return what misses the limits by the least: measured trials, and what was fine-tuned."""
    known = {
        folder.artifact(trial.number): trial
        for trial in trials
        if set(trial.values) >= set(found.directions)
    }
    tuned = {one.artifact: one for one in found.fine_tuned}
    misses = {path: found.miss(one) for path, one in (known | tuned).items()}
    return tuple(
        tuned.get(path) or _scored(folder, known[path].number, known[path].values, tests)
        for path in sorted(misses, key=lambda path: misses[path])[:_MISSES_SHOWN]
    )


def _fine_tuned(folder: SearchFolder, name: str, tests: Mapping[Path, float]) -> Iterator[Scored]:
    for path, result in folder.all_recovered(name):
        if result.values.keys() >= folder.settings().directions.keys():
            scored = _scored(folder, result.number, result.values, tests, path)
            method = folder.method(path)
            yield replace(scored, track=method.track, how=method.told)
        # or else no file of it was within the budget


def _controls(
    folder: SearchFolder, baseline: Scored, tuned: Sequence[Scored], tests: Mapping[Path, float]
) -> Iterator[Scored]:
    """Yield the uncompressed model fine-tuned alike: as it is, where it had nothing to learn."""
    staying = (one for one in tuned if folder.method(one.artifact).control_stays)
    for (how, _), one in {(one.how, one.model): one for one in staying}.items():
        label = "as it is: towards its own predictions alone, it has nothing to learn"
        own = baseline if one.model == baseline.model else _uncompressed(one, tests)
        yield replace(own, track="tuned", how=how, label=label)
    yield from _fine_tuned(folder, CONTROL, tests)


def _uncompressed(tuned: Scored, tests: Mapping[Path, float]) -> Scored:
    """Return the uncompressed model of what was fine-tuned, where several are searched."""
    folder = SearchFolder(tuned.artifact.parents[2])
    path = folder.artifact(None)
    return Scored(None, path, folder.baseline() or {}, tests.get(path), "", model=tuned.model)


def _scored(
    folder: SearchFolder,
    number: int | None,
    values: Mapping[str, float],
    tests: Mapping[Path, float],
    tuned: Path | None = None,
) -> Scored:
    path = tuned or folder.artifact(number)
    told, model = describe_artifact(path), folder.model_of(number)
    return Scored(number, path, values, tests.get(path), told, model=model)


def rises_beside(artifact: Path) -> Mapping[str, float]:
    """Return by weight the predicted rise of the loss, if a file is that of a trial; else nothing.

    Of what was fine-tuned nothing is predicted.
    """
    trial = artifact.absolute().parent
    with suppress(SearchError):
        found = SearchFolder(trial.parents[1]).trial(int(trial.name)) if _is_trial(trial) else None
        return {} if found is None else found.rises
    return {}


def _is_trial(folder: Path) -> bool:
    return folder.name.isdecimal() and folder.parent.name == "trials"


def describe_artifact(path: Path) -> str:
    """Name the treatments of an artifact on one line, those of the most bytes first.

    Weights that are treated alike are counted, and their bits are the mean: "embedding.weight +1"
    stands for two of them.
    """
    artifact = open_artifact(path)
    alike: dict[Treatment, list[WeightReport]] = {}
    for line in artifact.report():
        treatment = artifact.plan.treatments[line.site or line.name]
        alike.setdefault(treatment, []).append(line)
    ranked = sorted(alike, key=lambda one: -sum(line.size_bytes for line in alike[one]))
    parts = [_in_words(one, alike[one]) for one in ranked[:_TREATMENTS_SHOWN]]
    more = len(ranked) - _TREATMENTS_SHOWN
    return "; ".join(parts) + (f"; {more} more" if more > 0 else "")


def _in_words(treatment: Treatment, lines: Sequence[WeightReport]) -> str:
    bits = 8 * sum(line.size_bytes for line in lines) / sum(line.n_weights for line in lines)
    others = f" +{len(lines) - 1}" if len(lines) > 1 else ""
    return f"{lines[0].site or lines[0].name}{others}: {treatment.in_words(bits)}"
