"""What people read of a search: tables, summaries, and the files of the front."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.image import imread

from autocompress.outcome.metric import Direction
from autocompress.outcome.results import Scored, SearchResult, TrialResult, pareto_front
from autocompress.outcome.tracks import TRACKS, Track
from autocompress.plan import CompressionPlan
from autocompress.reporting import pictures
from autocompress.reporting.answer import answer_parts, summary_lines
from autocompress.reporting.axes import plain
from autocompress.reporting.page import search_page
from autocompress.reporting.rows import (
    folded,
    folded_note,
    missing_tracks,
    nearest_rows,
    shown,
)
from autocompress.reporting.tables import front_table, write_front
from autocompress.reporting.view import FrontView, front_view

PLAN = CompressionPlan.from_json(
    {"treatments": {"w": {"structure": {"kind": "dense"}, "precision": {"kind": "float16"}}}}
)
DIRECTIONS: dict[str, Direction] = {"size_bytes": "minimize", "perplexity": "minimize"}
BASELINE = Scored(
    None, Path("baseline.acz"), {"size_bytes": 18_600_000, "perplexity": 80.0}, 77.0, "float32"
)


def trial(number: int, size: int, perplexity: float | None) -> TrialResult:
    values = {"size_bytes": float(size)}
    if perplexity is not None:
        values["perplexity"] = perplexity
    return TrialResult(number, PLAN, values, perplexity is not None, 1e9, 2.0, 3.0)


def search(trials: Sequence[TrialResult], budget: int | None = 2_000_000) -> SearchResult:
    front = tuple(
        Scored(t.number, Path(f"{t.number}.acz"), t.values, None, f"w [{t.number}] <fp16>")
        for t in pareto_front(trials, DIRECTIONS)
    )
    best = min(front, key=lambda scored: scored.values["perplexity"], default=None)
    sizes = [t.size_bytes for t in trials]
    return SearchResult(
        name="small",
        metric="perplexity",
        directions=DIRECTIONS,
        budget_bytes=budget,
        baseline=BASELINE,
        best=best,
        front=front,
        trials=len(trials),
        smallest_bytes=min(sizes, default=None),
        seconds=10.0,
    )


TRIALS = [
    trial(0, 1_900_000, 81.0),
    trial(1, 1_000_000, 84.0),
    trial(2, 1_200_000, 90.0),
    trial(3, 2_500_000, None),
    trial(4, 1_500_000, 82.0),
]


def rendered(result: SearchResult, width: int | None = None) -> list[list[str]]:
    """Return the cells of each line of the table."""
    lines = (line.plain for line in front_table(result).lines(width))
    return [re.split("  +", line.strip()) for line in lines]


def test_table_lists_baseline_then_front_best_first_and_marks_the_best() -> None:
    header, *rows = rendered(search(TRIALS))
    assert header[:3] == ["trial", "size", "smaller"]
    assert [row[0] for row in rows[:4]] == ["baseline", "best 0", "4", "1"]
    assert rows[1] == ["best 0", "1.9 MB", "9.8x", "81.00", "+1.25 %"]


def test_with_a_limit_on_the_rise_the_smallest_is_the_first() -> None:
    result = replace(search(TRIALS, budget=None), max_rise=0.1)
    assert [one.trial for one in result.ranked] == [1, 4, 0]


@pytest.mark.parametrize(
    ("direction", "baseline", "useless", "told"),
    [("minimize", 80.0, 161.0, "more than twice"), ("maximize", 0.9, 0.44, "less than half")],
)
def test_what_nobody_would_take_is_folded(
    direction: Direction, baseline: float, useless: float, told: str
) -> None:
    trials = [trial(0, 900, baseline), trial(1, 400, useless), trial(2, 500, useless)]
    members = search(trials).front
    result = replace(
        search(trials),
        directions={"size_bytes": "minimize", "perplexity": direction},
        baseline=replace(BASELINE, values={"size_bytes": 1000, "perplexity": baseline}),
        front=tuple(replace(members[0], trial=t.number, values=t.values) for t in trials),
        best=None,
    )
    assert [one.trial for one in shown(result)] == [None, 0]
    note = folded_note(result)
    assert note is not None
    assert note.startswith("2 more, of ")
    assert told in note
    assert [note] in rendered(result)
    kept = replace(result, best=result.front[1])
    assert len(folded(kept)) == 1  # the best is shown, whatever it loses
    page = search_page(result, trials, front_view(result, trials))
    assert f"<summary>{note}</summary>" in page


def test_table_shows_further_objectives() -> None:
    result = search(TRIALS[:1])
    values = {**result.front[0].values, "latency_ms": 0.25}
    front = (replace(result.front[0], values=values, test=78.125),)
    baseline = replace(BASELINE, values={**BASELINE.values, "latency_ms": 0.5})
    directions = {**result.directions, "latency_ms": result.directions["perplexity"]}
    header, *rows = rendered(
        replace(result, front=front, baseline=baseline, directions=directions)
    )
    assert header[-2:] == ["test perplexity", "latency_ms"]
    assert rows[1][-2:] == ["78.12", "0.2500"]


def test_summary_names_the_best_plan_its_margin_and_its_file() -> None:
    assert summary_lines(search(TRIALS)) == [
        "best plan under 2 MB: trial 0, 1.9 MB, 9.8x smaller than 18.6 MB in single precision",
        "perplexity 81.00 on validation data (+1.25 %)",
        "100 kB (5.0 %) of the budget are left",
        "file: 0.acz",
    ]


def test_summary_without_budget_says_nothing_of_a_margin() -> None:
    lines = summary_lines(search(TRIALS[:1], budget=None))
    assert lines[0].startswith("best plan: trial 0")
    assert not any("budget" in line for line in lines)


@pytest.mark.parametrize(
    ("size", "distance"), [(2_500_000, "25.0 % above"), (5_000_000, "2.5 times")]
)
def test_summary_says_how_far_the_smallest_file_is_from_the_budget(
    size: int, distance: str
) -> None:
    (line,) = summary_lines(search([trial(0, size, None)]))
    assert "no plan fits 2 MB" in line
    assert f"{distance} the budget" in line


def test_summary_of_nothing() -> None:
    assert summary_lines(search([])) == ["no trial has finished"]


def test_csv_has_a_row_per_trial_with_exact_sizes(tmp_path: Path) -> None:
    csv, _, _ = write_front(search(TRIALS), TRIALS, tmp_path)
    table = pd.read_csv(csv)
    assert list(table) == ["trial", "size_bytes", "perplexity", "feasible", "front", "best"]
    assert table["size_bytes"].tolist() == [t.size_bytes for t in TRIALS]
    assert table["perplexity"].isna().tolist() == [False, False, False, True, False]
    assert table["feasible"].tolist() == [True, True, True, False, True]
    assert table["front"].tolist() == [True, True, False, False, True]
    assert table["best"].tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    "trials",
    [TRIALS, TRIALS[:1], [TRIALS[3]], []],
    ids=["several", "one", "none feasible", "no trial"],
)
@pytest.mark.parametrize("budget", [2_000_000, None])
def test_files_are_drawn_for_every_kind_of_front(
    trials: list[TrialResult], budget: int | None, tmp_path: Path
) -> None:
    files = write_front(search(trials, budget), trials, tmp_path)
    assert [file.name for file in files] == ["front.csv", "front.png", "front.html"]
    assert sorted(tmp_path.iterdir()) == sorted(files)  # no temporary file is left
    assert imread(files[1]).shape[:2] == (1000, 1600)


def test_latency_is_drawn_in_a_second_panel(tmp_path: Path) -> None:
    trials = [
        replace(one, values={**one.values, "latency": 0.5 - 0.1 * one.number})
        for one in TRIALS
        if "perplexity" in one.values
    ]
    result = search(trials)
    result = replace(
        result,
        directions={**result.directions, "latency": "minimize"},
        baseline=replace(BASELINE, values={**BASELINE.values, "latency": 1.0, "latency_ms": 0.2}),
        limits={"latency": 0.45},
        best=None,
    )
    view = front_view(result, trials)
    assert view.beside is not None
    costs = [dot.cost for dot in view.beside.front]
    assert costs == sorted(costs)
    assert {*costs, *(dot.cost for dot in view.beside.trials)} == {
        one.values["latency"] for one in trials
    }
    assert view.beside.limit_note == "budget 0.45x"
    assert view.beside.baseline_note.endswith(", 0.2 ms")
    _, picture, page = write_front(result, trials, tmp_path)
    assert imread(picture).shape[:2] == (1000, 3000)
    assert page.read_text(encoding="utf-8").count("<svg viewBox") == 2


def test_what_was_fine_tuned_is_shown_even_beyond_the_front() -> None:
    (one,) = search([trial(7, 700_000, 60.0)]).front
    tuned = replace(one, track="tuned")
    result = replace(search(TRIALS), tuned=(tuned,))
    view = front_view(result, TRIALS)
    (dot,) = view.tuned
    assert dot.point == (0.7, 60.0)
    assert dot.tip.startswith("trial 7, tuned without labels: ")
    assert view.y_limits[0] < 60.0
    assert view.x_limits[0] < 0.7
    assert 'class="point tuned"' in search_page(result, TRIALS, view)


def test_what_was_fine_tuned_has_fronts_of_its_own(tmp_path: Path) -> None:
    worse, better = trial(7, 900_000, 70.0), trial(8, 700_000, 60.0)
    found = search([worse, better]).front + search([worse]).front
    tuned = tuple(replace(one, track="tuned") for one in found)
    recovered = tuple(replace(one, track="recovered") for one in found[:1])
    result = replace(search(TRIALS), tuned=tuned, recovered=recovered)
    view = front_view(result, TRIALS)
    assert [dot.point for dot in view.steps_of(view.tuned)] == [(0.7, 60.0)]
    _, picture, page = write_front(result, TRIALS, tmp_path)
    assert imread(picture).shape[:2] == (1000, 1600)
    drawn = page.read_text(encoding="utf-8")
    for track, members in (("tuned", tuned), ("recovered", recovered)):
        assert drawn.count(f'class="steps {track}-steps"') == 1
        assert drawn.count(f'class="point {track}"') == len(members)


def test_no_table_mixes_tracks() -> None:
    """Each track has a table of its own, its control first, and a best of its own."""
    baseline = search(TRIALS).baseline
    (one,) = search([trial(7, 700_000, 60.0)]).front

    def trained(track: Track) -> Scored:
        place = Path("recovered", f"{track}-60steps", "model.acz")
        return replace(one, artifact=place, track=track, how=f"60 steps of {track}")

    tuned, recovered = trained("tuned"), trained("recovered")
    controls = tuple(replace(baseline, track=track, how="60 steps") for track in TRACKS[1:])
    result = replace(
        search(TRIALS), tuned=(tuned,), recovered=(recovered,), controls=controls, best=recovered
    )
    table = "\n".join(line.plain for line in front_table(result).lines(None))
    assert "60 steps" not in table
    parts = [part for part in answer_parts(result) if not isinstance(part, str)]
    texts = ["\n".join(line.plain for line in part.lines()) for part in parts]
    assert [text.count("60 steps") for text in texts] == [2, 2]
    assert [text.count("uncompressed") for text in texts] == [1, 1]
    assert ["60 steps of tuned" in text for text in texts] == [True, False]
    assert ["best 7" in text for text in texts] == [False, True]
    lines = summary_lines(result)
    assert lines.index("tuned without labels:") < lines.index("with recovery on labels:")
    for title in ("without retraining", "tuned without labels", "with recovery on labels"):
        assert sum(line.startswith(f"best {title}: trial ") for line in lines) == 1
    missed = replace(result, best=None, front=(), misses=(recovered, result.front[0], tuned))
    assert [row[0] for row in nearest_rows(missed, "tuned")] == ["7, tuned without labels"]
    assert len(nearest_rows(missed, "plain")) == 1
    assert missing_tracks(missed) == ("recovered", "plain", "tuned")


def test_failed_write_keeps_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = search(TRIALS)
    before = [file.read_bytes() for file in write_front(result, TRIALS, tmp_path)]

    def fail(view: FrontView, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pictures, "save_png", fail)
    with pytest.raises(OSError, match="disk full"):
        write_front(result, TRIALS, tmp_path)
    names = ["front.csv", "front.png", "front.html"]
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert len(list(tmp_path.iterdir())) == 3


def test_picture_is_not_ruined_by_outliers_and_counts_them() -> None:
    wild = [trial(5, 500_000, 5000.0), trial(6, 1_950_000, 400.0)]
    result = replace(search(TRIALS + wild), given_up=1)
    view = front_view(result, TRIALS + wild)
    low, high = view.y_limits
    assert low < 80.0
    assert 90.0 < high < 120.0
    assert "7 trials, 6 measured, 4 on the front" in view.caption
    assert "2 above the range shown" in view.caption
    assert view.x_limits[0] > 0.5  # nothing is shown at the size of the outlier
    outside = [view.clipped(dot) for dot in (*view.trials, *view.front) if view.is_outside(dot)]
    assert {dot.value for dot in outside} == {high}
    assert min(dot.cost for dot in outside) == view.x_limits[0]  # at the edge, not beside the axes
    page = search_page(result, TRIALS + wild, view)
    assert page.count("<polygon") == 2  # at the edge
    assert page.count("<rect x=") == 1 + 1  # what was given up, and the inside of the axes


def test_limits_hold_for_a_metric_to_be_maximised() -> None:
    good, bad = trial(0, 1_900_000, 0.9), trial(1, 900_000, 0.1)
    result = search([good, bad])
    result = replace(
        result,
        directions={"size_bytes": "minimize", "perplexity": "maximize"},
        baseline=replace(BASELINE, values={"size_bytes": 18_600_000, "perplexity": 0.92}),
        front=(replace(result.front[0], trial=0, values=good.values),),
    )
    view = front_view(result, [good, bad])
    assert view.y_limits[0] > 0.5
    assert view.y_limits[1] > 0.92
    assert "1 below the range shown" in view.caption


def test_line_leaves_out_members_that_are_good_only_in_a_third_objective() -> None:
    members = [trial(0, 1_000_000, 84.0), trial(1, 1_200_000, 86.0), trial(2, 1_500_000, 82.0)]
    result = search(members)
    front = tuple(
        Scored(t.number, Path("x"), {**t.values, "latency_ms": 1.0}, None, "") for t in members
    )
    view = front_view(replace(result, front=front), members)
    assert [dot.value for dot in view.front] == [84.0, 86.0, 82.0]
    assert [dot.value for dot in view.steps] == [84.0, 82.0]


@pytest.mark.parametrize("limits", [(0.3, 2.2), (1.9, 2.0), (0.001, 40.0), (0.95, 1.05)])
def test_sizes_are_labelled_in_plain_numbers(limits: tuple[float, float]) -> None:
    view = replace(front_view(search(TRIALS), TRIALS), x_limits=limits)
    assert len(view.x_ticks) >= 3
    assert all(limits[0] <= tick <= limits[1] for tick in view.x_ticks)
    assert not any("e" in plain(tick) for tick in view.x_ticks)


def test_page_is_self_contained_and_escapes_labels() -> None:
    result = replace(search(TRIALS), name="<b>&</script>")
    page = search_page(result, TRIALS, front_view(result, TRIALS))
    assert not re.search(r"https?://|src=|@import|url\((?!#)", page)
    assert "<h1>&lt;b&gt;&amp;&lt;/script&gt;</h1>" in page
    assert page.count("</script>") == 2
    assert "prefers-color-scheme: dark" in page
    picture = ElementTree.fromstring(re.findall(r"<svg viewBox.*?</svg>", page, re.DOTALL)[0])
    tips = [dot.get("data-tip", "") for dot in picture.iter("circle")]
    assert len(tips) == 3 + 1  # the front, and the best once more on top
    assert any("w [4] <fp16>" in tip for tip in tips)


def test_report_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys; from autocompress import tracking;"
        "from autocompress.reporting import page, pictures, tables;"
        "print({'torch', 'mlflow', 'optuna', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
