"""What must hold for every precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np

from autocompress.errors import PlanError
from autocompress.plan import Runtime, Treatment
from autocompress.precisions import PRECISIONS, Precision, Stream
from autocompress.structures import Dense, Factor, LowRank, Matrix, Pruned, Shape
from autocompress.testing import samples
from autocompress.testing.rules import (
    as_shape,
    check_misfit,
    check_model,
    check_text,
    only_damage,
    require,
    twice,
    untouched,
)

_KINDS = {
    np.dtype(f"{kind}{bits}")
    for kind, bits in (("i", 1), ("i", 2), ("i", 4), ("i", 8), ("f", 2), ("f", 4))
}
_WILD_CODES = (-(2**62), -1, 1, 2**15, 2**31, 2**62)
_WILD_FLOATS = (np.nan, np.inf, -np.inf, -6e4, 6e4)
_ROUNDING = 1e-5


def check_precision(precision: Precision, shapes: tuple[Shape, ...] = samples.SHAPES) -> None:
    """Check a precision, with the hyper-parameters that it has.

    Args:
        precision: What is checked.
        shapes: Of the factors that it is tried on; normal values must fit.

    Raises:
        AssertionError: If a rule is broken.
    """
    check_model(precision, PRECISIONS)
    check_text("`in_words(2.5)`", precision.in_words(2.5))
    _check_declarations(precision)
    for shape in shapes:
        for what, factor in _factors(shape):
            where = f"{precision.label()} of a factor that is {what}, of shape {shape}"
            with untouched(f"misfit of {where}", factor=factor):
                misfit = check_misfit(f"misfit of {where}", partial(precision.misfit, factor))
            if misfit is not None:
                require("normal" not in what, f"{where} must fit", misfit=misfit)
                continue
            streams = _encoded(precision, factor, where)
            _check_decoded(precision, factor, streams, where)
            _check_steps(precision, factor, where)
        _check_damage(precision, shape)
    _check_file(precision, shapes)


def _check_declarations(precision: Precision) -> None:
    width, runs_in = precision.width_bits, precision.runs_in
    require(width is None or width > 0, "`width_bits` must be above zero, or None", width=width)
    require(runs_in in get_args(Runtime), "`runs_in` must be a runtime", runs_in=runs_in)
    wide = precision.widened(1.0)
    require(
        precision.has_steps == (wide != precision),
        "`has_steps` must say whether `widened` changes anything",
        has_steps=precision.has_steps,
        widened=wide,
    )
    require(precision.widened(0.0) == precision, "`widened(0.0)` must change nothing")


def _factors(shape: Shape) -> Iterator[tuple[str, Factor]]:
    """Yield factors of one shape, and what they are."""
    counts, mask = samples.frequencies(shape[0]), samples.normal(shape, 4) > 0.4
    mask.flat[0] = True
    for what, values in samples.matrices(shape).items():
        yield what, Factor(values, row_frequencies=counts)
        kept = np.where(mask, values, np.float32(0))
        yield f"{what}, pruned", Factor(kept, mask=mask, row_frequencies=counts)
    values = samples.normal(shape)
    yield "normal, alone", Factor(values)
    for diagonal in (False, True):
        known = samples.curvature(shape, diagonal=diagonal)
        yield "normal, with a curvature", Factor(values, curvature=known)
        steady = Factor(values, curvature=known, nearest=True)
        yield "normal, to be rounded to the nearest", steady
    yield "huge", Factor(np.full(shape, 3e38, np.float32) * np.sign(values))
    yield "tiny", Factor((values * 1e-40).astype(np.float32))


def _encoded(precision: Precision, factor: Factor, where: str) -> dict[str, Stream]:
    streams: dict[str, Stream] = twice(
        f"encode of {where}", lambda: precision.encode(factor), factor=factor
    )
    require(streams and "mask" not in streams, f"{where} must give streams, none called 'mask'")
    for name, stream in streams.items():
        fits = stream.ndim == 2 and stream.dtype in _KINDS
        require(
            fits,
            f"stream '{name}' of {where} must be of two dimensions, floats or signed integers",
            kind=(stream.dtype, stream.shape),
        )
    if precision.trains_levels:
        n_stored = factor.values.size if factor.mask is None else int(factor.mask.sum())
        codes = streams.get("codes", np.empty(0))
        fits = codes.dtype.kind == "i" and codes.size == n_stored
        require(fits, f"{where} trains levels, so it must give a code for each element in `codes`")
    return streams


def _check_rows(
    precision: Precision, streams: Mapping[str, Stream], decoded: Matrix, where: str
) -> None:
    """Some rows alone, where they can be had, must be what they are in the whole."""
    shape = as_shape(decoded)
    for rows in (slice(0, 1), slice(1, 3), slice(0, shape[0])):
        some, expected = precision.streams_of(streams, shape, rows), decoded[rows]
        if some is not None and expected.size:
            found = precision.decode(some, as_shape(expected), None)
            same = np.array_equal(found, expected)
            require(same, f"{where} must decode to the same by rows", rows=(rows.start, rows.stop))


def _check_decoded(
    precision: Precision, factor: Factor, streams: Mapping[str, Stream], where: str
) -> None:
    values, shape = factor.values, as_shape(factor.values)
    decoded = twice(
        f"decode of {where}",
        lambda: precision.decode(streams, shape, factor.mask),
        streams=streams,
        mask=factor.mask,
    )
    kind = decoded.dtype, decoded.shape
    require(kind == (np.dtype(np.float32), shape), f"{where} must decode to its shape", got=kind)
    require(np.isfinite(decoded).all(), f"{where} must decode to finite numbers")
    same = np.array_equal(precision.quantize(factor), decoded)
    require(same, f"quantize of {where} must be what decoding gives")
    if factor.mask is None:
        _check_rows(precision, streams, decoded, where)
    if factor.mask is not None:
        left = np.abs(decoded[~factor.mask]).max(initial=0)
        require(left == 0, f"{where} must be zero outside of its mask", largest=left)
        if precision.has_zero_level:
            alone = Factor(values, row_frequencies=factor.row_frequencies)
            left = np.abs(precision.quantize(alone)[~factor.mask]).max(initial=0)
            require(left == 0, f"{where} has a level for zero, so zeros must stay", largest=left)
    if precision.is_exact:
        require(np.array_equal(decoded, values), f"{where} is exact, so it must come back")
    size, error = (
        float(np.linalg.norm(one.astype(np.float64))) for one in (values, decoded - values)
    )
    require(
        error <= size or factor.values.size < 4,
        f"{where} must be nearer to its values than zeros are",
        error=error,
        size=size,
    )


def _check_steps(precision: Precision, factor: Factor, where: str) -> None:
    price = precision.price(factor)
    require(0 <= price < np.inf, f"the price of {where} must be a number from zero", price=price)
    steps = precision.steps(factor)
    if steps is None:
        require(not precision.has_steps, f"{where} has steps, so `steps` must tell them")
        return
    full = np.broadcast_to(steps, factor.values.shape)
    require((full > 0).all() and np.isfinite(full).all(), f"the steps of {where} must be above 0")
    wider = precision.widened(1.0)
    if precision.has_steps and factor.values.any() and wider.misfit(factor) is None:
        wide = wider.steps(factor)
        fits = wide is not None and np.allclose(wide, 2 * steps, rtol=1e-3)
        require(fits, f"the steps of {where} must double where they are widened by an octave")
    steady = precision.steady(factor)
    again = precision.steps(steady)
    fits = again is not None and np.allclose(again, steps, rtol=1e-3)
    require(fits, f"the steps of {where} must stay where rounding is steady")
    off = np.abs(precision.quantize(steady).astype(np.float64) - steady.values)
    allowed = full * (0.5 + _ROUNDING) + _ROUNDING * np.abs(steady.values)
    require((off <= allowed).all(), f"steady rounding of {where} must be to the nearest level")


def _check_damage(precision: Precision, shape: Shape) -> None:
    """Require that damaged streams do nothing worse than raise an error."""
    for what, given in _damaged(precision.encode(Factor(samples.normal(shape)))):
        where = f"decode of {precision.label()} of shape {shape} {what}"
        decoded = only_damage(where, partial(precision.decode, given, shape, None))
        fits = decoded is None or decoded.shape == shape
        require(fits, f"{where} must have the shape, or raise")


def _damaged(streams: Mapping[str, Stream]) -> Iterator[tuple[str, dict[str, Stream]]]:
    """Yield streams of which one is missing or not as it was, and what was done to it."""
    for name, stream in streams.items():
        others = {key: one for key, one in streams.items() if key != name}
        is_whole = stream.dtype.kind == "i"
        kind = np.int64 if is_whole else stream.dtype
        yield f"without '{name}'", others
        for what, changed in {
            "cut": stream[:, :-1],
            "longer": np.concatenate([stream, stream], axis=1),
            "turned": stream.T,
            "of zeros": np.zeros_like(stream),
            "of other numbers": stream.astype(np.float16 if is_whole else np.int64),
        }.items():
            yield f"with '{name}' {what}", {**others, name: changed}
        for wild in _WILD_CODES if is_whole else _WILD_FLOATS:
            yield f"with '{name}' all {wild}", {**others, name: np.full(stream.shape, wild, kind)}


def _check_file(precision: Precision, shapes: tuple[Shape, ...]) -> None:
    structures = (Dense(), Pruned(sparsity=0.5), LowRank(rank=1))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.acz"
        for structure in structures:
            treatment = Treatment(structure=structure, precision=precision)
            fitting = tuple(shape for shape in shapes if structure.misfit(shape) is None)
            weights = samples.by_shape(fitting)
            try:
                artifact = samples.stored(weights, treatment, path)
            except PlanError as error:
                raise AssertionError(f"{treatment.label()} must fit: {error}") from error
            state = artifact.state_dict()
            for name, weight in weights.items():
                expected = _expected(treatment, weight)
                same = np.array_equal(state[name], expected)
                require(same, f"{treatment.label()} of '{name}' must come back from its file")
            data = path.read_bytes()
            samples.stored(weights, treatment, path)
            require(path.read_bytes() == data, f"files by {treatment.label()} must be the same")


def _expected(treatment: Treatment, weight: Matrix) -> Matrix:
    precision = treatment.precision
    factors = treatment.structure.factorize(weight, samples.frequencies(weight.shape[0]))
    values = {}
    for name, factor in factors.items():
        zeros = precision.has_zero_level
        values[name] = precision.quantize(
            Factor(factor.values, None if zeros else factor.mask, factor.row_frequencies)
        )
    return treatment.structure.reconstruct(values)
