"""Compression: model + plan + calibration -> artifact. The one place where they meet."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autocompress.artifact import Artifact, open_artifact
from autocompress.calibration import Calibration, calibrate
from autocompress.container import (
    Header,
    ItemRecord,
    MemberRecord,
    StreamRecord,
    encode_stream,
    write_container,
)
from autocompress.errors import PlanError
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32, Precision, Stream
from autocompress.structures import Curvature, Dense, Factor, stacked_shape
from autocompress.task import Task
from autocompress.weights import ModelWeights, Weight

_LARGEST_CACHE = 2**28


class EncodedItems:
    """Encoded entries of plans by name and treatment, up to 256 MB of those used last."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[str, Treatment], tuple[ItemRecord, bytes]] = OrderedDict()
        self._bytes = 0

    def get(
        self, key: tuple[str, Treatment], encode: Callable[[], tuple[ItemRecord, bytes]]
    ) -> tuple[ItemRecord, bytes]:
        """Return what is kept under a key, or else encode it and keep it."""
        if key not in self._items:
            self._items[key] = encode()
            self._bytes += len(self._items[key][1])
            while self._bytes > _LARGEST_CACHE and len(self._items) > 1:
                _, (_, dropped) = self._items.popitem(last=False)
                self._bytes -= len(dropped)
        self._items.move_to_end(key)
        return self._items[key]

    def __contains__(self, key: tuple[str, Treatment]) -> bool:
        return key in self._items

    def __reduce__(self) -> tuple[type[EncodedItems], tuple[()]]:
        """Go empty to another process."""
        return EncodedItems, ()


@dataclass(frozen=True)
class Source:
    """A model made ready for compression by any number of plans.

    Attributes:
        weights: Its tensors.
        calibration: What the data tell of it.
        model_config: Description from which `autocompress.load` builds it, or None.
        assets: Files that belong into every artifact.
        encoded: The entries of plans that were encoded last, so that a plan which differs in one
            weight from another costs the encoding of that weight alone.
    """

    weights: ModelWeights
    calibration: Calibration
    model_config: Mapping[str, Any] | None = None
    assets: Mapping[str, bytes] = field(default_factory=dict)
    encoded: EncodedItems = field(default_factory=EncodedItems, compare=False)

    @classmethod
    def of(cls, model: nn.Module, task: Task, cache: Path | None = None) -> Source:
        """Take a model's tensors and calibrate it.

        Args:
            model: It is not changed.
            task: Knows the data.
            cache: A folder that keeps what takes long to measure, or None.

        Raises:
            ModelError: If the model cannot be compressed, such as for NaN in a weight.
        """
        weights = ModelWeights.of(model)  # refuses NaN first of all
        calibration = calibrate(model, task, cache)
        return cls(weights, calibration, task.model_config(model), task.assets())

    def members(self, name: str) -> tuple[Weight, ...]:
        """Return the weights that an entry of a plan treats: one, or those of a site.

        Raises:
            PlanError: If there is neither a weight nor a site of this name.
        """
        if name in self.weights.weights:
            return (self.weights.weights[name],)
        for site in self.calibration.sites:
            if site.name == name:
                return tuple(self.weights.weights[member] for member in site.members)
        known = [*self.weights.weights, *(site.name for site in self.calibration.sites)]
        raise PlanError(f"the plan treats '{name}', but the model has only: {', '.join(known)}")


def compress(
    model: nn.Module, plan: CompressionPlan, task: Task, path: str | os.PathLike[str]
) -> Artifact:
    """Compress a model by a plan and open the artifact.

    Args:
        model: Any module; its floating-point tensors must be finite.
        plan: A treatment for every weight.
        task: Tells token frequencies and the like; nothing is evaluated.
        path: The artifact's file; replaced if it exists.

    Raises:
        ModelError: If the model cannot be compressed.
        PlanError: If the plan leaves a weight out, treats one twice, or does not fit one.
    """
    write_artifact(Source.of(model, task), plan, Path(path))
    return open_artifact(path)


def write_artifact(
    source: Source,
    plan: CompressionPlan,
    path: Path,
    factors: Mapping[str, Mapping[str, Factor]] | None = None,
) -> None:
    """Compress by a plan into a file; raises as `compress` does.

    Args:
        source: The model.
        plan: A treatment for every weight.
        path: The file; replaced if it exists.
        factors: By the plan's entries, what to store instead of the weights' own factors.
    """
    check_plan(source, plan)
    records, items = [], {}
    for name, treatment in plan.treatments.items():
        if factors is None:
            record, items[name] = encode_item(source, name, treatment)
        else:
            members = source.members(name)
            record, items[name] = encode_factors(members, name, treatment, factors[name])
        records.append(record)
    header = Header(
        source_sha256=source.weights.sha256,
        model=dict(source.model_config) if source.model_config else None,
        items=tuple(records),
    )
    write_container(path, header, items, source.assets, source.weights.buffers)


def check_plan(source: Source, plan: CompressionPlan) -> None:
    """Refuse a plan that cannot be carried out, before any work is done.

    Raises:
        PlanError: If it leaves a weight out, treats one twice, or a treatment does not fit; the
            message names both.
    """
    _check_coverage(source, plan)
    for name, treatment in plan.treatments.items():
        _check_fit(source, name, treatment)


def _check_fit(source: Source, name: str, treatment: Treatment) -> None:
    members = source.members(name)
    structure, precision = treatment.structure, treatment.precision
    shape = stacked_shape([weight.values.shape for weight in members])
    _check(name, treatment, structure.misfit(shape))
    if precision.needs_row_frequencies and _frequencies(source, members) is None:
        _check(name, treatment, "its rows have no frequencies, on which the steps are to depend")
    if precision.needs_row_frequencies and not structure.keeps_rows:
        reason = f"{structure.kind} keeps no rows, on whose frequencies the steps are to depend"
        _check(name, treatment, reason)


def _check_coverage(source: Source, plan: CompressionPlan) -> None:
    treated: dict[str, str] = {}
    for name in plan.treatments:
        for weight in source.members(name):
            if weight.name in treated:
                raise PlanError(
                    f"weight '{weight.name}' is treated twice, by '{treated[weight.name]}' and "
                    f"by '{name}'; leave one out"
                )
            treated[weight.name] = name
    missing = [name for name in source.weights.weights if name not in treated]
    if missing:
        raise PlanError(f"the plan leaves out: {', '.join(missing)}; every weight needs an entry")


def encode_item(source: Source, name: str, treatment: Treatment) -> tuple[ItemRecord, bytes]:
    """Encode one entry of a plan: a weight, or the stacked weights of a site.

    Raises:
        PlanError: If the treatment does not fit; the message names both.
    """

    def encode() -> tuple[ItemRecord, bytes]:
        factors = factorize_item(source, name, stored)
        return encode_factors(source.members(name), name, stored, factors)

    stored = treatment.stored
    record, data = source.encoded.get((name, stored), encode)
    return record.model_copy(update={"treatment": treatment}), data


def factorize_item(source: Source, name: str, treatment: Treatment) -> dict[str, Factor]:
    """Represent one entry of a plan by the factors of its structure.

    Raises:
        PlanError: If the treatment does not fit; the message names both.
    """
    _check_fit(source, name, treatment)
    members = source.members(name)
    matrix = np.concatenate([weight.matrix for weight in members])
    frequencies, curvature = _frequencies(source, members), _curvature(source, members)
    return treatment.structure.factorize(matrix, frequencies, curvature)


def encode_factors(
    members: tuple[Weight, ...], name: str, treatment: Treatment, factors: Mapping[str, Factor]
) -> tuple[ItemRecord, bytes]:
    """Encode the factors of an entry of a plan.

    Raises:
        PlanError: If the precision does not fit a factor; the message names both.
    """
    records, parts = {}, []
    for factor_name, factor in factors.items():
        if not factor.integers:
            _check(name, treatment, treatment.precision.misfit(factor))
        records[factor_name], data = _encode_factor(factor, treatment.precision)
        parts.append(data)
    payload = b"".join(parts)
    record = ItemRecord(
        name=name,
        members=tuple(
            MemberRecord(name=weight.name, aliases=weight.aliases, shape=weight.values.shape)
            for weight in members
        ),
        treatment=treatment,
        factors=records,
        crc32=zlib.crc32(payload),
    )
    return record, payload


def _check(name: str, treatment: Treatment, misfit: str | None) -> None:
    if misfit:
        raise PlanError(f"'{treatment.label()}' does not fit '{name}': {misfit}")


def _frequencies(source: Source, members: tuple[Weight, ...]) -> NDArray[np.float64] | None:
    """Return how often the stacked rows are used, or None where a member does not know."""
    known = [source.calibration.row_frequencies.get(weight.name) for weight in members]
    present = [frequencies for frequencies in known if frequencies is not None]
    return np.concatenate(present) if len(present) == len(known) else None


def _curvature(source: Source, members: tuple[Weight, ...]) -> Curvature | None:
    """Return what errors in the stacked rows cost, or None where it is not known of a member."""
    known = [source.calibration.curvatures.get(weight.name) for weight in members]
    present = [curvature for curvature in known if curvature is not None]
    if len(present) < len(known):
        return None
    # All members of a site multiply the same vector.
    rows = np.concatenate([curvature.rows for curvature in present])
    moment = np.mean([curvature.moment for curvature in present], axis=0)
    return Curvature(rows, moment)


def _encode_factor(factor: Factor, precision: Precision) -> tuple[tuple[StreamRecord, ...], bytes]:
    streams: dict[str, Stream] = {}
    if factor.integers:
        record, data = encode_stream("codes", factor.values.astype(np.int64))
        return (record,), data
    if factor.mask is not None and not precision.has_zero_level:
        streams["mask"] = factor.mask.astype(np.int64)
    elif factor.mask is not None:
        factor = replace(factor, mask=None)
    streams |= precision.encode(factor)
    encoded = [encode_stream(name, stream) for name, stream in streams.items()]
    return tuple(record for record, _ in encoded), b"".join(data for _, data in encoded)


def uncompressed_plan(source: Source) -> CompressionPlan:
    """Return the plan that stores every weight as it is, in single precision."""
    exact = Treatment(structure=Dense(), precision=Float32())
    return CompressionPlan(treatments=dict.fromkeys(source.weights.weights, exact))
