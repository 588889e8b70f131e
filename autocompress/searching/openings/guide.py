"""What a search tries before the sampler: allocations, and the plans that its space names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autocompress.encoding.encoder import Encoder
from autocompress.outcome.origin import Aim, Origin
from autocompress.outcome.results import TrialResult
from autocompress.searching.openings.chase import Chase
from autocompress.searching.openings.planning import Goals, Planning
from autocompress.searching.openings.uniform import Family, Opening
from autocompress.searching.space.language import Space
from autocompress.searching.space.questions import Replay, ask_plan
from autocompress.searching.space.tables import Scalar
from autocompress.support.files import kept_json, parsed_json, write_json
from autocompress.support.threads import one_thread


class Guide:
    """The openings of a search, in order; what it is made of is kept in a file."""

    def __init__(self, space: Space, encoder: Encoder, goals: Goals, kept: Path) -> None:
        """Plan the openings, or read them where that was done before.

        Args:
            space: What is offered.
            encoder: Of the model, with its sensitivities.
            goals: What they aim at.
            kept: The file; it belongs to one search.
        """
        self._space, self._source = space, encoder.source
        self._chases: list[Chase] = []
        self._fixed: list[tuple[Origin, Mapping[str, Scalar]]] = []
        if kept_json(kept, self._take) is None:
            with one_thread():
                write_json(kept, _document(Planning(space, encoder, goals)))
            self._take(parsed_json(kept.read_text(encoding="utf-8")))

    def _take(self, document: Any) -> None:
        """Take over what a file says.

        Raises:
            TypeError, LookupError, AttributeError: If it is not what `_document` gave.
            ValueError: If an answer is none that the space offers.
        """
        self._chases = [
            Chase(
                Family(one["family"], one["answers"]),
                one["first"],
                one["rise"],
                is_spare=one.get("spare", False),
            )
            for one in document["chases"]
        ]
        self._fixed = [
            (Origin(one["label"], one["family"], Aim(**one["aim"])), one["answers"])
            for one in document["openings"]
        ]
        for origin, answers in self._fixed:
            self._opening(origin, answers)

    def known(self) -> Iterator[Opening]:
        """Yield the openings that are known in advance, those fitted to a budget first."""
        for origin, answers in self._fixed:
            yield self._opening(origin, answers)

    def next(
        self,
        begun: Collection[Origin],
        results: Sequence[TrialResult],
        rise_of: Callable[[TrialResult], float],
        is_slow: Callable[[TrialResult], bool],
    ) -> Opening | None:
        """Return the next opening, or None where it is the sampler's turn.

        Args:
            begun: Origins of all trials that were begun.
            results: All finished trials.
            rise_of: Tells the rise of the metric over the baseline.
            is_slow: Tells whether a limit on the latency was missed: other steps will not help.
        """
        keys = {(origin.family, origin.aim) for origin in begun}
        cared_for: set[float] = set()
        for chase in self._chases:
            own = [result for result in results if _is_of(result, chase)]
            if chase.is_spare and chase.max_rise in cared_for:
                continue
            if any(map(is_slow, own)):
                cared_for.add(chase.max_rise)
                continue
            scale, origin = chase.scale(own, rise_of), _origin(chase, len(own) + 1)
            if scale is not None or any(rise_of(one) <= chase.max_rise for one in own):
                cared_for.add(chase.max_rise)
            if scale is not None and (origin.family, origin.aim) not in keys:
                opening = chase.family.at(scale, self._space, self._source)
                return replace(opening, origin=origin)
        for origin, answers in self._fixed:
            if (origin.family, origin.aim) not in keys:
                return self._opening(origin, answers)
        return None

    def _opening(self, origin: Origin, answers: Mapping[str, Scalar]) -> Opening:
        return Opening(origin, answers, ask_plan(self._space, self._source, Replay(answers)))


def _document(planning: Planning) -> dict[str, Any]:
    chases = [
        {
            "family": chase.family.name,
            "rise": chase.max_rise,
            "first": chase.first,
            "spare": chase.is_spare,
            "answers": dict(chase.family.answers),
        }
        for chase in planning.chases
    ]
    openings = []
    for opening in planning.openings:
        label, family, aim = opening.origin
        assert aim is not None
        answers = dict(opening.answers)
        openings.append({"label": label, "family": family, "aim": asdict(aim), "answers": answers})
    curve = None if planning.curve is None else asdict(planning.curve)
    return {"chases": chases, "openings": openings, "curve": curve}


def _is_of(result: TrialResult, chase: Chase) -> bool:
    """Whether a trial is one of a chase's plans."""
    aim = result.aim
    if aim is None or result.family != chase.family.name:
        return False
    return aim.of == "rise" and aim.value == chase.max_rise


def _origin(chase: Chase, attempt: int) -> Origin:
    label = f"{chase.family.name} for {100 * chase.max_rise:+.3g} %, aim {attempt}"
    return Origin(label, chase.family.name, Aim("rise", chase.max_rise, attempt))
