"""Search spaces: TOML files that say what the search may do with which weight."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from autocompress.errors import SpaceError
from autocompress.knowledge.weights import Role, Weight
from autocompress.plan import Runtime, describe_validation_error
from autocompress.precisions import AnyPrecision, Precision
from autocompress.structures import AnyStructure, Structure

Scalar = int | float | str

_INT4 = 4


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Table):
    """All numbers from `low` to `high`; whole numbers if both are; `log` for even ratios."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"`low < high` must hold, but got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"`low > 0` must hold where log=true, but got low={self.low}")
        return self


def _form(value: Any) -> str:
    """Tell the forms of `Values` apart, so that an error is about the form that was meant."""
    if isinstance(value, dict | Range):
        return "range"
    return "list" if isinstance(value, list | tuple) else "value"


Values = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[tuple[Scalar, ...], Field(min_length=1), Tag("list")]
    | Annotated[Scalar, Tag("value")],
    Discriminator(_form),
]
"""What a hyper-parameter may be: a range, one of a list, or a single value."""


def _choice(method: type[Structure] | type[Precision]) -> type[BaseModel]:
    """Make the table that offers a method: its hyper-parameters, each with `Values`.

    A hyper-parameter that is a structure itself becomes such a table again.
    """
    fields: dict[str, Any] = {}
    for name, field in method.model_fields.items():
        if isinstance(field.default, Structure):
            inner = _one_of(get_args(field.annotation))
            default = TypeAdapter(inner).validate_python(field.default.model_dump())
            fields[name] = (inner, default)
        elif name != "kind":
            fields[name] = (Values, ... if field.is_required() else field.default)
    kind = method.model_fields["kind"].default
    fields["kind"] = (Literal[kind], ...)
    return create_model(f"{method.__name__}Choice", __base__=_Table, **fields)


def _one_of(methods: Iterable[type[Structure] | type[Precision]]) -> Any:
    """Return the type of a table that is told apart by its kind."""
    choices: Any = Union[tuple(_choice(method) for method in methods)]  # noqa: UP007
    return Annotated[choices, Field(discriminator="kind")]


def _named_once(choices: tuple[BaseModel, ...]) -> tuple[BaseModel, ...]:
    names = [choice_name(choice) for choice in choices]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"each method may be offered once, but {', '.join(repeated)} is repeated")
    return choices


def choice_name(choice: Any) -> str:
    """Return what a choice is called: its kind and, if it is not dense, that of what is within."""
    inner = getattr(choice, "of", None)
    return choice.kind if inner is None or inner.kind == "dense" else f"{choice.kind} {inner.kind}"


def _offered(methods: Mapping[str, type[Structure] | type[Precision]]) -> Any:
    """Return the type of a list of tables, in which each method occurs once."""
    one: Any = _one_of(methods.values())
    return Annotated[tuple[one, ...], Field(min_length=1), AfterValidator(_named_once)]


def _methods(union: Any) -> dict[str, Any]:
    """Return the classes of a discriminated union by their kind."""
    return {cls.model_fields["kind"].default: cls for cls in get_args(get_args(union)[0])}


STRUCTURES: Mapping[str, type[Structure]] = _methods(AnyStructure)
PRECISIONS: Mapping[str, type[Precision]] = _methods(AnyPrecision)


class Offer(_Table):
    """Structures, precisions and ways to run to choose from, one of each.

    Attributes:
        structures: The structures.
        precisions: The precisions.
        runtimes: In what numbers a weight may run; or "as stored", where its precision decides.
    """

    structures: _offered(STRUCTURES)  # type: ignore[valid-type]
    precisions: _offered(PRECISIONS)  # type: ignore[valid-type]
    runtimes: Literal["as stored"] | Annotated[tuple[Runtime, ...], Field(min_length=1)] = (
        "float32",
    )

    def runtimes_of(self, precision: Mapping[str, Any]) -> tuple[Runtime, ...]:
        """Return in what numbers a weight may run that is stored in a precision.

        As stored, codes of at most 4 bits run in 4 bits and longer ones in 8; all else runs in
        single precision.
        """
        if self.runtimes != "as stored":
            return self.runtimes
        if "bits" not in precision:
            return ("float32",)
        return ("int4",) if precision["bits"] <= _INT4 else ("int8",)


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


class Uniform(_Table):
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


class Space(_Table):
    """A whole search space.

    Attributes:
        description: One line on what it is for.
        rules: The first rule that matches a weight decides what is offered for it.
        sites: What may be done with the stacked weights of a site instead, if anything.
        uniform: The first trials.
        pipeline: Whether recovery takes the steps of the papers one after the other.
        latency: Whether the time that a plan takes in its engine is a further objective.
        engine: What runs the plans: the name of an engine; without it "onnx" where latency
            counts, and else "torch".
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

        Raises:
            SpaceError: If none matches.
        """
        for rule in self.rules:
            if rule.matches(weight, has_frequencies):
                return rule
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
        return Space.model_validate(tomllib.loads(text))
    except OSError as error:
        raise SpaceError(
            f"no search space '{name}': neither a readable file nor one of "
            f"{', '.join(space_names())} ({error.strerror})"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpaceError(f"search space '{name}' is not TOML: {error}") from error
    except ValidationError as error:
        finding = describe_validation_error(error)
        raise SpaceError(f"search space '{name}' is malformed: {finding}") from error


def _shipped() -> Any:
    """Return the folder of TOML files: in the wheel, or beside the package in a checkout."""
    packaged = resources.files("autocompress") / "search_spaces"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "search_spaces"
