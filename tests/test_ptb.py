"""The promise on a real trained model, as a user would check it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toys import PTB, PTB_SMALL, needs_ptb

pytestmark = [pytest.mark.slow, needs_ptb]


def run(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "autocompress", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=900, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize(
    ("budget", "limit", "perplexity"),
    [
        ("1.5MB", 1_500_000, 118.9),
        pytest.param("2MB", 2_000_000, 117.9, marks=pytest.mark.exhaustive),
    ],
)
def test_a_budget_is_met_at_little_cost(
    budget: str, limit: int, perplexity: float, tmp_path: Path
) -> None:
    options = ["--data", PTB, "--budget", budget, "--trials", 2, "--seed", 0, "--out", tmp_path]
    best = run("search", PTB_SMALL, *options)["best"]
    measured = run("evaluate", best["artifact"], "--data", PTB, "--split", "valid")
    assert measured["size_bytes"] == Path(best["artifact"]).stat().st_size <= limit
    assert measured["perplexity"] <= perplexity
    assert measured["tokens"] == 73_760


def test_one_shot_is_as_good_as_a_search(tmp_path: Path) -> None:
    """A search of that budget finds 117.92."""
    path = tmp_path / "model.acz"
    made = run("compress", PTB_SMALL, "--data", PTB, "--budget", "1.15MB", "--out", path)
    assert made["size_bytes"] == path.stat().st_size <= 1_150_000
    assert made["valid_perplexity"] <= 1.01 * 117.92


def test_a_short_recovery_regains_most_of_the_loss(tmp_path: Path) -> None:
    options = ["--data", PTB, "--budget", "800kB", "--trials", 1, "--out", tmp_path]
    found = run("search", PTB_SMALL, *options, "--recover", "30steps")
    recovered = found["recovered"][0]
    base = found["baseline"]["valid_perplexity"]
    assert recovered["size_bytes"] <= 800_000
    assert found["best"] == recovered
    lost = min(one["valid_perplexity"] for one in found["front"]) - base
    assert recovered["valid_perplexity"] - base < 0.6 * lost
