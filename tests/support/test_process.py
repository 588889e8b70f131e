"""A process is left as it was found."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kinds import NextToken, made, plan_of

import autocompress
import autocompress.searching.search  # what it imports is not what is looked at
from autocompress.knowledge.source import Source
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.support.process import logging_at, process_kept, randomness_kept


def found() -> dict[str, Any]:
    """Return all of the process that must stay."""
    loggers = [one for one in logging.root.manager.loggerDict.values()
               if isinstance(one, logging.Logger)]  # fmt: skip
    return {
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "logging": {
            one.name: (one.level, one.disabled, one.propagate, list(one.handlers))
            for one in (logging.root, *loggers)
        },
        "threads": torch.get_num_threads(),
        "errors": np.geterr(),
    }


def check_found(before: dict[str, Any]) -> None:
    now = found()
    loggers = {name: now["logging"][name] for name in before["logging"]}
    assert {**now, "logging": loggers} == before


def compress(folder: Path) -> None:
    model, task = made("lstm"), NextToken()
    plan = plan_of(Source.of(model, task), {"kind": "dense"}, 4)
    autocompress.compress(model, plan, task, folder / "model.acz")
    autocompress.load(folder / "model.acz", made("lstm"), factored=True)


def search(folder: Path) -> None:
    settings = RecoverySettings(RecoveryBudget(steps=2), segments=1)
    autocompress.search(
        made("lstm"), NextToken(), budget="4kB", trials=2, out=folder / "run", recovery=settings
    )


class Drawing(NextToken):
    """Draws from all generators wherever it is asked."""

    def forward(self, model: Any, batch: Any) -> Any:
        random.random()
        np.random.random()  # noqa: NPY002
        torch.rand(1)
        return model(batch)


@pytest.mark.parametrize("work", [compress, search])
def test_work_leaves_a_process_as_it_was(work: Callable[[Path], None], tmp_path: Path) -> None:
    before = found()
    work(tmp_path)
    check_found(before)


def test_a_task_that_draws_moves_nothing(tmp_path: Path) -> None:
    model, task = made(), Drawing()
    plan = plan_of(Source.of(model, task), {"kind": "dense"}, 4)
    before = found()
    autocompress.compress(model, plan, task, tmp_path / "model.acz")
    check_found(before)


def change_all() -> KeyError:
    random.random()
    np.random.random()  # noqa: NPY002
    torch.rand(1)
    os.environ["AUTOCOMPRESS_TEST"] = "1"
    del os.environ["PATH"]
    warnings.simplefilter("error")
    logging.root.setLevel(7)
    logging.root.addHandler(logging.NullHandler())
    return KeyError("x")


def test_all_that_is_changed_is_put_back() -> None:
    before = found()
    with process_kept():
        change_all()
        assert found() != before
    check_found(before)
    with pytest.raises(KeyError), process_kept():
        raise change_all()
    check_found(before)


def test_randomness_alone_is_put_back() -> None:
    before = found()
    with randomness_kept():
        random.random()
        np.random.random()  # noqa: NPY002
        torch.rand(1)
        assert found() != before
    check_found(before)


def test_a_level_of_logging_lasts_as_long_as_the_block() -> None:
    logger = logging.getLogger("autocompress.test")
    with logging_at(logging.CRITICAL, logger.name):
        assert logger.level == logging.CRITICAL
    assert logger.level == logging.NOTSET
