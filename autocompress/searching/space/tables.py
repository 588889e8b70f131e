"""Tables of search spaces: what each hyper-parameter of a method may be."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    create_model,
    model_validator,
)

from autocompress.precisions import PRECISIONS
from autocompress.registry import ByKind
from autocompress.structures import STRUCTURES, Priced, Scaled, marker, method_name

Number = int | Annotated[float, Field(allow_inf_nan=False)]
Scalar = Number | str


class Table(BaseModel):
    """A table of a search space."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Table):
    """All numbers from `low` to `high`; whole numbers if both are; `log` for even ratios."""

    low: Number
    high: Number
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


@cache
def choice(method: type[BaseModel]) -> type[Table]:
    """Make the table that offers a method: its hyper-parameters, each with `Values`.

    A hyper-parameter that is a method itself becomes such a table again.
    """
    fields: dict[str, Any] = {}
    for name, field in method.model_fields.items():
        within = [one for one in field.metadata if isinstance(one, ByKind)]
        default = ... if field.is_required() else field.get_default(call_default_factory=True)
        if within:
            table: Any = Annotated[Any, within[0].modelled(choice)]
            if isinstance(default, BaseModel):
                default = TypeAdapter(table).validate_python(default.model_dump())
            fields[name] = (table, default)
        elif name != "kind":
            fields[name] = (Values, default)
    fields["kind"] = (Literal[method.model_fields["kind"].default], ...)
    return create_model(f"{method.__name__}Choice", __base__=Table, **fields)


def _named_once(choices: tuple[BaseModel, ...]) -> tuple[BaseModel, ...]:
    names = [method_name(one) for one in choices]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"each method may be offered once, but {', '.join(repeated)} is repeated")
    return choices


Structures = Annotated[
    tuple[Annotated[Any, ByKind(STRUCTURES, model=choice)], ...],
    Field(min_length=1),
    AfterValidator(_named_once),
]
"""A list of structures, each with the tables of its hyper-parameters."""

Precisions = Annotated[
    tuple[Annotated[Any, ByKind(PRECISIONS, model=choice)], ...],
    Field(min_length=1),
    AfterValidator(_named_once),
]
"""A list of precisions, each with the tables of its hyper-parameters."""


def scale_power(question: str) -> float:
    """Return by what power of the scale of all steps an answer is multiplied; 0 for most."""
    scaled = _marker(question, Scaled)
    return 0.0 if scaled is None else scaled.power


def is_priced(question: str) -> bool:
    """Whether a question is for a hyper-parameter that the price of a bit sets."""
    return _marker(question, Priced) is not None


def _marker(question: str, kind: Any) -> Any:
    """Return the marker of what a question such as "w/low_rank.rank" is about, if it has one."""
    methods, _, field = question.rpartition("/")[2].rpartition(".")
    for name in methods.split():
        for registry in (STRUCTURES, PRECISIONS):
            method = registry.registered.get(name)
            found = None if method is None else marker(method, field, kind)
            if found is not None:
                return found
    return None
