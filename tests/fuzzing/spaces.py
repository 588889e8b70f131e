"""Search spaces and plans that somebody else has written, and reading them."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import optuna
from fuzzing.documents import HUGE, changed_text, expanded, mutated
from fuzzing.octets import damaged
from strategies import PRECISIONS, STRUCTURES, tiny_source, treat

from autocompress.cli.compress import read_plan
from autocompress.errors import PlanError, SpaceError
from autocompress.plan import CompressionPlan
from autocompress.searching.space.language import load_space
from autocompress.searching.space.questions import ask_plan
from autocompress.searching.study import Asking

_SHIPPED = Path(__file__).parents[2] / "search_spaces"
_SHAPES = ((1, 1), (1, 7), (40, 6), (2**20, 1), (300, 2000))


class Spaces:
    """Search spaces, as TOML; each is asked for a plan of a small model, as a search does."""

    name = "spaces"
    allowed = (SpaceError,)

    def __init__(self, folder: Path) -> None:
        """Take the spaces that ship with the package to begin with.

        Args:
            folder: Where an input is put, under the same name each time.
        """
        texts = [path.read_bytes() for path in sorted(_SHIPPED.glob("*.toml"))]
        self._documents = [tomllib.loads(text.decode()) for text in texts]
        self._texts = texts
        self._file = folder / "fuzzed.toml"
        self._source = tiny_source()

    def made(self, random: Random) -> bytes:
        """Return the text of a space."""
        if random.random() < 0.2:
            return damaged(random, random.choice(self._texts), random.choice(self._texts))
        document = random.choice(self._documents)
        rules = document["rules"]
        if random.random() < 0.7:  # few rules, so that what is changed is mostly reached
            rules = [random.choice(rules)]
            document = {"description": "x", "rules": rules}
        text = toml_of(mutated(random, document)).encode("utf-8", "surrogatepass")
        return damaged(random, text, text) if random.random() < 0.1 else text

    def read(self, data: bytes) -> None:
        """Read a space, and ask it for a plan."""
        self._file.write_bytes(data)
        space = load_space(self._file)
        ask_plan(space, self._source, _asked())


def _asked() -> Asking:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return Asking(study.ask())


class Plans:
    """Plans, as JSON; each is looked at as far as weights of some shapes allow."""

    name = "plans"
    allowed = (PlanError,)

    def __init__(self, folder: Path) -> None:
        """Take a plan with each method to begin with.

        Args:
            folder: Where an input is put, under the same name each time.
        """
        pairs = [(s, PRECISIONS[n % len(PRECISIONS)]) for n, s in enumerate(STRUCTURES)]
        pairs += [(STRUCTURES[n % len(STRUCTURES)], p) for n, p in enumerate(PRECISIONS)]
        self._documents = [
            CompressionPlan(treatments={"w": treat(s, p), "v": treat(*pairs[0])}).to_json()
            for s, p in pairs
        ]
        self._file = folder / "fuzzed.json"

    def made(self, random: Random) -> bytes:
        """Return the text of a plan."""
        if random.random() < 0.2:
            first, second = (json.dumps(random.choice(self._documents)) for _ in range(2))
            return damaged(random, first.encode(), second.encode())
        return changed_text(random, random.choice(self._documents))

    def read(self, data: bytes) -> None:
        """Read a plan, and ask its methods what they are."""
        self._file.write_bytes(data)
        plan = read_plan(self._file)
        assert plan.dumps()
        for treatment in plan.treatments.values():
            assert treatment.label()
            assert treatment.in_words(1.0)
            for shape in _SHAPES:
                treatment.structure.misfit(shape)


def toml_of(document: Any) -> str:
    """Write a document as TOML, its tables on one line each."""
    if not isinstance(document, dict):
        return _value(document)
    return "".join(f"{_key(name)} = {_value(value)}\n" for name, value in document.items())


def _key(name: str) -> str:
    return _text(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str) and (huge := HUGE.fullmatch(value)):
        return expanded(huge[1]).replace(":", "=")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{'-' * (value < 0)}inf"
    return repr(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def both(folder: Path) -> Iterator[Spaces | Plans]:
    """Yield the subjects of this module."""
    yield Spaces(folder)
    yield Plans(folder)
