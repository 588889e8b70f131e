"""What a search has learnt, as a text in Markdown and a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count, takewhile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autocompress.reporting.insight.choices import (
    ELSEWHERE,
    FEWEST_TRIALS,
    Explained,
    Importance,
    MethodMean,
    importance,
)
from autocompress.reporting.insight.found import (
    answer_section,
    bytes_section,
    contenders_section,
    front_section,
    model_section,
    prospects_section,
    table,
    tuned_section,
)
from autocompress.reporting.insight.front import front_uses
from autocompress.reporting.insight.volume import WORST, hypervolume, worsening
from autocompress.support.files import write_whole

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult, TrialResult

_FEWEST_PER_METHOD = 3  # the mean of one or two trials says little of a method
_PICTURE = "progress.png"
_TIMES_SMALLER = f"times smaller at up to {100 * WORST:.0f} % loss"
_LARGEST_LOSS = 50.0  # nats; what is predicted beyond is as good as infinite


def write_insight(
    result: SearchResult,
    trials: Sequence[TrialResult],
    folder: Path,
    understood: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write report.md and progress.png, each whole or not at all.

    Args:
        result: The search; the files of its front are opened.
        trials: All finished trials.
        folder: Where to write; existing files are replaced.
        understood: What was understood of the model, or None where that is not known.

    Returns:
        The two files.

    Raises:
        ArtifactError: If a file of the front cannot be opened.
    """
    # matplotlib takes a second to import, and the text does not need it.
    from autocompress.reporting.pictures import save_progress

    text = "\n".join(insight_lines(result, trials, understood)) + "\n"
    title = f"{result.name}: {_TIMES_SMALLER}"
    smaller = [2.0**volume for volume in hypervolume(result, trials)]
    return [
        write_whole(folder / "report.md", text.encode()),
        write_whole(folder / _PICTURE, lambda path: save_progress(title, smaller, path)),
    ]


def insight_lines(
    result: SearchResult,
    trials: Sequence[TrialResult],
    understood: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the lines of report.md.

    Args:
        result: The search; the files of its front are opened.
        trials: All finished trials.
        understood: What was understood of the model, or None where that is not known.

    Raises:
        ArtifactError: If a file of the front cannot be opened.
    """
    measured = [trial for trial in trials if result.metric in trial.values]
    return [
        f"# {result.name}: what the search has learnt",
        "",
        *answer_section(result),
        "",
        f"{result.counted}. Figures are of validation data, unless they say of test data;",
        f"{result.measure}.",
        "",
        *front_section(result),
        "",
        *tuned_section(result),
        *contenders_section(result),
        *prospects_section(result),
        *bytes_section(result, trials),
        *model_section(understood),
        *_progress_section(hypervolume(result, measured)),
        "",
        *_alike_sections(result, trials),
    ]


def _alike_sections(result: SearchResult, trials: Sequence[TrialResult]) -> list[str]:
    """Compare trials weight by weight; of several models each has such a report of its own."""
    if result.models:
        return []
    measured = [trial for trial in trials if result.metric in trial.values]
    return [
        *_importance_section(result.metric, len(measured), importance(result, trials)),
        "",
        *_front_section(result),
        "",
        *predicted_table(_predictions(result, trials)),
    ]


def _predictions(result: SearchResult, trials: Sequence[TrialResult]) -> list[tuple[float, float]]:
    """Pair predicted with measured rises: relative ones of a perplexity, whose log is the loss."""
    return [
        (math.expm1(min(trial.predicted, _LARGEST_LOSS)), worsening(result, trial.values))
        for trial in trials
        if trial.predicted is not None and result.metric in trial.values
    ]


def predicted_table(pairs: Sequence[tuple[float, float]]) -> list[str]:
    """Return the lines of a section that compares predicted with measured rises.

    Args:
        pairs: Predicted and measured relative rise of each trial; 0.01 is 1 %.

    Returns:
        A heading and a table of Spearman's rank correlation and the median of predicted over
        measured, over the trials whose measured rise is above zero; a sentence instead of the
        table if there are fewer than `FEWEST_TRIALS` (8) pairs.
    """
    lines = ["## Predicted against measured", ""]
    if len(pairs) < FEWEST_TRIALS:
        return [*lines, _too_few(len(pairs), "predicted and measured")]
    correlation = rank_correlation(pairs)
    ratios = [predicted / measured for predicted, measured in pairs if measured > 0]
    ranks = "undefined" if math.isnan(correlation) else f"{correlation:.2f}"
    middle = f"{median(ratios):.2f}" if ratios else "undefined"
    return [
        *lines,
        "Rank correlation is 1 where the predictions put all trials in the right order.",
        "The ratio is predicted over measured rise, where the latter is above zero.",
        "",
        *table(
            ["trials", "rank correlation", "median ratio", "trials with a ratio"],
            [[str(len(pairs)), ranks, middle, str(len(ratios))]],
        ),
    ]


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Return Spearman's rank correlation of pairs; NaN where one side is the same in all."""
    left, right = (_ranks(np.array(side)) for side in zip(*pairs, strict=True))
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(np.corrcoef(left, right)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank numbers from 0; equal ones share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts + 1) / 2)[places]
    return ranks


def _progress_section(volumes: Sequence[float]) -> list[str]:
    lines = ["## How far it came", ""]
    if not volumes:
        return [*lines, "No trial was measured."]
    rows = [[str(trials), f"{2 ** volumes[trials - 1]:.1f}x"] for trials in _shown(len(volumes))]
    header = ["measured trials", _TIMES_SMALLER]
    return [
        *lines,
        "How many times smaller the smallest file is that loses no more than one permits: the",
        f"geometric mean over all losses from 0 to {100 * WORST:.0f} %. (Two to the power of the",
        "hypervolume of the front.)",
        _growth(volumes),
        "",
        *table(header, rows),
        "",
        f"![Times smaller after each trial]({_PICTURE})",
    ]


def _growth(volumes: Sequence[float]) -> str:
    if not volumes[-1]:
        return "No plan was smaller than the uncompressed model and within these losses."
    last = volumes.index(volumes[-1]) + 1
    if last == len(volumes):
        return "It grew up to the last trial."
    return f"It did not grow after the first {last} of {_counted(len(volumes), 'measured trial')}."


def _shown(trials: int) -> list[int]:
    """Return 1, 5, 10, 25, 50, 100, 250, ... up to the number of trials, and that number."""
    decades = (round(factor * 10**power) for power in count(1) for factor in (1, 2.5, 5))
    before = takewhile(lambda number: number < trials, decades)
    return [*(number for number in (1, 5) if number < trials), *before, trials]


def _importance_section(metric: str, measured: int, entries: Sequence[Importance]) -> list[str]:
    lines = ["## Which choices mattered", ""]
    if measured < FEWEST_TRIALS:
        return [*lines, _too_few(measured, "measured")]
    telling = [
        entry for entry in entries if entry.metric.beyond_chance or entry.size.beyond_chance
    ]
    if not telling:
        return [*lines, "No choice of a method explains more than chance does."]
    return [
        *lines,
        f"How much of the variance of the {metric}'s relative change, and of the logarithm of the",
        "size, goes with the kinds of structure and precision of a weight, adjusted for how many",
        "kinds there are. A dash stands for no more than one random choice in twenty reaches.",
        f"Rows left out, since they have two dashes: {len(entries) - len(telling)}.",
        "",
        "Kinds are named as in plans and search spaces.",
        "",
        f"Beside it the kinds that did best on average, with {_FEWEST_PER_METHOD} trials or more;",
        f'"{ELSEWHERE}" are weights stored with their site, and sites whose weights are stored',
        "one by one. Weights in one row always had the same kinds. The trials are not drawn at",
        "random, and choices go together in many of them: this is no proof of a cause.",
        "",
        *table(
            ["weight or site", metric, "size", "least loss", "smallest"],
            [_importance_row(entry) for entry in telling],
        ),
    ]


def _importance_row(entry: Importance) -> list[str]:
    return [
        ", ".join(f"`{name}`" for name in entry.entries),
        _share(entry.metric),
        _share(entry.size),
        _best(entry.methods, lambda mean: mean.worsening),
        _best(entry.methods, lambda mean: -mean.ratio),
    ]


def _share(explained: Explained) -> str:
    return f"{100 * explained.share:.0f} %" if explained.beyond_chance else "-"


def _best(methods: Sequence[MethodMean], key: Callable[[MethodMean], float]) -> str:
    common = [mean for mean in methods if mean.trials >= _FEWEST_PER_METHOD]
    best = min(common, key=key, default=None)
    if best is None:
        return "-"
    side = "worse" if best.worsening >= 0 else "better"
    change = f"{100 * abs(best.worsening):.1f} % {side}, {best.ratio:.1f}x smaller"
    return f"{best.method}: {change} ({best.trials} trials)"


def _front_section(result: SearchResult) -> list[str]:
    lines = ["## What the front has in common", ""]
    if not result.front:
        return [*lines, "No plan keeps the limits: the nearest are shown above."]
    rows = [
        [
            f"`{use.weight}`",
            " to ".join(dict.fromkeys(f"{bits:.2f}" for bits in use.bits)),
            ", ".join(f"{method} ({files})" for method, files in use.methods.items()),
        ]
        for use in front_uses(result)
    ]
    header = ["weight", "bits per weight", f"methods in {_counted(len(result.front), 'file')}"]
    return [*lines, *table(header, rows)]


def _too_few(trials: int, what: str) -> str:
    return f"This needs {FEWEST_TRIALS} trials that were {what}; there are {trials}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
