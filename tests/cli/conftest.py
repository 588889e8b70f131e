"""A corpus, a model and a search that all tests of commands share."""

from pathlib import Path

import pytest
from commands import Done, run_alone
from toys import toy_corpus, toy_model


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_corpus(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    return toy_model(tmp_path_factory.mktemp("model") / "toy-lm", corpus)


@pytest.fixture(scope="session")
def searched(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, model: Path
) -> tuple[Path, Done]:
    out = tmp_path_factory.mktemp("out") / "search"
    options = ["--data", corpus, "--budget", "8kB", "--trials", "12", "--out", out, "--json"]
    return out, run_alone("search", model, *options)
