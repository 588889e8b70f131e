"""Several models, each in memory only as long as it is at work, and a first look at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from torch import nn

from autocompress.encoding.budgets import extent_of
from autocompress.errors import ModelError, SearchError
from autocompress.knowledge.guarded import GuardedTask
from autocompress.knowledge.identity import same_number
from autocompress.knowledge.weights import ModelWeights
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.metric import cost
from autocompress.searching.beginning import OTHER_ENGINE, FirstLook
from autocompress.searching.several.joined import Seen
from autocompress.support import progress
from autocompress.support.files import is_plain_name
from autocompress.support.memory import give_back


@dataclass(frozen=True)
class Candidate:
    """One of several models.

    Attributes:
        name: What it is called, which no other one is; also that of its folder.
        load: Gives the model, each time the same.
    """

    name: str
    load: Callable[[], nn.Module]


def unique_names(names: Iterable[str]) -> list[str]:
    """Return names that differ, and that a folder can have: the second "net" is "net-2".

    Raises:
        ModelError: If one cannot be the name of a folder.
    """
    found: list[str] = []
    for name in names:
        if not is_plain_name(name) or ":" in name:
            raise ModelError(
                f"the name of a model must be one that a folder can have, but got {name!r}; "
                "choose another `name`"
            )
        number, one = 1, name
        while one.casefold() in [other.casefold() for other in found]:
            number += 1
            one = f"{name}-{number}"
        found.append(one)
    return found


def look_at(
    candidates: Sequence[Candidate], task: GuardedTask, known: Sequence[Seen]
) -> tuple[Seen, ...]:
    """Look at each model in turn; what is known of one is not found anew.

    Where a task does not identify its data, each model is scored again, and compared.

    Raises:
        ModelError: If one cannot be compressed.
        TaskError: If the task raises an exception, or gives what it must not.
        SearchError: If the data have changed.
    """
    found = []
    for candidate in candidates:
        model = candidate.load()
        before = next((one for one in known if one.name == candidate.name), None)
        found.append(_look(candidate.name, model, task, before))
        del model
        give_back()
    return tuple(found)


def _look(name: str, model: nn.Module, task: GuardedTask, before: Seen | None) -> Seen:
    digest = ModelWeights.of(model).sha256
    is_known = before is not None and before.sha256 == digest
    if before is not None and is_known and task.identifies_data:
        return before
    extent = extent_of(model, task)
    progress.say(f"{name}: evaluating the model as it is")
    score, batches = FirstLook.of(model, task)
    progress.say(f"{name}: {task.metric} {score:.4f}, {format_bytes(extent.whole)} uncompressed")
    if before is not None and is_known and not same_number(score, before.score, OTHER_ENGINE):
        raise SearchError(
            f"the {task.metric} of the uncompressed {name} was {before.score:.6g} when the search "
            f"began and is {score:.6g} now: the task or its data have changed; choose another "
            "--out"
        )
    return Seen(name, digest, extent.least, extent.whole, extent.n_weights, score, batches)


def reference_of(seen: Sequence[Seen], task: GuardedTask) -> Seen:
    """Return the model that relative numbers refer to: of the best metric, the smallest."""
    return min(seen, key=lambda one: (cost(one.score, task.direction), one.size_bytes))


def sha256_of(seen: Iterable[Seen]) -> str:
    """Hash several models, in order."""
    return sha256(" ".join(one.sha256 for one in seen).encode()).hexdigest()
