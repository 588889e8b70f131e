"""Search spaces: TOML files that say what the search may do with which weight."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from autocompress.errors import SpaceError
from autocompress.knowledge.weights import Weight
from autocompress.layers.base import Role
from autocompress.plan import Runtime, describe_validation_error
from autocompress.precisions import Precision
from autocompress.searching.space.tables import Precisions, Scalar, Structures, Table
from autocompress.support.signals import interrupts_held

_LONGEST = 2**18
"""Characters of a space; TOML is read slowly."""


class Offer(Table):
    """Structures, precisions and ways to run to choose from, one of each.

    Attributes:
        structures: The structures.
        precisions: The precisions.
        runtimes: In what numbers a weight may run; or "as stored", where its precision decides.
    """

    structures: Structures
    precisions: Precisions
    runtimes: Literal["as stored"] | Annotated[tuple[Runtime, ...], Field(min_length=1)] = (
        "float32",
    )

    def runtimes_of(self, precision: Precision) -> tuple[Runtime, ...]:
        """Return in what numbers a weight may run that is stored in a precision."""
        return (precision.runs_in,) if self.runtimes == "as stored" else self.runtimes


class Rule(Offer):
    """What may be done with the weights that the rule matches.

    Attributes:
        name: Name of the rule, to which uniform plans refer.
        roles: Roles of the weights, or None for all.
        names: Patterns with "*" and "?", one of which the name must match.
        frequencies: True for weights whose rows have frequencies, False for those without, None
            for both.
    """

    name: str
    roles: tuple[Role, ...] | None = None
    names: tuple[str, ...] = ("*",)
    frequencies: bool | None = None

    def matches(self, weight: Weight, has_frequencies: bool) -> bool:
        """Whether the rule is about a weight."""
        return (
            (self.roles is None or weight.role in self.roles)
            and any(fnmatchcase(weight.name, pattern) for pattern in self.names)
            and (self.frequencies is None or self.frequencies == has_frequencies)
        )

    def names_finely(self, weight: Weight) -> bool:
        """Whether the rule is meant for weights that otherwise keep at least half precision."""
        by_role = self.roles is not None and weight.role == "norm" and weight.role in self.roles
        return by_role or self.names != ("*",)


_FINE = {
    bits: Rule.model_validate(
        {
            "name": f"{bits} bits",
            "structures": [{"kind": "dense"}],
            "precisions": [{"kind": f"float{bits}"}],
        }
    )
    for bits in (16, 32)
}


class Uniform(Table):
    """A plan that treats all weights of a rule alike; such plans are the first trials.

    Attributes:
        label: What to call it.
        rules: By rule name, the structure, the precision and their hyper-parameters.
        ladder: Whether to try it at several scales of all its steps: with a budget from the scale
            at which the file just fits, downwards in size.
    """

    label: str
    rules: dict[str, dict[str, Scalar]]
    ladder: bool = False


class Space(Table):
    """A whole search space.

    Attributes:
        description: One line on what it is for.
        rules: The first rule that matches a weight decides what is offered for it.
        sites: What may be done with the stacked weights of a site instead, if anything.
        uniform: The first trials.
        pipeline: Whether recovery takes the steps of the papers one after the other.
        latency: Whether latency is a further objective.
        engine: What runs the plans; None for ONNX Runtime where latency counts, else for torch.
    """

    description: str
    rules: tuple[Rule, ...] = Field(min_length=1)
    sites: Offer | None = None
    uniform: tuple[Uniform, ...] = ()
    pipeline: bool = False
    latency: bool = False
    engine: str | None = None

    @model_validator(mode="after")
    def _uniform_names_all_rules(self) -> Self:
        names = [rule.name for rule in self.rules]
        for plan in self.uniform:
            if sorted(plan.rules) != sorted(names):
                raise ValueError(
                    f"uniform plan '{plan.label}' must name each of the rules "
                    f"{', '.join(names)} once, but names {', '.join(plan.rules)}"
                )
        return self

    def rule_for(self, weight: Weight, has_frequencies: bool) -> Rule:
        """Return the rule that decides on a weight.

        Weights that need half or single precision get it, unless a rule names them: by patterns,
        or by the role "norm".

        Raises:
            SpaceError: If none matches.
        """
        bits = weight.fewest_bits
        for rule in self.rules:
            if bits and not rule.names_finely(weight):
                continue
            if rule.matches(weight, has_frequencies):
                return rule
        if bits:
            return _FINE[bits]
        raise SpaceError(
            f"no rule of the search space matches weight '{weight.name}' (role {weight.role}); "
            "add one, for instance a last rule without `roles`"
        )


def space_names() -> list[str]:
    """Return the names of the spaces that ship with the package."""
    files = _shipped().iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_space(name_or_path: str | Path) -> Space:
    """Read a search space: one that ships with the package by its name, or any TOML file.

    Raises:
        SpaceError: If there is none, or it is malformed; the message has the path of the key.
    """
    name = str(name_or_path)
    try:
        if name in space_names():
            text = (_shipped() / f"{name}.toml").read_text(encoding="utf-8")
        else:
            text = Path(name_or_path).read_text(encoding="utf-8")
        document = _parsed(text)
        with interrupts_held():
            return Space.model_validate(document)
    except OSError as error:
        raise SpaceError(
            f"no search space '{name}': neither a readable file nor one of "
            f"{', '.join(space_names())} ({error.strerror})"
        ) from error
    except ValidationError as error:
        finding = describe_validation_error(error)
        raise SpaceError(f"search space '{name}' is malformed: {finding}") from error
    except ValueError as error:  # of TOML, of UTF-8, or a number too long to be read
        raise SpaceError(f"search space '{name}' is not TOML: {error}") from error


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text):,} characters, of {_LONGEST:,} that are read")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _shipped() -> Any:
    """Return the folder of TOML files: in the wheel, or beside the package in a checkout."""
    packaged = resources.files("autocompress") / "search_spaces"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "search_spaces"
