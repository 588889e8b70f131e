"""From a search space and answers to its questions to a plan. Knows nothing of Optuna."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Protocol

from pydantic import ValidationError

from autocompress.encoding.encoder import Encoder
from autocompress.errors import PlanError, SpaceError
from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan, Treatment, describe_validation_error
from autocompress.precisions import PRECISIONS
from autocompress.searching.space.language import Offer, Space, Uniform
from autocompress.searching.space.tables import Range, Scalar, Table, scale_power
from autocompress.structures import (
    STRUCTURES,
    Shape,
    Share,
    marker,
    method_name,
    stacked_shape,
)
from autocompress.support.signals import interrupts_held

RUNTIME = "runtime"


class Asker(Protocol):
    """Answers the questions of a search space; an Optuna trial is one kind."""

    def pick(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        """Choose one of at least two options."""

    def pick_number(self, name: str, interval: Range) -> int | float:
        """Choose a number of an interval."""


def ask_plan(space: Space, source: Source, asker: Asker) -> CompressionPlan:
    """Make a plan by asking for every choice that a space offers for a model.

    A question's name starts with the weight or site, as in "lstm.weight_hh_l0/pruned.sparsity".
    Questions that follow from a choice are asked only where it was made; the range of a question
    never depends on other answers.

    Raises:
        SpaceError: If no rule matches a weight, or an answer is out of a method's range.
    """
    treatments: dict[str, Treatment] = {}
    shared: set[str] = set()
    if space.sites is not None:
        for site in source.calibration.sites:
            if asker.pick(f"{site.name}/shared", ("no", "yes")) == "yes":
                treatments[site.name] = ask_treatment(site.name, space.sites, source, asker)
                shared.update(site.members)
    for name, weight in source.weights.weights.items():
        if name not in shared:
            rule = space.rule_for(weight, name in source.calibration.row_frequencies)
            treatments[name] = ask_treatment(name, rule, source, asker)
    return CompressionPlan(treatments=treatments)


def ask_treatment(name: str, offer: Offer, source: Source, asker: Asker) -> Treatment:
    """Make the treatment of one weight or site by asking for every choice that is offered.

    Raises:
        SpaceError: If an answer is out of a method's range.
    """
    shape = stacked_shape([weight.values.shape for weight in source.members(name)])
    parts = {}
    for part, choices in (("structure", offer.structures), ("precision", offer.precisions)):
        named = {method_name(choice): choice for choice in choices}
        picked = str(_ask(f"{name}/{part}", tuple(named), asker))
        parts[part] = _ask_method(f"{name}/{picked}", named[picked], asker)
    treatment = _treatment(name, parts, shape)
    runtime = _ask(f"{name}/{RUNTIME}", offer.runtimes_of(treatment.precision), asker)
    return treatment.model_copy(update={"runtime": runtime})


def _ask_method(name: str, choice: Any, asker: Asker) -> dict[str, Any]:
    """Ask for all hyper-parameters of a method, and of a structure within it."""
    answers: dict[str, Any] = {"kind": choice.kind}
    for field, values in _hyperparameters(choice):
        nested = isinstance(values, Table) and not isinstance(values, Range)
        answers[field] = (
            _ask_method(name, values, asker) if nested else _ask(f"{name}.{field}", values, asker)
        )
    return answers


def _hyperparameters(choice: Table) -> Iterator[tuple[str, Any]]:
    return ((field, value) for field, value in choice if field != "kind")


def _ask(name: str, values: Any, asker: Asker) -> Scalar:
    if isinstance(values, Range):
        return asker.pick_number(name, values)
    options = values if isinstance(values, tuple) else (values,)
    return asker.pick(name, options) if len(options) > 1 else options[0]


def _treatment(name: str, parts: Mapping[str, Mapping[str, Any]], shape: Shape) -> Treatment:
    scaled = {
        "structure": _absolute(parts["structure"], STRUCTURES, shape),
        "precision": _absolute(parts["precision"], PRECISIONS, shape),
    }
    try:
        with interrupts_held():
            return Treatment.model_validate(scaled)
    except ValidationError as error:
        finding = describe_validation_error(error)
        raise SpaceError(f"the search space offers '{name}' the impossible: {finding}") from error


def _absolute(part: Mapping[str, Any], methods: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Turn a share of the shape, such as rank 0.5, into a number: 0.5 * min(rows, cols)."""
    method = methods[part["kind"]]

    def absolute(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _absolute(value, methods, shape)
        share = isinstance(value, float) and marker(method, name, Share) is not None
        return max(1, round(value * min(shape))) if share else value

    return {name: absolute(name, value) for name, value in part.items()}


class Replay:
    """Answers as was answered before, with all steps times a scale, held within their ranges.

    Attributes:
        answers: The answers given so far, by the names of the questions.
    """

    def __init__(self, before: Mapping[str, Scalar], scale: float = 1.0) -> None:
        self.answers: dict[str, Scalar] = {}
        self._before, self._scale = before, scale

    def pick(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        """Choose what was chosen."""
        del options
        return self.answers.setdefault(name, self._before[name])

    def pick_number(self, name: str, interval: Range) -> int | float:
        """Choose what was chosen, scaled."""
        answer = self._before[name]
        assert not isinstance(answer, str)
        power = scale_power(name)
        if power:
            answer = min(max(answer * self._scale**power, interval.low), interval.high)
        self.answers[name] = answer
        return answer


class UniformAsker:
    """Answers as a uniform plan says, keeping the answers for others to repeat.

    Attributes:
        answers: The answers given so far, by the names of the questions.
    """

    def __init__(self, plan: Uniform, space: Space, source: Source) -> None:
        self.answers: dict[str, Scalar] = {}
        self._plan = plan
        frequencies = source.calibration.row_frequencies
        self._rules = {
            name: space.rule_for(weight, name in frequencies).name
            for name, weight in source.weights.weights.items()
        }

    def pick(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        """Choose what the plan says; never to share a site."""
        answer = "no" if name.endswith("/shared") else self._prescribed(name)
        if answer not in options:
            raise SpaceError(
                f"uniform plan '{self._plan.label}' wants {answer!r} for '{name}', "
                f"but the rule offers {', '.join(map(repr, options))}"
            )
        return self.answers.setdefault(name, answer)

    def pick_number(self, name: str, interval: Range) -> int | float:
        """Choose what the plan says."""
        answer = self._prescribed(name)
        if isinstance(answer, str) or not interval.low <= answer <= interval.high:
            raise SpaceError(
                f"uniform plan '{self._plan.label}' wants {answer!r} for '{name}', "
                f"but the rule offers {interval.low} to {interval.high}"
            )
        self.answers[name] = answer
        return answer

    def _prescribed(self, name: str) -> Scalar:
        weight, question = name.rsplit("/", 1)
        rule = self._rules[weight]
        key = question.rsplit(".", 1)[-1]
        if key not in self._plan.rules[rule]:
            raise SpaceError(
                f"uniform plan '{self._plan.label}' does not say '{key}' for rule '{rule}'"
            )
        return self._plan.rules[rule][key]


def smallest_plan(space: Space, encoder: Encoder) -> CompressionPlan:
    """Return the plan of the fewest bytes among those at the ends of all ranges.

    Each weight is encoded by every offered combination, the hyper-parameters at their extremes.
    """
    treatments, source = {}, encoder.source
    for name, weight in source.weights.weights.items():
        rule = space.rule_for(weight, name in source.calibration.row_frequencies)
        sizes: dict[Treatment, int] = {}
        for treatment in _extremes(name, rule, source):
            try:
                sizes[treatment] = len(encoder.encode(name, treatment)[1])
            except PlanError:
                continue  # a combination that does not fit cannot be the smallest
        if not sizes:
            raise SpaceError(f"nothing that the search space offers fits weight '{name}'")
        treatments[name] = min(sizes, key=lambda treatment: sizes[treatment])
    return CompressionPlan(treatments=treatments)


def _extremes(name: str, offer: Offer, source: Source) -> Iterator[Treatment]:
    shape = stacked_shape([weight.values.shape for weight in source.members(name)])
    structures = [part for choice in offer.structures for part in _corners(choice)]
    precisions = [part for choice in offer.precisions for part in _corners(choice)]
    for structure, precision in product(structures, precisions):
        parts = {"structure": structure, "precision": precision}
        treatment = _treatment(name, parts, shape)
        runtime = offer.runtimes_of(treatment.precision)[0]
        yield treatment.model_copy(update={"runtime": runtime})


def _corners(choice: Any) -> Iterator[dict[str, Any]]:
    names: list[str] = []
    options: list[tuple[Any, ...]] = []
    for field, values in _hyperparameters(choice):
        names.append(field)
        if isinstance(values, Range):
            options.append((values.low, values.high))
        elif isinstance(values, Table):
            options.append(tuple(_corners(values)))
        else:
            options.append(values if isinstance(values, tuple) else (values,))
    for corner in product(*options):
        yield {"kind": choice.kind, **dict(zip(names, corner, strict=True))}
