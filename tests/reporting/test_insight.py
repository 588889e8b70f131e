"""What a search has learnt: the figures by hand and by brute force, and the files."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from toys import Classification, Classifier

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.outcome.metric import Direction
from autocompress.outcome.results import Scored, SearchResult, TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.reporting import pictures
from autocompress.reporting.insight import (
    ELSEWHERE,
    front_uses,
    hypervolume,
    importance,
    insight_lines,
    method,
    predicted_table,
    worsening,
    write_insight,
)

Json = Mapping[str, Mapping[str, object]]

SIZE = 1_000_000
DENSE: Json = {"structure": {"kind": "dense"}, "precision": {"kind": "float16"}}
PRUNED: Json = {
    "structure": {"kind": "pruned", "sparsity": 0.5},
    "precision": {"kind": "uniform", "bits": 4},
}
LOW_RANK: Json = {
    "structure": {"kind": "low_rank", "rank": 2},
    "precision": {"kind": "uniform", "bits": 8},
}
STRUCTURES = [
    *(treatment["structure"] for treatment in (DENSE, PRUNED, LOW_RANK)),
    {"kind": "vector_quantized", "dimension": 2, "bits": 2},
]
TREATMENTS = [DENSE, PRUNED, LOW_RANK]


def plan(**treatments: Json) -> CompressionPlan:
    return CompressionPlan.from_json({"treatments": treatments})


def trial(
    number: int, size: int, metric: float | None, made: CompressionPlan | None = None
) -> TrialResult:
    values = {"size_bytes": float(size)} | ({} if metric is None else {"metric": metric})
    made = made or plan(w=DENSE)
    return TrialResult(number, made, values, metric is not None, 1e9, 2.0, 3.0)


def search(baseline: float = 100.0, direction: Direction = "minimize") -> SearchResult:
    values = {"size_bytes": float(SIZE), "metric": baseline}
    return SearchResult(
        name="small",
        metric="metric",
        directions={"size_bytes": "minimize", "metric": direction},
        budget_bytes=None,
        baseline=Scored(None, Path("baseline.acz"), values, None, "float32"),
        best=None,
        front=(),
        trials=0,
        smallest_bytes=None,
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("baseline", "direction", "now", "expected"),
    [
        (100.0, "minimize", 110.0, 0.1),
        (100.0, "minimize", 90.0, -0.1),
        (0.8, "maximize", 0.6, 0.25),
        (0.8, "maximize", 1.0, -0.25),
        (-2.0, "maximize", -2.2, 0.1),
        (-2.0, "minimize", -2.2, -0.1),
        (0.0, "minimize", 0.1, math.inf),
        (0.0, "maximize", 0.1, -math.inf),
        (0.0, "maximize", 0.0, 0.0),
    ],
)
def test_worsening_follows_the_direction_and_not_the_sign_of_the_metric(
    baseline: float, direction: Direction, now: float, expected: float
) -> None:
    assert worsening(search(baseline, direction), {"metric": now}) == pytest.approx(expected)


def test_hypervolume_by_hand() -> None:
    trials = [
        trial(0, SIZE // 4, 110.0),  # 2 halvings for the losses from 10 to 20 %
        trial(1, SIZE // 2, 105.0),  # 1 halving from 5 to 10 %
        trial(2, SIZE // 2, 115.0),  # beaten
        trial(3, 1000, None),  # above the budget
        trial(4, SIZE // 1000, 121.0),  # beyond the worst change
        trial(5, SIZE // 2, 90.0),  # better than the baseline counts as equal: 1 from 0 to 10 %
        trial(6, 2 * SIZE, 80.0),  # larger than the baseline
        trial(7, SIZE // 8, 110.0),  # 3 in place of 2
        replace(trial(8, SIZE // 1000, 100.0), feasible=False),  # measured, but not feasible
    ]
    expected = [1.0, 1.25, 1.25, 1.25, 1.25, 1.5, 1.5, 2.0, 2.0]
    assert hypervolume(search(), trials) == pytest.approx(expected)
    assert hypervolume(search(), trials[::-1]) == pytest.approx(expected)  # by number


def test_hypervolume_of_nothing() -> None:
    assert hypervolume(search(), []) == []
    assert hypervolume(search(), [trial(0, 2 * SIZE, 90.0), trial(1, 10, None)]) == [0.0, 0.0]


def test_hypervolume_of_a_metric_to_be_maximised_mirrors_that_of_one_to_be_minimised() -> None:
    rows = [(0.15, SIZE // 10), (0.02, SIZE // 3), (-0.1, SIZE // 2)]
    falls = [trial(number, size, 50 * (1 - loss)) for number, (loss, size) in enumerate(rows)]
    rises = [trial(number, size, 50 * (1 + loss)) for number, (loss, size) in enumerate(rows)]
    volumes = hypervolume(search(50.0, "maximize"), falls)
    assert volumes == pytest.approx(hypervolume(search(50.0), rises))
    assert volumes[0] == pytest.approx(math.log2(10) * 0.25)


def test_hypervolume_with_a_baseline_of_zero_counts_files_that_lose_nothing() -> None:
    trials = [trial(0, SIZE // 8, 0.5), trial(1, SIZE // 4, 0.0)]
    assert hypervolume(search(0.0), trials) == [0.0, 2.0]


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_is_the_share_of_a_grid_that_the_trials_beat(seed: int) -> None:
    generator = np.random.default_rng(seed)
    losses = generator.uniform(-0.05, 0.25, 12)
    halvings = generator.uniform(-0.5, 5.0, 12)
    sizes = np.rint(SIZE / 2**halvings).astype(int)
    trials = [
        trial(number, int(size), 100 * (1 + loss))
        for number, (size, loss) in enumerate(zip(sizes, losses, strict=True))
    ]
    volumes = hypervolume(search(), trials)
    assert volumes == sorted(volumes)
    permitted, wanted = (np.arange(500) + 0.5) / 500 * 0.2, (np.arange(500) + 0.5) / 500 * 5
    beaten = np.zeros((500, 500), dtype=bool)
    for loss, gain, volume in zip(losses, halvings, volumes, strict=True):
        beaten |= (permitted[:, None] >= loss) & (wanted <= gain)
        assert volume == pytest.approx(5 * beaten.mean(), abs=0.03)
    assert volumes[-1] > 1


def designed(rows: Sequence[tuple[int, int, float, int]]) -> list[TrialResult]:
    """Make trials from rows of: method of weight a, of weight b, metric, size."""
    return [
        trial(number, size, metric, plan(a=TREATMENTS[a], b=TREATMENTS[b]))
        for number, (a, b, metric, size) in enumerate(rows)
    ]


def test_importance_of_what_decides_everything_and_of_what_decides_nothing() -> None:
    # Every pair of methods four times; a alone decides the metric, b alone the size.
    rows = [(a, b, 100.0 + a, SIZE // 2 ** (b + 1)) for a in range(3) for b in range(3)] * 4
    first, second = importance(search(), designed(rows))
    assert (first.entries, second.entries) == (("a",), ("b",))
    assert first.metric.share == pytest.approx(1)
    assert first.metric.beyond_chance
    assert first.size.share == pytest.approx(-2 / 33)  # eta squared 0, adjusted
    assert not first.size.beyond_chance
    assert second.size.share == pytest.approx(1)
    assert second.size.beyond_chance
    assert not second.metric.beyond_chance
    assert 0 < second.metric.chance < 0.25
    assert [mean.method for mean in first.methods] == [
        "dense + float16",
        "pruned + uniform",
        "low_rank + uniform",
    ]
    assert [mean.trials for mean in first.methods] == [12, 12, 12]
    assert [mean.worsening for mean in first.methods] == pytest.approx([0.0, 0.01, 0.02])
    assert [mean.ratio for mean in first.methods] == pytest.approx([4.0] * 3)  # geometric
    assert sorted(mean.ratio for mean in second.methods) == pytest.approx([2, 4, 8], rel=1e-4)


def test_importance_by_hand() -> None:
    # Means 101 and 103, eta squared 8 / (8 + 8) = 0.5; adjusted 1 - 0.5 * 7 / 6.
    metrics = [100.0, 100.0, 102.0, 102.0, 102.0, 102.0, 104.0, 104.0]
    rows = [(number // 4, 0, metric, SIZE) for number, metric in enumerate(metrics)]
    (only,) = importance(search(), designed(rows))
    assert only.entries == ("a",)  # b is always stored alike
    assert only.metric.share == pytest.approx(5 / 12)
    assert (only.size.share, only.size.beyond_chance) == (0.0, False)  # all sizes are equal


def test_tiny_groups_do_not_look_important() -> None:
    """Eleven groups of two explain half of pure noise; the adjusted share is about zero."""
    generator = np.random.default_rng(0)
    kinds: Sequence[Json] = [
        {"structure": structure, "precision": precision}
        for structure in (DENSE["structure"], PRUNED["structure"], LOW_RANK["structure"])
        for precision in (
            {"kind": "float16"},
            {"kind": "float32"},
            {"kind": "uniform", "bits": 4},
            {"kind": "entropy", "step": 0.1},
        )
    ][:11]
    shares = []
    for _ in range(20):
        trials = [
            trial(number, SIZE, 100 + metric, plan(a=kinds[number % 11]))
            for number, metric in enumerate(generator.normal(size=22))
        ]
        (only,) = importance(search(), trials)
        shares.append(only.metric)
    assert abs(np.mean([explained.share for explained in shares])) < 0.15
    assert sum(explained.beyond_chance for explained in shares) <= 4  # one is expected


def test_importance_says_nothing_of_few_trials() -> None:
    rows = [(number % 2, 0, 100.0 + number % 2, SIZE) for number in range(8)]
    unmeasured = [trial(number, SIZE, None) for number in range(8, 12)]
    assert importance(search(), [*designed(rows[:7]), *unmeasured]) == []
    assert len(importance(search(), [*designed(rows), *unmeasured])) == 1


def test_importance_leaves_out_weights_that_no_two_trials_treat_alike() -> None:
    plans = [plan(a={**PRUNED, "structure": structure}) for structure in STRUCTURES]
    precise = [plan(a={**DENSE, "structure": structure}) for structure in STRUCTURES]
    trials = [trial(n, SIZE, 100.0 + n, made) for n, made in enumerate([*plans, *precise])]
    assert importance(search(), trials) == []
    assert len(importance(search(), [*trials, trial(8, SIZE, 100.0, plans[0])])) == 1


def test_importance_of_a_metric_to_be_maximised_names_the_largest_first() -> None:
    rows = [(number % 2, 0, 0.8 + 0.1 * (number % 2), SIZE) for number in range(8)]
    (only,) = importance(search(0.9, "maximize"), designed(rows))
    assert [mean.method for mean in only.methods] == ["pruned + uniform", "dense + float16"]
    assert [mean.worsening for mean in only.methods] == pytest.approx([0, 1 / 9])


@pytest.mark.parametrize("baseline", [100.0, 0.0])
def test_one_useless_model_is_not_all_of_the_variance(baseline: float) -> None:
    rows = [(n % 2, 0, baseline + (30.0 if n % 2 else 0.0), SIZE) for n in range(12)]
    rows[0] = (0, 0, baseline + 1e6, SIZE)
    (only,) = importance(search(baseline), designed(rows))
    assert all(math.isfinite(mean.worsening) and mean.worsening <= 1 for mean in only.methods)
    assert only.methods[0].worsening == pytest.approx(1 / 6)


def test_weights_that_are_always_treated_alike_share_a_row() -> None:
    rows = [(number % 3, number % 3, 100.0 + number % 3, SIZE) for number in range(9)]
    (only,) = importance(search(), designed(rows))
    assert only.entries == ("a", "b")


def test_a_weight_that_is_not_listed_is_within_a_site() -> None:
    apart, joined = plan(a=DENSE, b=PRUNED), plan(**{"h:a": LOW_RANK})
    trials = [trial(n, SIZE, 100.0 + n % 2, joined if n % 2 else apart) for n in range(10)]
    found = {entry.entries: entry for entry in importance(search(), trials)}
    assert set(found) == {("a",), ("b",), ("h:a",)}
    assert [mean.method for mean in found[("b",)].methods] == ["pruned + uniform", ELSEWHERE]
    assert [mean.method for mean in found[("h:a",)].methods] == [ELSEWHERE, "low_rank + uniform"]


def test_a_method_names_what_is_pruned_within() -> None:
    pruned = {"kind": "pruned", "sparsity": 0.5, "of": {"kind": "low_rank", "rank": 2}}
    nested = Treatment.model_validate({"structure": pruned, "precision": {"kind": "float16"}})
    assert method(nested) == "pruned low_rank + float16"
    assert method(Treatment.model_validate(PRUNED)) == "pruned + uniform"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, list[TrialResult]]:
    """Files of a classifier: one with all weights alone, two with a site stored as one."""
    folder = tmp_path_factory.mktemp("front")
    source = Source.of(Classifier(), Classification())
    site = source.calibration.sites[0]
    names = list(source.weights.weights)
    joined = {name: DENSE for name in names if name not in site.members} | {site.name: LOW_RANK}
    plans = [plan(**dict.fromkeys(names, DENSE)), plan(**joined), plan(**joined)]
    trials, front = [], []
    for number, made in enumerate(plans):
        path = folder / f"{number}.acz"
        Encoder(source).write(made, path)
        trials.append(trial(number, path.stat().st_size, 100.0 - number, made))
        front.append(Scored(number, path, trials[-1].values, None, ""))
    return replace(search(), front=tuple(front), trials=3), trials


def test_front_uses_count_methods_and_bits_of_every_weight(
    found: tuple[SearchResult, list[TrialResult]],
) -> None:
    uses = {use.weight: use for use in front_uses(found[0])}
    assert set(uses) == set(Classifier().state_dict())
    assert uses["embedding.weight"].methods == {"dense + float16": 3}
    assert uses["embedding.weight"].bits == pytest.approx((16, 16), rel=0.1)
    shared = uses["lstm.weight_hh_l0"]
    assert shared.methods == {"dense + float16": 1, "low_rank + uniform": 2}
    assert shared.bits[0] < 3
    assert shared.bits[1] == pytest.approx(16, rel=0.1)


def test_report_is_written_beside_its_picture(
    found: tuple[SearchResult, list[TrialResult]], tmp_path: Path
) -> None:
    result, trials = found
    text, picture = files = write_insight(result, trials, tmp_path)
    assert [file.name for file in files] == ["report.md", "progress.png"]
    assert sorted(tmp_path.iterdir()) == sorted(files, key=str)
    assert imread(picture).shape[:2] == (1000, 1600)
    lines = text.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# small: what the search has learnt"
    assert f"![Times smaller after each trial]({picture.name})" in lines
    assert "This needs 8 trials that were measured; there are 3." in lines
    (row,) = [line for line in lines if line.startswith("| `lstm.weight_hh_l0`")]
    assert row.endswith("| low_rank + uniform (2), dense + float16 (1) |")


def test_report_shows_times_smaller_at_round_numbers_of_trials() -> None:
    trials = [trial(n, SIZE // 2 if n < 30 else SIZE // 4, 100.0) for n in range(60)]
    lines = insight_lines(search(), trials)
    rows = [line for line in lines if line.startswith("| ") and line[2].isdigit()]
    assert rows == [
        "| 1 | 2.0x |",
        "| 5 | 2.0x |",
        "| 10 | 2.0x |",
        "| 25 | 2.0x |",
        "| 50 | 4.0x |",
        "| 60 | 4.0x |",
    ]
    assert "It did not grow after the first 31 of 60 measured trials." in lines


def test_report_names_what_mattered_and_leaves_out_what_did_not() -> None:
    rows = [(a, b, 100.0 + a, SIZE // 2 ** (a + 1)) for a in range(3) for b in range(3)] * 4
    lines = insight_lines(search(), designed(rows))
    assert "Rows left out, since they have two dashes: 1." in lines
    (row,) = [line for line in lines if line.startswith("| `")]
    best = "dense + float16: 0.0 % worse, 2.0x smaller (12 trials)"
    smallest = "low_rank + uniform: 2.0 % worse, 8.0x smaller (12 trials)"
    assert row == f"| `a` | 100 % | 100 % | {best} | {smallest} |"


def test_report_writes_a_dash_for_what_may_be_chance() -> None:
    rows = [(a, b, 100.0 + a, SIZE // 2 ** (b + 1)) for a in range(3) for b in range(3)] * 4
    lines = insight_lines(search(), designed(rows))
    assert "Rows left out, since they have two dashes: 0." in lines
    first, second = [line for line in lines if line.startswith("| `")]
    assert first.startswith("| `a` | 100 % | - | dense + float16: 0.0 % worse, 4.0x")
    assert second.startswith("| `b` | - | 100 % | ")


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], "**no trial has finished**"),
        ([trial(0, 10, None)], "No trial was measured."),
        (
            [trial(0, 2 * SIZE, 90.0)],
            "No plan was smaller than the uncompressed model and within these losses.",
        ),
        ([trial(0, 5, 101.0)], "It grew up to the last trial."),
        ([trial(0, 5, 101.0)], "No trial was measured that keeps the limits."),
        (
            designed([(0, 0, 100.0, SIZE)] * 9),
            "No choice of a method explains more than chance does.",
        ),
    ],
)
def test_report_of_a_search_that_found_little(
    trials: list[TrialResult], expected: str, tmp_path: Path
) -> None:
    text, picture = write_insight(search(), trials, tmp_path)
    assert expected in text.read_text(encoding="utf-8").splitlines()
    assert imread(picture).shape[:2] == (1000, 1600)


def test_failed_write_keeps_the_former_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [file.read_bytes() for file in write_insight(search(), [], tmp_path)]

    def fail(title: str, volumes: Sequence[float], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pictures, "save_progress", fail)
    with pytest.raises(OSError, match="disk full"):
        write_insight(search(), [], tmp_path)
    names = ["report.md", "progress.png"]
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert len(list(tmp_path.iterdir())) == 2


def test_predicted_table() -> None:
    # Ranks of the measured: 1 0 2 3 4 5 6 7, Spearman 1 - 6 * 2 / (8 * 63).
    measured = [0.02, 0.01, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]
    predicted = [0.01, 0.02, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16]
    lines = predicted_table(list(zip(predicted, measured, strict=True)))
    assert lines[0] == "## Predicted against measured"
    assert lines[-1] == "| 8 | 0.98 | 2.00 | 8 |"


def test_predicted_table_of_ties_improvements_and_few_pairs() -> None:
    pairs = [(0.01, -0.01), (0.01, 0.01), *[(0.02, 0.04)] * 6]
    # Mean ranks 0.5 0.5 4.5 ... against 0 1 4.5 ...
    assert predicted_table(pairs)[-1] == "| 8 | 0.99 | 0.50 | 7 |"
    assert predicted_table([(0.01, -0.01)] * 8)[-1] == "| 8 | undefined | undefined | 0 |"
    too_few = "This needs 8 trials that were predicted and measured; there are 7."
    assert predicted_table(pairs[:7])[-1] == too_few


def test_insight_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys; from autocompress.reporting import insight;"
        "print({'torch', 'mlflow', 'optuna', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
