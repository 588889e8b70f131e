"""Things that are found by name, those of other packages among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """What was registered by name, in this package or by entry points of others."""

    def __init__(self, what: str, group: str) -> None:
        self._what, self._group = what, group
        self._found: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers under a name."""

        def keep(item: T) -> T:
            if self._found.setdefault(name, item) is not item:
                raise ValueError(f"{self._what} '{name}' is registered twice; choose another name")
            return item

        return keep

    def __getitem__(self, name: str) -> T:
        if name not in self._found:
            self._load()
        if name not in self._found:
            raise KeyError(f"no {self._what} '{name}'; there are: {', '.join(self._found)}")
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._found)

    def __len__(self) -> int:
        self._load()
        return len(self._found)

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for point in entry_points(group=self._group):
                self.register(point.name)(point.load())
