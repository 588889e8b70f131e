"""Registries: decorators, entry points of other packages, and names that nobody knows."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ValidationError

from autocompress import registry
from autocompress.errors import AutocompressError, RegistryError
from autocompress.registry import ByKind, Registry

GROUP = "autocompress.tests"
Loads = list[str]


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loads]:
    """Let other packages have entry points, name=value; tell which groups are asked for."""
    asked: Loads = []

    def install(**values: str) -> Loads:
        def found(group: str) -> list[EntryPoint]:
            asked.append(group)
            return [EntryPoint(name, value, group) for name, value in values.items()]

        monkeypatch.setattr(registry, "entry_points", found)
        return asked

    return install


def test_what_is_registered_is_found_in_its_order(points: Callable[..., Loads]) -> None:
    points()
    known: Registry[object] = Registry("thing", GROUP)
    assert known.register("b")(int) is int
    known.register("a")(str)
    assert dict(known) == {"b": int, "a": str}
    assert list(known) == ["b", "a"]


def test_a_name_is_registered_once() -> None:
    known: Registry[object] = Registry("thing", GROUP)
    known.register("one")(1)
    with pytest.raises(RegistryError, match="thing 'one' is registered already, as 1; choose"):
        known.register("one")(2)
    assert known["one"] == 1


def test_an_unknown_name_lists_the_known_ones(points: Callable[..., Loads]) -> None:
    points()
    known: Registry[object] = Registry("thing", GROUP)
    known.register("one")(1)
    known.register("two")(2)
    with pytest.raises(AutocompressError) as error:
        known["three"]
    assert str(error.value) == "unknown thing 'three'; known are one, two"
    assert known.get("three") is None
    assert "three" not in known


def test_entry_points_are_loaded_by_the_first_miss_and_once(points: Callable[..., Loads]) -> None:
    asked = points(path="pathlib:Path")
    known: Registry[object] = Registry("thing", GROUP)
    known.register("one")(1)
    assert known["one"] == 1
    assert asked == []
    assert known["path"].__name__ == "Path"  # type: ignore[attr-defined]
    assert "other" not in known
    assert list(known) == ["one", "path"]
    assert asked == [GROUP]


def test_a_broken_entry_point_takes_nothing_else_with_it(points: Callable[..., Loads]) -> None:
    points(broken="no_such_package:Thing", path="pathlib:Path", one="pathlib:Path")
    known: Registry[object] = Registry("thing", GROUP)
    known.register("one")(1)
    with (
        pytest.warns(UserWarning, match=r"thing 'broken' .*: ModuleNotFoundError.*uninstall"),
        pytest.warns(UserWarning, match=r"thing 'one' .*the name is taken by 1"),
    ):
        assert "path" in known
    assert known["one"] == 1
    with pytest.raises(
        RegistryError, match=r"'broken' cannot be loaded .*no_such_package.*; repair"
    ):
        known["broken"]


class Shape(BaseModel):
    kind: str


class Circle(Shape):
    kind: Literal["circle"] = "circle"
    radius: float


class Square(Shape):
    kind: Literal["square"] = "square"


class Hexagon(Shape):
    kind: Literal["hexagon"] = "hexagon"


SHAPES: Registry[type[Shape]] = Registry("shape", GROUP)
SHAPES.register("circle")(Circle)
SHAPES.register("square")(Square)


class Drawing(BaseModel):
    shape: Annotated[Shape, ByKind(SHAPES)]
    angular: Annotated[Shape, ByKind(SHAPES, accepts=lambda one: one is not Circle)] = Square()


def test_a_field_by_kind_survives_json() -> None:
    drawing = Drawing(shape=Circle(radius=2))
    text = '{"shape":{"kind":"circle","radius":2.0},"angular":{"kind":"square"}}'
    assert drawing.model_dump_json() == text
    assert Drawing.model_validate_json(text) == drawing


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({"kind": "cube"}, ("shape",), "'cube' .*expected tags: 'circle', 'square'"),
        ({"kind": []}, ("shape",), "does not match"),
        ({}, ("shape",), "Unable to extract tag"),
        (3, ("shape",), "valid dictionary"),
        ({"kind": "circle", "radius": "wide"}, ("shape", "circle", "radius"), "valid number"),
    ],
)
def test_errors_have_the_kind_in_their_path(
    document: object, path: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as error:
        Drawing.model_validate({"shape": document})
    assert [one["loc"] for one in error.value.errors()] == [path]


def test_a_field_may_take_some_kinds_alone() -> None:
    with pytest.raises(ValidationError, match="tag 'circle'"):
        Drawing.model_validate({"shape": Square(), "angular": {"kind": "circle", "radius": 1}})


def test_what_is_registered_later_is_taken_too() -> None:
    with pytest.raises(ValidationError, match="tag 'hexagon'"):
        Drawing.model_validate({"shape": {"kind": "hexagon"}})
    SHAPES.register("hexagon")(Hexagon)
    assert Drawing.model_validate({"shape": {"kind": "hexagon"}}).shape == Hexagon()


def test_what_is_registered_wrongly_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loose(Shape):
        kind: str = "loose"

    wrong = {"ring": Circle, "loose": Loose, "int": int, "hexagon": Hexagon}
    monkeypatch.setattr(SHAPES, "_items", {**SHAPES._items, **wrong})
    assert (
        Drawing.model_validate({"shape": {"kind": "circle", "radius": 1}}).shape.kind == "circle"
    )
    for kind in ("ring", "loose", "int"):
        with pytest.raises(ValidationError, match=r"expected tags: 'circle', 'square', 'hexagon'"):
            Drawing.model_validate({"shape": {"kind": kind}})
