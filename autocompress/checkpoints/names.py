"""The names by which the same weights are known: bare, or with what wraps a model before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_WRAPPERS = {"module", "_orig_mod"}
"""What `DataParallel` and `torch.compile` put into names, wherever in a model they are used."""
_MOST_PREFIXES = 8
_RECURRENT = "rnn"
"""How an attribute is often called that holds an LSTM or a GRU."""


@dataclass(frozen=True)
class Renaming:
    """Other names for all tensors of a checkpoint.

    Attributes:
        names: From the name in the file to the other name.
        done: What was done to the names, for people; None if nothing was.
    """

    names: Mapping[str, str]
    done: str | None = None


def bare(name: str) -> str:
    """Return a name without what `DataParallel` and `torch.compile` put into it."""
    parts = name.split(".")
    return ".".join(part for part in parts if part not in _WRAPPERS) or name


def renamings(names: Iterable[str], wanted: Iterable[str] = ()) -> Iterator[Renaming]:
    """Yield the names as they are, and then with more and more taken off that they share.

    Args:
        names: In the file.
        wanted: What is looked for: where it knows no part `rnn`, but an `lstm` or a `gru`, that
            is tried for `rnn`.
    """
    names = list(names)
    yield Renaming({name: name for name in names})
    kinds = {part for name in wanted for part in name.split(".")}
    others = [kind for kind in ("lstm", "gru") if kind in kinds and _RECURRENT not in kinds]
    current = {name: bare(name) for name in names}
    for _ in range(_MOST_PREFIXES):
        if len(set(current.values())) < len(names):
            return
        taken = _taken_off(current)
        yield Renaming(dict(current), taken)
        for kind in others:
            called = {name: _called(new, kind) for name, new in current.items()}
            if called != current:
                parts = [taken] if taken else []
                yield Renaming(called, "; ".join([*parts, f"'{_RECURRENT}.' read as '{kind}.'"]))
        shared = {new.partition(".")[0] for new in current.values()}
        if len(shared) != 1 or not all("." in new for new in current.values()):
            return
        current = {name: new.partition(".")[2] for name, new in current.items()}


def _called(name: str, kind: str) -> str:
    return ".".join(kind if part == _RECURRENT else part for part in name.split("."))


def _taken_off(current: Mapping[str, str]) -> str | None:
    taken = {name.removesuffix(new) for name, new in current.items() if name.endswith(new)}
    if taken == {""}:
        return None
    if len(taken) == 1 and all(name.endswith(new) for name, new in current.items()):
        return f"prefix '{taken.pop()}' taken off the names"
    return "'module.' and '_orig_mod.' taken out of the names"
