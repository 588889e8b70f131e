"""The contract of the rooms: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "autocompress"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = (
    *("errors", "registry", "support", "structures", "precisions", "coders", "plan"),
    *(
        "architectures",
        "artifact",
        "outcome",
        "layers",
        "knowledge",
        "tasks",
        "weights",
        "checkpoints",
        "encoding",
        "engines",
    ),
    *("lm", "trial", "recovery", "reporting", "tracking", "searching", "reproduction"),
    *("__init__", "testing", "cli", "__main__"),
)
"""A room may import those before it, and itself."""
ONLY_FOR = {"lm": {"cli"}, "testing": set[str](), "cli": {"__main__"}}
"""Rooms that not even all later ones may import."""
ONE_HOME = {
    "optuna": {"searching/study.py", "searching/samplers.py", "searching/journal.py"},
    "mlflow": {"tracking"},
    "sqlalchemy": {"tracking"},
    "onnx": {"engines/onnx", "lm/onnx"},
    "onnxruntime": {"engines/onnx", "lm/onnx"},
    "click": {"cli"},
    "constriction": {"coders"},
    "matplotlib": {"reporting"},
    "dask": {"searching/executors"},
    "distributed": {"searching/executors"},
}
NUMPY_ONLY = ("structures", "precisions", "coders", "artifact", "outcome", "reporting", "tracking")
WORDS = re.compile(r"recurrent_lm|embedding\.weight|decoder|vocab", re.IGNORECASE)
WRITES = {"write_text", "write_bytes", "rename", "renames", "truncate", "copy", "copyfile", "move"}
WRITE_MODES = set("wax+")
WRITERS = {"support/files.py", "searching/executors/remote.py", "tracking/server.py"}
"""What is durable is written by the first; the others write what goes with their processes."""
MOST_LINES, MOST_LINES_OF_FUNCTION, MOST_PARAMETERS = 300, 50, 7
PUBLIC = {"search"}
"""The public function, and the command of the same name, whose parameters are their options."""

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: place(path))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it, and for type checkers alone too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            deeper = node.module == "autocompress"
            yield from (f"{node.module}.{a.name}" if deeper else node.module for a in node.names)


@each_file
def test_rooms_import_only_rooms_before_them(path: Path) -> None:
    own = room(place(path))
    for module in imports(path):
        if module.startswith("autocompress."):
            other = module.split(".")[1]
            other = other if other in ROOMS else "__init__"
            assert ROOMS.index(other) <= ROOMS.index(own), f"{own} imports {module}"
            allowed = ONLY_FOR.get(other)
            assert other == own or allowed is None or own in allowed, f"{own} imports {module}"


@each_file
def test_each_library_is_imported_in_one_place(path: Path) -> None:
    for module in imports(path):
        homes = ONE_HOME.get(module.split(".")[0])
        assert homes is None or any(place(path).startswith(home) for home in homes), module


@each_file
def test_what_opens_with_numpy_alone_imports_no_torch(path: Path) -> None:
    if room(place(path)) in NUMPY_ONLY:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", None) or node.names[0].name for node in at_import}
        assert not {name for name in names if name.split(".")[0] == "torch"}


@each_file
def test_words_stay_with_language_models(path: Path) -> None:
    if room(place(path)) in ("lm", "cli"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    prose = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in prose
        ):
            assert not WORDS.search(node.value), node.value
        if isinstance(node, ast.Name | ast.Attribute | ast.arg):
            name = getattr(node, "id", None) or getattr(node, "attr", None) or node.arg  # type: ignore[union-attr]
            assert not WORDS.search(name), name


@each_file
def test_files_are_written_in_one_place(path: Path) -> None:
    if place(path) in WRITERS:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        owner, name = _called(node.func)
        is_of_files = owner in ("os", "shutil") or name.startswith("write_")
        assert not (is_of_files and name in WRITES), f"line {node.lineno}: {name}"
        if name == "open":
            modes = [one.value for one in node.args if isinstance(one, ast.Constant)]
            assert not WRITE_MODES & set("".join(map(str, modes[:2]))), f"line {node.lineno}"


def _called(function: ast.expr) -> tuple[str, str]:
    if isinstance(function, ast.Attribute):
        return getattr(function.value, "id", ""), function.attr
    return "", getattr(function, "id", "")


@each_file
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in PUBLIC:
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES_OF_FUNCTION, f"{node.name} has {length} lines"
            given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            names = [one.arg for one in given if one.arg not in ("self", "cls")]
            assert len(names) <= MOST_PARAMETERS, f"{node.name} has {len(names)} parameters"


def test_every_room_is_in_the_contract() -> None:
    assert {room(place(path)) for path in FILES} <= set(ROOMS)
