"""Which of several models gets the next trials: first openings for each, then as the front says.

Decided by what is finished alone, so that a search that was interrupted goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from autocompress.outcome.names import SIZE
from autocompress.outcome.results import SearchResult
from autocompress.support.files import kept_json, write_json

SCHEDULE = "schedule.json"
_OPENINGS, _BLOCK = 6, 4
_SHARE_OF_OPENINGS = 2  # of the trials, at most one in so many


@dataclass(frozen=True)
class Turn:
    """Trials of one model in a row.

    Attributes:
        model: Its name.
        until: How many trials of it have ended when the turn is over.
    """

    model: str
    until: int


@dataclass(frozen=True)
class Schedule:
    """What was decided so far.

    Attributes:
        left_out: By the name of a model, why it gets no trials.
        opened: The models whose first trials are through.
        turn: What is under way, or None.
    """

    left_out: Mapping[str, str] = field(default_factory=dict)
    opened: tuple[str, ...] = ()
    turn: Turn | None = None

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read it, or begin a new one."""
        document = kept_json(folder / SCHEDULE, cls._read)
        return cls() if document is None else cls._read(document)

    @classmethod
    def _read(cls, document: Any) -> Self:
        turn = document["turn"]
        return cls(
            {str(name): str(why) for name, why in document["left_out"].items()},
            tuple(map(str, document["opened"])),
            None if turn is None else Turn(str(turn["model"]), int(turn["until"])),
        )

    def save(self, folder: Path) -> Self:
        """Make it durable; return it."""
        write_json(folder / SCHEDULE, asdict(self))
        return self

    def without(self, name: str, reason: str) -> Self:
        """Leave a model out."""
        return replace(self, left_out={**self.left_out, name: reason}, turn=None)

    def done(self) -> Self:
        """End the turn."""
        assert self.turn is not None
        opened = tuple(dict.fromkeys([*self.opened, self.turn.model]))
        return replace(self, opened=opened, turn=None)


def n_openings(trials: int, n_models: int) -> int:
    """Return how many trials each model begins with."""
    return max(1, min(_OPENINGS, trials // (_SHARE_OF_OPENINGS * n_models)))


def next_turn(
    schedule: Schedule,
    ended: Mapping[str, int],
    trials: int,
    shares: Mapping[str, float],
) -> Turn | None:
    """Return who is to make trials next, and how many.

    Openings come first, in the order in which the models are named. Further trials are given out
    in blocks, in proportion to what the models bring to the front: the next block goes to the
    highest share for each block that it would then have had (d'Hondt).

    Args:
        schedule: What was decided so far.
        ended: By the name of each model, the cheapest first, how many of its trials have ended.
        trials: How many there are to be in all.
        shares: By name, what a model brings to the front.
    """
    left = trials - sum(ended.values())
    models = [name for name in ended if name not in schedule.left_out]
    if left <= 0 or not models:
        return None
    first = n_openings(trials, len(ended))
    for name in models:
        if name not in schedule.opened:
            return Turn(name, max(first, ended[name]))
    block = max(1, min(_BLOCK, trials // (2 * len(ended))))

    def claim(name: str) -> float:
        return shares.get(name, 0.0) / (max(ended[name] - first, 0) // block + 1)

    chosen = max(models, key=claim)
    if claim(chosen) <= 0:
        return None
    return Turn(chosen, ended[chosen] + min(block, left))


def shares_of(result: SearchResult, models: Sequence[str]) -> dict[str, float]:
    """Return what each model brings to the front, near the limits above all.

    A member counts by how near its file is to the best one's, as the ratio of the two sizes; where
    nothing is limited, all count alike. Those that nobody would take do not count, as long as
    there are others. Where nothing keeps the limits, the model of the nearest has it all.
    """
    members = [one for one in result.front if not result.is_useless(one)] or list(result.front)
    if not members and result.nearest is not None:
        return {str(result.nearest.model): 1.0}
    if not members:
        return dict.fromkeys(models, 1.0)
    shares = dict.fromkeys(models, 0.0)
    for one in members:
        near = 1.0
        if result.best is not None and result.bounds:
            sizes = sorted([one.values[SIZE], result.best.values[SIZE]])
            near = sizes[0] / sizes[1]
        shares[str(one.model)] = shares.get(str(one.model), 0.0) + near
    return shares
