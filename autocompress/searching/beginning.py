"""The first seconds of a search: whether task and model are what they should be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from autocompress.engines.torch import TorchEngine
from autocompress.errors import BudgetError, ModelError, SearchError, TaskError
from autocompress.knowledge.guarded import GuardedTask
from autocompress.knowledge.identity import batches_sha256, same_number
from autocompress.layers.copies import beside, untouched
from autocompress.outcome.limits import RISE
from autocompress.searching.folder import SearchFolder
from autocompress.searching.settings import Settings
from autocompress.support import progress
from autocompress.support.files import kept_json, numbers, write_json
from autocompress.support.process import randomness_kept
from autocompress.trial.evaluator import Evaluator

_FILE = "task.json"
OTHER_ENGINE = 1e-3
"""Of a number: kernels of other libraries round otherwise."""


class FirstLook(NamedTuple):
    """What a task says of the user's own model, before any work.

    Attributes:
        score: The metric of the model on "valid".
        batches: Hash of its first calibration batches, or None where they differ each time.
    """

    score: float
    batches: str | None

    @classmethod
    def of(cls, model: nn.Module, task: GuardedTask) -> FirstLook:
        """Take it.

        Raises:
            TaskError: If the task raises an exception, or the metric is no finite number.
        """
        with untouched(model) as twin:
            score = task.evaluate(twin, "valid")
        if not math.isfinite(score):
            raise TaskError(
                f'`task.evaluate(model, "valid")` must give a finite number for the uncompressed '
                f"model, but gave {score}; mend the task or the model"
            )
        return cls(score, batches_sha256(task))

    def compare(self, folder: SearchFolder, metric: str) -> None:
        """Make sure that a search which lies in a folder was begun with the same data.

        Raises:
            SearchError: If it was not; the message names both numbers.
        """
        baseline, known = folder.baseline(), kept_json(folder.path / _FILE, _check)
        if known is None:
            if baseline is None:
                return  # nothing was measured that could be mixed
            known = {"score": baseline[metric], "batches": None}
        if not same_number(self.score, known["score"], OTHER_ENGINE):
            raise SearchError(
                f"the {metric} of the uncompressed model was {known['score']:.6g} when the search "
                f"in '{folder.path}' began and is {self.score:.6g} now: the task or its data have "
                "changed; choose another --out"
            )
        if None not in (self.batches, known["batches"]) and known["batches"] != self.batches:
            raise SearchError(
                f"the calibration batches are others than when the search in '{folder.path}' "
                "began: the data of the task have changed; choose another --out"
            )

    def keep(self, folder: SearchFolder) -> None:
        """Keep it, so that a search is not continued with other data."""
        if not (folder.path / _FILE).exists():
            write_json(folder.path / _FILE, self._asdict())


def _check(document: Any) -> None:
    """Raise for what is not a kept look."""
    numbers({"score": document["score"]})
    if not isinstance(document["batches"], str | None):
        raise TypeError("'batches' is no hash")


def first_look(
    model: nn.Module,
    task: GuardedTask,
    folder: SearchFolder,
    metric: str,
    look: FirstLook | None = None,
) -> FirstLook | None:
    """Evaluate the user's own model; not where a search goes on whose data are identified.

    Args:
        model: The model.
        task: Knows the data.
        folder: Of the search.
        metric: Name of the task's metric.
        look: What was seen already, if anything.

    Raises:
        TaskError: If the task raises an exception, or the metric is no finite number.
        SearchError: If a search that lies in the folder was begun with other data.
    """
    if folder.baseline() is not None and task.identifies_data:
        return None
    if look is None:
        progress.say("evaluating the model as it is")
        look = FirstLook.of(model, task)
    look.compare(folder, metric)
    return look


@randomness_kept()
def has_losses(model: nn.Module, task: GuardedTask) -> bool:
    """Whether a task has training losses; the first one is looked at.

    Raises:
        TaskError: If it is no finite number, or the task raises an exception.
    """
    with untouched(model) as twin:
        loss = next(task.training_losses(twin, beside(twin), 0.0, 0), None)
    if loss is not None and not math.isfinite(loss.item()):
        raise TaskError(
            "`task.training_losses(...)` must yield finite losses, but the first one of the "
            f"uncompressed model is {loss.item()}"
        )
    return loss is not None


def measured_baseline(
    evaluator: Evaluator, folder: SearchFolder, model: nn.Module, look: FirstLook | None
) -> Mapping[str, float]:
    """Return the numbers of the uncompressed model, stored and reloaded; measured once.

    Raises:
        TaskError, ModelError: If its metric is not that of the model which the user handed in.
    """
    baseline = folder.baseline() or _measured(evaluator, folder, model, look)
    if look is not None:
        look.keep(folder)
    return baseline


def _measured(
    evaluator: Evaluator, folder: SearchFolder, model: nn.Module, look: FirstLook | None
) -> dict[str, float]:
    progress.say("measuring the uncompressed model, stored and reloaded")
    known = evaluator.baseline(folder.artifact(None))
    if look is not None:
        _compare(evaluator, model, look.score, known[evaluator.task.metric])
    folder.save_baseline(known)
    return known


def _compare(evaluator: Evaluator, model: nn.Module, own: float, reloaded: float) -> None:
    is_torch = isinstance(evaluator.engine, TorchEngine)
    if same_number(own, reloaded) or (not is_torch and same_number(own, reloaded, OTHER_ENGINE)):
        return
    metric = evaluator.task.metric
    rule = (
        f"the {metric} of the uncompressed model must be the same when it is stored and reloaded, "
        f"but is {own:.6g} as handed in and {reloaded:.6g} reloaded"
    )
    with untouched(model) as twin:
        again = evaluator.task.evaluate(twin, "valid")
    if not same_number(own, again):
        raise TaskError(
            f"{rule}: `task.evaluate` gives {again:.6g} when it is called again, and must give "
            "the same for the same model; fix its data and its random numbers"
        )
    raise ModelError(
        f"{rule}: perhaps the model computes with something that is not in its state dict, or "
        "`task.evaluate` keeps a state of its own or looks at another model than it is given"
    )


def check_rise(settings: Settings, baseline: float) -> None:
    """Refuse a limit that is a share of nothing.

    Raises:
        BudgetError: If the rise is limited to a share, and the baseline is 0.
    """
    limit = settings.asked.get(settings.metric)
    is_share = limit is not None and limit.unit == RISE and limit.bound > 0
    if is_share and baseline == 0:
        raise BudgetError(
            f"a rise by {limit} is a share of the uncompressed model's {settings.metric}, but "
            'that is 0; state a difference in its own unit, such as `max_rise="+0.5"` '
            "(--max-rise +0.5)"
        )
