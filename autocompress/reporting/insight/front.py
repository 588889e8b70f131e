"""What the plans of a front have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autocompress.artifact import open_artifact
from autocompress.reporting.insight.choices import method

if TYPE_CHECKING:
    from autocompress.outcome.results import SearchResult


@dataclass(frozen=True)
class FrontUse:
    """How the files of the front store one weight.

    Attributes:
        weight: Its name.
        methods: How many files use a method, the most frequent first.
        bits: Fewest and most bits per weight.
    """

    weight: str
    methods: Mapping[str, int]
    bits: tuple[float, float]


def front_uses(result: SearchResult) -> list[FrontUse]:
    """Tell how the files of the front store each weight, in the order of the first file.

    Raises:
        ArtifactError: If a file of the front cannot be opened.
    """
    methods: dict[str, Counter[str]] = {}
    bits: dict[str, list[float]] = {}
    for scored in result.front:
        artifact = open_artifact(scored.artifact)
        treatments = artifact.plan.treatments
        for line in artifact.report():
            used = methods.setdefault(line.name, Counter())
            used[method(treatments[line.site or line.name])] += 1
            bits.setdefault(line.name, []).append(line.bits_per_weight)
    return [
        FrontUse(name, dict(used.most_common()), (min(bits[name]), max(bits[name])))
        for name, used in methods.items()
    ]
