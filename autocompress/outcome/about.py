"""What a search is about, for those who browse it: settings as people say them, data, serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

ABOUT = "about.json"
"""What the file is called in the folder of a search."""


@dataclass(frozen=True)
class DataDescription:
    """The data of a task, for people and for those who log it.

    Attributes:
        name: Such as "ptb".
        digest: Tells it from other data.
        profile: What is worth knowing, such as the number of training examples.
    """

    name: str
    digest: str
    profile: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Serving:
    """How a compressed model answers requests, in words that a file can hold.

    Attributes:
        predictor: Import path, "package.module:Class", of a class that is made from the path of
            an artifact and from `settings`, and whose `predict(inputs, **params)` answers.
        settings: Keyword arguments of the class: what JSON holds.
        example: An input: by column name a list of texts or numbers, or an array as
            `{"dtype": "float32", "values": [...]}`.
        params: Parameters of `predict` that a request may set, with their defaults.
        code: A file of Python that the predictor imports and that no package brings, or None.
    """

    predictor: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None


@dataclass(frozen=True)
class About:
    """What is told of a search beside its settings and its results.

    Attributes:
        params: How it was started, by the name of what was set.
        data: Its data, or None where the task does not say.
        serving: How a model of it is served, or None where it cannot be.
        unserved: Why it cannot be, or None.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    data: DataDescription | None = None
    serving: Serving | None = None
    unserved: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> About:
        """Read what `to_json` gave.

        Raises:
            TypeError, LookupError: If it is something else.
        """
        data, serving = document["data"], document["serving"]
        return cls(
            dict(document["params"]),
            None if data is None else DataDescription(**data),
            None if serving is None else Serving(**serving),
            document["unserved"],
        )


def imported(path: str) -> Any:
    """Return what an import path, "package.module:name", names.

    Raises:
        ImportError, AttributeError: If there is nothing.
    """
    module, _, name = path.partition(":")
    return attrgetter(name)(import_module(module))


def predictor_of(serving: Serving, artifact: Path) -> Any:
    """Make what answers requests from an artifact."""
    return imported(serving.predictor)(artifact, **serving.settings)


def written_array(array: Any) -> dict[str, Any]:
    """Write an array as an example of `Serving`."""
    return {"dtype": str(array.dtype), "values": array.tolist()}


def inputs_of(example: Mapping[str, Any]) -> Any:
    """Read an example of `Serving`: an array, or a table of named columns."""
    if example.keys() == {"dtype", "values"}:
        return np.asarray(example["values"], dtype=example["dtype"])
    from pandas import DataFrame

    return DataFrame(dict(example))
