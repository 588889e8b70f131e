"""Estimates from some of the rows, against what all of them take and cost."""

import numpy as np
import pytest
import torch
from strategies import TinyTask
from torch import nn

from autocompress.encoding import parts
from autocompress.encoding.encoder import Encoder
from autocompress.encoding.estimates import Estimator
from autocompress.encoding.parts import Part
from autocompress.errors import PlanError
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.prediction import predicted_loss_rise
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights
from autocompress.plan import Treatment
from autocompress.precisions import EqualSlope, Precision, Uniform
from autocompress.structures import (
    Curvature,
    Dense,
    LowRank,
    Matrix,
    Pruned,
    Structure,
    VectorQuantized,
)

ROWS, COLS = 4000, 24
NAME = "weight"


@pytest.fixture(scope="module")
def source() -> Source:
    """One matrix of falling singular values, whose rows differ in size."""
    generator = np.random.default_rng(0)
    scales = np.exp(generator.normal(size=(ROWS, 1)))
    mixing = generator.normal(size=(COLS, COLS)) * 0.8 ** np.arange(COLS)[:, None]
    model = nn.Linear(COLS, ROWS, bias=False)
    values = scales * (generator.normal(size=(ROWS, COLS)) @ mixing)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(values))

    class Silent(TinyTask):
        def row_frequencies(self, model: nn.Module) -> dict[str, np.ndarray]:
            del model
            return {}

        def forward(self, model: nn.Module, batch: object) -> object:
            return model(torch.zeros(2, COLS))

    return Source.of(model, Silent())


@pytest.mark.parametrize(
    "structure",
    [Dense(), Pruned(sparsity=0.5), LowRank(rank=6), Pruned(sparsity=0.3, of=LowRank(rank=12))],
)
@pytest.mark.parametrize("precision", [EqualSlope(slope=1e-7), Uniform(bits=4, group="row")])
def test_bytes_and_rise_are_near_those_of_all_rows(
    source: Source, structure: Structure, precision: Precision
) -> None:
    treatment = Treatment(structure=structure, precision=precision)
    part = Estimator(Encoder(source), 400).estimate(NAME, treatment)
    whole = Estimator(Encoder(source), 10**9).estimate(NAME, treatment)
    assert whole.size_bytes == len(Encoder(source).encode(NAME, treatment)[1])
    assert part.size_bytes == pytest.approx(whole.size_bytes, rel=0.2)
    assert part.loss_rise == pytest.approx(whole.loss_rise, rel=0.25)
    assert part != whole


def test_what_has_no_parts_is_encoded_whole(source: Source) -> None:
    structure = VectorQuantized(dimension=4, bits=4)
    treatment = Treatment(structure=structure, precision=Uniform(bits=8, group="tensor"))
    found = Estimator(Encoder(source), 400).estimate(NAME, treatment)
    assert found.size_bytes == len(Encoder(source).encode(NAME, treatment)[1])


def test_the_rise_of_no_error_is_none(source: Source) -> None:
    def rise(error: Matrix) -> float:
        return predicted_loss_rise(source, NAME, [(slice(0, ROWS), error)])

    assert rise(np.zeros((ROWS, COLS), np.float32)) == 0
    assert rise(source.weights.weights[NAME].matrix) == pytest.approx(0.5)


def test_a_misfit_is_named(source: Source) -> None:
    treatment = Treatment(structure=LowRank(rank=COLS + 1), precision=Uniform(bits=8, group="row"))
    with pytest.raises(PlanError, match=f"does not fit '{NAME}'"):
        Estimator(Encoder(source), 400).estimate(NAME, treatment)


@pytest.fixture(scope="module")
def wide() -> Source:
    """A matrix wider than tall, some numbers of which are far out."""
    rows, cols = 32, 8_000
    generator = np.random.default_rng(1)
    model = nn.Linear(cols, rows, bias=False)
    values = generator.normal(size=(rows, cols)) * np.exp(generator.normal(size=cols) / 2)
    values[:, 17] *= 8
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(values))
    curvature = Curvature(np.full(rows, 1e-3), np.full(cols // 8 * 64, 1e-4), (8,) * (cols // 8))
    calibration = Calibration({}, (), {NAME: curvature.damped(0.5)})
    return Source(ModelWeights.of(model), calibration)


@pytest.mark.parametrize("structure", [Dense(), Pruned(sparsity=0.5), LowRank(rank=6, fit="loss")])
@pytest.mark.parametrize(
    "precision", [EqualSlope(slope=1e-5), Uniform(bits=4), Uniform(bits=4, group="tensor")]
)
def test_some_columns_of_a_wide_weight_stand_for_all(
    wide: Source, structure: Structure, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_LARGE", 2**17)
    monkeypatch.setattr(parts, "_NUMBERS", 2**15)
    treatment = Treatment(structure=structure, precision=precision)
    part = Estimator(Encoder(wide), 256).estimate(NAME, treatment)
    monkeypatch.setattr(Part, "of", classmethod(lambda cls, shape, *_: cls(shape)))
    whole = Estimator(Encoder(wide), 256).estimate(NAME, treatment)
    assert part.size_bytes == pytest.approx(whole.size_bytes, rel=0.2)
    assert part.loss_rise == pytest.approx(whole.loss_rise, rel=0.25)
    assert part != whole


@pytest.mark.parametrize("shape", [(1, 2**20), (64, 2**12), (2**13, 2**13 - 1), (300, 300)])
def test_what_is_small_or_not_wide_keeps_all_columns(shape: tuple[int, int]) -> None:
    assert not Part.of(shape, 256, None).blocks
