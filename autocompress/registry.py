"""Registries: what is known by a name, be it of this package or of one that a user installed.

Another package adds to a registry by an entry point of the registry's group, in its
pyproject.toml:

    [project.entry-points."autocompress.structures"]
    block_diagonal = "my_package.block_diagonal:BlockDiagonal"

What is made in a script, or a notebook, is registered by the same decorator as the built-in ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from types import ModuleType
from typing import Annotated, Any, TypeVar, Union, cast, get_args

from pydantic import Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from autocompress.errors import RegistryError

T = TypeVar("T")
_Registered = TypeVar("_Registered")


class Registry(Mapping[str, T]):
    """By name what was registered, in that order, the entry points of other packages last.

    Entry points are loaded when a name is missed or all names are asked for, and only once. One
    that fails takes nothing else with it: it is warned of, and named by the error of whoever asks
    for it.
    """

    def __init__(self, what: str, group: str) -> None:
        """Make an empty registry.

        Args:
            what: What it holds, in the singular, as in "structure".
            group: Name of the group of entry points.
        """
        self.what, self.group = what, group
        self._items: dict[str, T] = {}
        self._broken: dict[str, str] = {}
        self._is_loaded = False
        self._lock = RLock()

    def register(self, name: str) -> Callable[[_Registered], _Registered]:
        """Return a decorator that adds a class, or a function, by this name.

        Raises:
            RegistryError: If the name is taken.
        """

        def add(item: _Registered) -> _Registered:
            with self._lock:
                if name in self._items:
                    raise RegistryError(
                        f"{self.what} '{name}' is registered already, as {self._items[name]!r}; "
                        "choose another name"
                    )
                self._items[name] = cast("T", item)
            return item

        return add

    @property
    def registered(self) -> Mapping[str, T]:
        """What is registered by now, without a look at entry points that were not loaded."""
        return self._items

    def load(self) -> None:
        """Load all entry points of the group, unless that was done."""
        with self._lock:
            if self._is_loaded:
                return
            self._is_loaded = True  # entry points may ask this registry themselves
            for point in entry_points(group=self.group):
                try:
                    self._take(point)
                except Exception as error:  # whatever another package raises while it is imported
                    reason = f"entry point '{point.value}': {type(error).__name__}: {error}"
                    self._broken[point.name] = reason
            for name, reason in self._broken.items():
                warnings.warn(
                    f"{self.what} '{name}' cannot be loaded ({reason}); repair or uninstall its "
                    "package",
                    stacklevel=2,
                )

    def _take(self, point: EntryPoint) -> None:
        found = point.load()
        known = self._items.get(point.name)
        if known is None and not isinstance(found, ModuleType):
            self.register(point.name)(found)
        elif known is None:
            raise RegistryError(f"module '{point.value}' registers no {self.what} by this name")
        elif known is not found and not isinstance(found, ModuleType):
            raise RegistryError(f"the name is taken by {known!r}")

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            self.load()
        if name in self._items:
            return self._items[name]
        if name in self._broken:
            raise RegistryError(
                f"{self.what} '{name}' cannot be loaded ({self._broken[name]}); repair its package"
            )
        raise RegistryError(
            f"unknown {self.what} '{name}'; known are {', '.join(self._items) or 'none'}"
        )

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(tuple(self._items))

    def __len__(self) -> int:
        self.load()
        return len(self._items)

    def __repr__(self) -> str:
        return f"Registry({self.what!r}: {', '.join(self._items)})"


class ByKind:
    """Annotates a field that holds an object of one of the registered classes, told by its `kind`.

    What is validated may also be registered after the class that has the field. Errors have the
    kind in their path, as those of a pydantic union; an unknown kind lists the registered ones.
    """

    def __init__(
        self,
        registry: Registry[Any],
        accepts: Callable[[Any], bool] = lambda _: True,
        model: Callable[[Any], Any] = lambda registered: registered,
    ) -> None:
        """Say what the field holds.

        Args:
            registry: Of pydantic models with a field `kind`, a literal of the registered name.
            accepts: Which of the registered classes the field takes.
            model: From a registered class to the model that is validated in its stead, which has
                the same kind.
        """
        self._registry, self._accepts, self._model = registry, accepts, model
        self._known: tuple[tuple[str, Any], ...] = ()
        self._adapter: TypeAdapter[Any] | None = None

    def modelled(self, model: Callable[[Any], Any]) -> ByKind:
        """Return the same for a field that holds other models of the registered classes."""
        return ByKind(self._registry, self._accepts, model)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate by what is registered by then; serialize by the class of the object."""
        del source, handler
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: Any) -> Any:
        kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
        if isinstance(kind, str) and kind not in self._registry.registered:
            self._registry.load()
        known = tuple(self._registry.registered.items())
        if self._adapter is None or known != self._known:
            models: Any = Union[tuple(map(self._model, self._tagged(known)))]  # noqa: UP007
            self._adapter = TypeAdapter(Annotated[models, Field(discriminator="kind")])
            self._known = known
        return self._adapter.validate_python(value)

    def _tagged(self, known: tuple[tuple[str, Any], ...]) -> Iterator[Any]:
        """Yield the classes that have their name as kind; other ones spoil nothing."""
        for name, registered in known:
            kind = getattr(registered, "model_fields", {}).get("kind")
            if kind and get_args(kind.annotation) == (name,) and self._accepts(registered):
                yield registered
