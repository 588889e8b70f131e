"""The encoder: weights, what is known of them and a plan become records and bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from autocompress.artifact.container import container_sizes, write_container
from autocompress.artifact.decoding import decode_blocks
from autocompress.artifact.records import Header, ItemRecord, MemberRecord, StreamRecord
from autocompress.artifact.streams import encode_stream
from autocompress.errors import PlanError
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import Weight
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32, Precision, Stream
from autocompress.structures import Dense, Factor
from autocompress.support.aside import Aside
from autocompress.support.integers import as_integers

_LARGEST_CACHE = 2**28
_MOST_RUNS = 2**18  # the header has an upper limit

Factors = Mapping[str, Mapping[str, Factor]]
"""By the entries of a plan, the factors of their structures by name."""
Encoded = tuple[ItemRecord, bytes | memoryview]


class Encoder:
    """Carries out plans for one model.

    Entries of plans that were encoded last are kept, up to half of the model's size and 256 MB: a
    plan that differs in one weight from another costs the encoding of that weight alone. What is
    kept stays in this process: a copy of the encoder in another one begins empty.

    Attributes:
        source: The model, and what is known of it.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._kept: OrderedDict[tuple[str, Treatment], Encoded] = OrderedDict()
        self._kept_bytes = 0
        n_bytes = sum(weight.values.nbytes for weight in source.weights.weights.values())
        self._most_bytes = min(n_bytes // 2, _LARGEST_CACHE)
        self._fitting: set[tuple[str, Treatment]] = set()
        self._covering: set[tuple[str, ...]] = set()

    def __reduce__(self) -> tuple[type[Encoder], tuple[Source]]:
        return Encoder, (self.source,)

    def check(self, plan: CompressionPlan) -> None:
        """Refuse a plan that cannot be carried out, before any work is done.

        Raises:
            PlanError: If it leaves a weight out, treats one twice, or a treatment does not fit;
                the message names both.
        """
        self._check_coverage(plan)
        for name, treatment in plan.treatments.items():
            self._check_fit(name, treatment)

    def factorize(self, name: str, treatment: Treatment) -> dict[str, Factor]:
        """Represent one entry of a plan by the factors of its structure.

        Raises:
            PlanError: If the treatment does not fit; the message names both.
        """
        self._check_fit(name, treatment)
        matrices = [weight.matrix for weight in self.source.members(name)]
        matrix = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
        frequencies, curvature = self.source.frequencies(name), self.source.curvature(name)
        return treatment.structure.factorize(matrix, frequencies, curvature)

    def encode(
        self, name: str, treatment: Treatment, factors: Mapping[str, Factor] | None = None
    ) -> Encoded:
        """Encode one entry of a plan: a weight, or the stacked weights of a site.

        Args:
            name: The entry.
            treatment: How it is stored.
            factors: What `factorize` has given for it, if that is known already.

        Raises:
            PlanError: If the treatment does not fit; the message names both.
        """
        key = name, treatment.stored
        encoded = self._kept.get(key)
        if encoded is None:
            factors = factors or self.factorize(*key)
            encoded = encode_factors(self.source.members(name), *key, factors)
            self._keep(key, encoded)
        else:
            self._kept.move_to_end(key)
        record, data = encoded
        return record.model_copy(update={"treatment": treatment}), data

    def known_bytes(self, name: str, treatment: Treatment) -> int | None:
        """Return how many bytes an entry takes, or None if it was not encoded lately."""
        known = self._kept.get((name, treatment.stored))
        return None if known is None else len(known[1])

    def write(self, plan: CompressionPlan, path: Path, factors: Factors | None = None) -> None:
        """Carry out a plan into a file.

        Beside the model, memory holds one entry of the plan at a time, as factors and as bytes;
        large pieces of the file wait on the disk.

        Args:
            plan: A treatment for every weight.
            path: The file; replaced if it exists.
            factors: What to store instead of the weights' own factors.

        Raises:
            PlanError: If the plan does not fit the model.
        """
        with Aside(path.parent) as aside:
            header, items = self._contents(plan, factors, aside.kept)
            write_container(path, header, items, self.source.assets, self.source.weights.buffers)

    def sizes(self, plan: CompressionPlan) -> tuple[int, int]:
        """Return how long the file of a plan is without the numbers of its weights, and with them.

        Raises:
            PlanError: If the plan does not fit the model.
        """
        parts = self._contents(plan, None, lambda data: data)
        return container_sizes(*parts, self.source.assets, self.source.weights.buffers)

    def _contents(
        self,
        plan: CompressionPlan,
        factors: Factors | None,
        kept: Callable[[bytes | memoryview], bytes | memoryview],
    ) -> tuple[Header, dict[str, bytes | memoryview]]:
        self.check(plan)
        records: list[ItemRecord] = []
        items: dict[str, bytes | memoryview] = {}
        for name, treatment in plan.treatments.items():
            if factors is None:
                record, data = self.encode(name, treatment)
            else:
                members = self.source.members(name)
                record, data = encode_factors(members, name, treatment, factors[name])
            records.append(record)
            items[name] = kept(data)
        config = self.source.model_config
        header = Header(
            source_sha256=self.source.weights.sha256,
            model=dict(config) if config else None,
            items=tuple(records),
        )
        return header, items

    def _keep(self, key: tuple[str, Treatment], encoded: Encoded) -> None:
        if not isinstance(encoded[1], bytes):
            return  # floats, which need no encoding
        self._kept[key] = encoded
        self._kept_bytes += len(encoded[1])
        while self._kept_bytes > self._most_bytes and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)

    def _check_fit(self, name: str, treatment: Treatment) -> None:
        if (name, treatment.stored) in self._fitting:
            return
        structure, precision = treatment.structure, treatment.precision
        _check(name, treatment, structure.misfit(self.source.shape(name)))
        if precision.needs_row_frequencies:
            self._check_frequencies(name, treatment)
        self._fitting.add((name, treatment.stored))

    def _check_frequencies(self, name: str, treatment: Treatment) -> None:
        structure = treatment.structure
        if self.source.frequencies(name) is None:
            reason = "its rows have no frequencies, on which the steps are to depend"
            _check(name, treatment, reason)
        if not structure.keeps_rows:
            reason = (
                f"{structure.kind} keeps no rows, on whose frequencies the steps are to depend"
            )
            _check(name, treatment, reason)

    def _check_coverage(self, plan: CompressionPlan) -> None:
        if tuple(plan.treatments) in self._covering:
            return
        treated: dict[str, str] = {}
        for name in plan.treatments:
            for weight in self.source.members(name):
                if weight.name in treated:
                    raise PlanError(
                        f"weight '{weight.name}' is treated twice, by '{treated[weight.name]}' "
                        f"and by '{name}'; leave one out"
                    )
                treated[weight.name] = name
        missing = [name for name in self.source.weights.weights if name not in treated]
        if missing:
            raise PlanError(
                f"the plan leaves out: {', '.join(missing)}; every weight needs an entry"
            )
        self._covering.add(tuple(plan.treatments))


def encode_factors(
    members: tuple[Weight, ...], name: str, treatment: Treatment, factors: Mapping[str, Factor]
) -> Encoded:
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
    record = ItemRecord(
        name=name,
        members=tuple(
            MemberRecord(name=weight.name, aliases=weight.aliases, shape=weight.values.shape)
            for weight in members
        ),
        treatment=treatment,
        factors=records,
    )
    data = _joined(parts)
    return _with_zero_rows(members, record, data), data


def _joined(parts: list[bytes | memoryview]) -> bytes | memoryview:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _with_zero_rows(
    members: tuple[Weight, ...], record: ItemRecord, data: bytes | memoryview
) -> ItemRecord:
    """Have rows that are zero be zero again, such as those of padding, if they are not anyway."""
    zero = np.concatenate([weight.zero_rows for weight in members])
    if not zero.any():
        return record
    if not any(values[zero[rows]].any() for rows, values in decode_blocks(record, data)):
        return record
    ends = [0, *(np.flatnonzero(np.diff(zero)) + 1).tolist(), zero.size]
    runs = np.diff(ends if not zero[0] else [0, *ends]).tolist()
    runs = runs if zero[-1] else runs[:-1]
    if len(runs) > _MOST_RUNS:
        reason = f"it has {len(runs)} runs of rows of zeros, but files tell at most {_MOST_RUNS}"
        _check(record.name, record.treatment, reason)
    return record.model_copy(update={"zero_rows": tuple(runs)})


def uncompressed_plan(source: Source) -> CompressionPlan:
    """Return the plan that stores every weight as it is, in single precision."""
    exact = Treatment(structure=Dense(), precision=Float32())
    return CompressionPlan(treatments=dict.fromkeys(source.weights.weights, exact))


def _check(name: str, treatment: Treatment, misfit: str | None) -> None:
    if misfit:
        raise PlanError(f"'{treatment.label()}' does not fit '{name}': {misfit}")


def _encode_factor(
    factor: Factor, precision: Precision
) -> tuple[tuple[StreamRecord, ...], bytes | memoryview]:
    streams: dict[str, Stream] = {}
    if factor.integers:
        record, data = encode_stream("codes", as_integers(factor.values))
        return (record,), data
    if factor.mask is not None and not precision.has_zero_level:
        streams["mask"] = factor.mask.astype(np.int8)
    elif factor.mask is not None:
        factor = replace(factor, mask=None)
    streams |= precision.encode(factor)
    encoded = [encode_stream(name, stream) for name, stream in streams.items()]
    return tuple(record for record, _ in encoded), _joined([data for _, data in encoded])
