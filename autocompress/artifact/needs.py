"""Needs: which kinds a file uses, so that a reader who lacks one can say who has it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

from pydantic import ValidationError

from autocompress.artifact.assets import ASSET_KINDS
from autocompress.artifact.records import ItemRecord, Needs, Needy
from autocompress.artifact.streams import is_raw
from autocompress.coders import CODERS
from autocompress.precisions import PRECISIONS
from autocompress.registry import Registry
from autocompress.structures import STRUCTURES, Structure
from autocompress.support.signals import interrupts_held

_OURS = "autocompress"
_REGISTRIES: Mapping[str, Registry[Any]] = {
    registry.what: registry for registry in (STRUCTURES, PRECISIONS, CODERS)
}
_ASSET = "asset"
_KNOWN: Mapping[str, Collection[str]] = {**_REGISTRIES, _ASSET: ASSET_KINDS}


def needs_of(items: Iterable[ItemRecord], asset_kinds: Iterable[str] = ()) -> Needs:
    """List the kinds of some items: structures with those within them, precisions, coders.

    Args:
        items: What holds the weights.
        asset_kinds: Of `ASSET_KINDS`, those of the files beside them.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for what, kind in {*_kinds(items), *((_ASSET, kind) for kind in asset_kinds)}:
        found.setdefault(_provider(what, kind), {}).setdefault(what, set()).add(kind)
    return {
        provider: {what: tuple(sorted(kinds)) for what, kinds in sorted(by_what.items())}
        for provider, by_what in sorted(found.items())
    }


def _kinds(items: Iterable[ItemRecord]) -> Iterator[tuple[str, str]]:
    for item in items:
        for structure in _nested(item.treatment.structure):
            yield "structure", structure.kind
        yield "precision", item.treatment.precision.kind
        for stream in item.streams:
            if not is_raw(stream):
                yield "coder", stream.coder


def _nested(structure: Structure) -> Iterator[Structure]:
    """Yield a structure and all that it is made of."""
    yield structure
    for _, value in structure:
        if isinstance(value, Structure):
            yield from _nested(value)


def _provider(what: str, kind: str) -> str:
    """Name the package that has a kind, and a version that does."""
    if what == _ASSET:
        return f"{_OURS} {ASSET_KINDS[kind]}"
    method = _REGISTRIES[what][kind]
    package = str(method.__module__).partition(".")[0]
    if package == _OURS:
        return f"{_OURS} {method.since}"
    for point in entry_points(group=_REGISTRIES[what].group, name=kind):
        if point.dist is not None:
            return f"{point.dist.name} {point.dist.version}"
    return package


def lacking(needs: Needs) -> str | None:
    """Say which kind is needed and not there, who has it and what to do; None if all are."""
    for provider, by_what in needs.items():
        for what, kinds in by_what.items():
            for kind in kinds:
                if kind not in _KNOWN.get(what, ()):
                    return f"needs {what} '{kind}', {_remedy(provider)}"
    return None


def lacking_in(header: bytes) -> str | None:
    """Say the same of a header that this package cannot read; None if that is not the reason."""
    try:
        with interrupts_held():
            needy = Needy.model_validate_json(header)
        return lacking(needy.needs)
    except ValidationError:
        return None


def _remedy(provider: str) -> str:
    package, _, since = provider.partition(" ")
    if package == _OURS:
        return f"which {provider} has, but this is {_installed()}; upgrade {_OURS}"
    if not since:
        return f"which a module '{package}' registered; import it first"
    return f"which package '{package}' {since} has; install it"


def _installed() -> str:
    try:
        return version(_OURS)
    except PackageNotFoundError:
        return "a copy that is not installed"
