"""The published figures of a trained model, where that model is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from autocompress.lm import load_model, perplexity, read_split
from autocompress.lm.corpus import SplitName

SHARED = Path(__file__).resolve().parents[3] / "shared"
pytestmark = pytest.mark.skipif(
    not (SHARED / "models" / "ptb-small").is_dir(),
    reason="needs the trained model and the Penn Treebank in ../shared",
)


@pytest.mark.parametrize(
    ("split", "words", "expected"),
    [
        ("valid", 73_760, 117.19),
        pytest.param("test", 82_430, 113.05, marks=pytest.mark.slow),
    ],
)
def test_perplexity_of_the_trained_model(split: SplitName, words: int, expected: float) -> None:
    model, vocabulary = load_model(SHARED / "models" / "ptb-small")
    tokens = read_split(SHARED / "data" / "ptb", split, vocabulary)
    assert len(tokens) == words
    assert perplexity(model, tokens) == pytest.approx(expected, abs=0.01)
