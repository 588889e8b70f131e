"""How long and how a compressed model is fine-tuned."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from autocompress.errors import BudgetError
from autocompress.outcome.limits import parse_seconds
from autocompress.outcome.tracks import Method, Track

_FILES = 5  # that are measured during a tuning without labels, which may be a matter of minutes
_SHOWN = 8  # characters of a hash


@dataclass(frozen=True)
class RecoveryBudget:
    """A limit on fine-tuning: a time, or a number of steps. One of both is given.

    Attributes:
        seconds: Wall time, evaluations left out.
        steps: Training batches. Two runs with equal seeds then give equal bytes.
    """

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.seconds, self.steps) if limit is not None]
        if len(limits) != 1 or limits[0] <= 0:
            raise BudgetError(
                f"recovery needs either a time or a number of steps above zero, but got "
                f"seconds={self.seconds}, steps={self.steps}"
            )

    @classmethod
    def parse(cls, text: str | RecoveryBudget) -> RecoveryBudget:
        """Understand "90s", "10m", "1h" and "2000 steps".

        Raises:
            BudgetError: If the text is neither.
        """
        if isinstance(text, RecoveryBudget):
            return text
        match = re.fullmatch(r"\s*([0-9]+)\s*steps\s*", text)
        if match is not None:
            return cls(steps=int(match.group(1)))
        try:
            return cls(seconds=parse_seconds(text))
        except BudgetError as error:
            raise BudgetError(
                f"a recovery is a time or steps, as 10m or 2000steps, got '{text}'"
            ) from error

    def share(self, seconds: float, steps: int) -> float:
        """Return which share of the limit is used up; at least 1 at its end."""
        if self.steps is not None:
            return steps / self.steps
        assert self.seconds is not None
        return seconds / self.seconds

    def __str__(self) -> str:
        return f"{self.steps} steps" if self.steps is not None else f"{self.seconds:g} s"


@dataclass(frozen=True)
class RecoverySettings:
    """How to fine-tune.

    Attributes:
        budget: How long.
        dropout: Probability of dropping what enters and leaves each layer, in [0, 1).
        learning_rate: Largest step of Adam, in units of each factor's root mean square. It falls
            to zero along half a cosine.
        distillation: Share of the loss that compares with the original model, in [0, 1].
        shrinkage: How strongly numbers that are stored in steps are drawn towards zero: how far,
            in units of the learning rate, for each bit that a further step costs, times the root
            of what a bit is worth in units of the loss.
        segments: Into how many parts the budget is cut; each ends in a checkpoint and a file.
        pipeline: Whether to take the steps of the papers' pipeline one after the other.
        seed: Of dropout and of the order of the data.
        teacher: What tells the teacher from others, where it is not the original model; a search
            fills it in.
    """

    budget: RecoveryBudget = field(default_factory=lambda: RecoveryBudget(seconds=600))
    dropout: float = 0.15
    learning_rate: float = 0.005
    distillation: float = 0.0
    shrinkage: float = 10.0
    segments: int = 10
    pipeline: bool = False
    seed: int = 0
    teacher: str | None = None

    def __post_init__(self) -> None:
        for rule, holds, name in (
            ("0 <= dropout < 1", 0 <= self.dropout < 1, "dropout"),
            ("learning_rate > 0", self.learning_rate > 0, "learning_rate"),
            ("0 <= distillation <= 1", 0 <= self.distillation <= 1, "distillation"),
            ("shrinkage >= 0", self.shrinkage >= 0, "shrinkage"),
            ("segments >= 1", self.segments >= 1, "segments"),
        ):
            if not holds:
                raise BudgetError(
                    f"recovery needs `{rule}`, but got {name}={getattr(self, name):g}"
                )

    @classmethod
    def label_free(cls, budget: RecoveryBudget, seed: int = 0) -> RecoverySettings:
        """Return how to tune towards the original's predictions alone, unless told otherwise."""
        return cls(budget, distillation=1.0, segments=_FILES, seed=seed)

    @property
    def track(self) -> Track:
        """Where the result belongs: what sees no label is tuned, all else recovered."""
        return "tuned" if self.distillation == 1 else "recovered"

    @property
    def control_stays(self) -> bool:
        """Whether the uncompressed model, fine-tuned alike, stays exactly what it is.

        Towards its own predictions alone, and without noise, it has nothing to learn.
        """
        return self.track == "tuned" and not self.dropout and self.teacher is None

    @property
    def method(self) -> Method:
        """What the folder of a fine-tuned model says of these settings."""
        return Method(self.track, self.label(), self.control_stays)

    @property
    def key(self) -> str:
        """Tell these settings apart from all others, in the name of a file or a folder."""
        fields = asdict(self, dict_factory=_canonical)
        if self.teacher is None:
            del fields["teacher"]  # which earlier versions did not know
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return f"{str(self.budget).replace(' ', '')}-{digest[:8]}"

    def label(self) -> str:
        """Tell the budget, and of the other settings those that are not as usual."""
        usual = RecoverySettings(self.budget)
        if self.track == "tuned":
            usual = RecoverySettings.label_free(self.budget)
        changed = [
            f"{name}={value[:_SHOWN] if isinstance(value, str) else f'{value:g}'}"
            for name, value in vars(self).items()
            if name != "budget" and value != getattr(usual, name)
        ]
        return " ".join([str(self.budget), *changed])


def _canonical(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return fields of which equal ones are written alike, such as 600 and 600.0."""
    return {name: float(v) if isinstance(v, (int, float)) else v for name, v in fields}
