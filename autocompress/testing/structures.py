"""What must hold for every structure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from autocompress.plan import Treatment
from autocompress.precisions import EntropyStep, Float32, Uniform
from autocompress.structures import STRUCTURES, Factor, Matrix, Pruned, Shape, Structure
from autocompress.testing import samples
from autocompress.testing.rules import (
    check_misfit,
    check_model,
    check_text,
    only_damage,
    require,
    twice,
)
from autocompress.testing.running import check_running

_MOST_ELEMENTS = 2**22


def check_structure(structure: Structure, shapes: tuple[Shape, ...] = samples.SHAPES) -> None:
    """Check a structure, with the hyper-parameters that it has.

    Args:
        structure: What is checked.
        shapes: Of the weights that it is tried on; those that do not fit are left out, but some
            must fit.

    Raises:
        AssertionError: If a rule is broken.
    """
    check_model(structure, STRUCTURES)
    _check_declarations(structure)
    misfits = {
        shape: check_misfit(f"`misfit({shape})`", partial(structure.misfit, shape))
        for shape in (*shapes, (1, 1), (2, 1))
    }
    fitting = tuple(shape for shape in shapes if misfits[shape] is None)
    require(fitting, "some of the shapes must fit", misfits=misfits)
    for shape in fitting:
        for what, weight in samples.matrices(shape).items():
            where = f"{structure.label()} of a weight that is {what}, of shape {shape}"
            factors = _factorized(structure, weight, where)
            check_running(structure, shape, factors, where)
        _check_damage(structure, shape)
    _check_file(structure, fitting)


def _check_declarations(structure: Structure) -> None:
    base, method = structure.base, structure.method
    check_text("`in_words()`", structure.in_words())
    require(isinstance(base, Structure), "`base` must be a structure", base=base)
    require(base.base == base, "`base` must have no zeros of its own", base=base)
    sparsity = structure.sparsity
    require(0 <= sparsity < 1, "`0 <= sparsity < 1` must hold", sparsity=sparsity)
    require(
        method.split(" ")[0] == structure.kind, "`method` must begin with the kind", method=method
    )


def _factorized(structure: Structure, weight: Matrix, where: str) -> dict[str, Matrix]:
    """Factorize in all ways, and return the factors that are made where nothing is known."""
    shape = weight.shape[0], weight.shape[1]
    counts, known = samples.frequencies(shape[0]), samples.curvature(shape)
    found: dict[str, Matrix] = {}
    for given in ((None, None), (counts, None), (None, known), (counts, known)):
        factors = twice(
            f"factorize of {where}",
            partial(structure.factorize, weight, *given),
            weight=weight,
            row_frequencies=given[0],
            curvature=given[1],
        )
        for name, factor in factors.items():
            _check_factor(factor, f"factor '{name}' of {where}")
        _check_shapes(structure, shape, factors, where)
        if given[0] is not None and structure.keeps_rows:
            kept = [one.row_frequencies is not None for one in factors.values()]
            require(any(kept), f"{where} keeps rows, so some factor must have their frequencies")
        values = {name: factor.values for name, factor in factors.items()}
        _check_weight(structure, values, shape, where)
        if not weight.any():
            decoded = structure.reconstruct(values)
            require(not decoded.any(), f"{where} must stay zero", largest=np.abs(decoded).max())
        found = found or values
    return found


def _check_factor(factor: Factor, where: str) -> None:
    values = factor.values
    require(isinstance(values, np.ndarray), f"{where} must be an array", type=type(values))
    kind = values.dtype, values.ndim
    require(
        kind == (np.dtype(np.float32), 2), f"{where} must be float32 of two dimensions", kind=kind
    )
    require(np.isfinite(values).all(), f"{where} must be finite")
    if factor.integers:
        require((np.rint(values) == values).all(), f"{where} must hold whole numbers")
        require(np.abs(values).max(initial=0) < 2**24, f"{where} must be exact in float32")
    if factor.mask is not None:
        fits = factor.mask.shape == values.shape and factor.mask.dtype == np.bool_
        require(fits, f"the mask of {where} must be bool of its shape", mask=factor.mask)
        require(not values[~factor.mask].any(), f"{where} must be zero outside of its mask")
    if factor.row_frequencies is not None:
        counts = factor.row_frequencies.shape
        require(
            counts == values.shape[:1], f"{where} must have a frequency for each row", got=counts
        )


def _check_shapes(
    structure: Structure, shape: Shape, factors: Mapping[str, Factor], where: str
) -> None:
    whole = {name: one.values for name, one in factors.items() if one.integers}
    announced = {**structure.integer_shapes(shape), **structure.factor_shapes(shape, whole)}
    require(
        list(whole) == list(structure.integer_shapes(shape)),
        f"the whole numbers of {where} must be those of `integer_shapes`",
        factors=list(whole),
        announced=list(structure.integer_shapes(shape)),
    )
    made = {name: one.values.shape for name, one in factors.items()}
    require(
        list(made.items()) == list(announced.items()),
        f"the factors of {where} must have the announced shapes, in that order",
        factors=made,
        announced=announced,
    )


def _check_weight(
    structure: Structure, factors: Mapping[str, Matrix], shape: Shape, where: str
) -> None:
    weight = twice(
        f"reconstruct of {where}", lambda: structure.reconstruct(factors), factors=factors
    )
    kind = weight.dtype, weight.shape
    require(kind == (np.dtype(np.float32), shape), f"{where} must decode to its shape", got=kind)
    require(np.isfinite(weight).all(), f"{where} must decode to finite numbers")


def _check_damage(structure: Structure, shape: Shape) -> None:
    """Require that whole numbers of a damaged file do nothing worse than raise an error."""
    integers = structure.integer_shapes(shape)
    for value in (-1, 1, 3, 2**15, -(2**40), 2**62):
        made = {name: np.full(size, value, np.float32) for name, size in integers.items()}

        def decoded(made: dict[str, Matrix] = made) -> None:
            shapes = structure.factor_shapes(shape, made)
            if sum(rows * cols for rows, cols in shapes.values()) <= _MOST_ELEMENTS:
                zeros = {name: np.zeros(size, np.float32) for name, size in shapes.items()}
                structure.reconstruct(made | zeros)

        only_damage(f"{structure.label()} of shape {shape} with whole numbers {value}", decoded)


def _check_file(structure: Structure, shapes: tuple[Shape, ...]) -> None:
    weights = samples.by_shape(shapes)
    plain = [Float32(), Uniform(bits=4), EntropyStep(step=0.1)]
    treatments = [Treatment(structure=structure, precision=precision) for precision in plain]
    if structure.prunable:
        pruned = Pruned(sparsity=0.5, of=structure)
        weights = {
            name: one for name, one in weights.items() if pruned.misfit(_shape(one)) is None
        }
        treatments += [Treatment(structure=pruned, precision=precision) for precision in plain]
    with TemporaryDirectory() as folder:
        for treatment in treatments:
            path = Path(folder) / "model.acz"
            artifact = samples.stored(weights, treatment, path)
            data = path.read_bytes()
            samples.stored(weights, treatment, path)
            require(
                path.read_bytes() == data, f"files by {treatment.label()} must have equal bytes"
            )
            require(
                set(artifact.plan.treatments.values()) == {treatment},
                f"the plan in a file must be {treatment.label()}",
                plan=artifact.plan.dumps(),
            )
            state = artifact.state_dict()
            for name, weight in weights.items():
                if treatment.precision == Float32():
                    counts = samples.frequencies(weight.shape[0])
                    factors = treatment.structure.factorize(weight, counts).items()
                    expected = treatment.structure.reconstruct({n: f.values for n, f in factors})
                    same = np.array_equal(state[name], expected)
                    require(same, f"{treatment.label()} of '{name}' must come back from its file")


def _shape(weight: Matrix) -> Shape:
    return weight.shape[0], weight.shape[1]
