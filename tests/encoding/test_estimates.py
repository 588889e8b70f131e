"""Estimates from some of the rows, against what all of them take and cost."""

import numpy as np
import pytest
import torch
from strategies import TinyTask
from torch import nn

from autocompress.encoding.encoder import Encoder
from autocompress.encoding.estimates import Estimator
from autocompress.errors import PlanError
from autocompress.knowledge.prediction import predicted_loss_rise
from autocompress.knowledge.source import Source
from autocompress.plan import Treatment
from autocompress.precisions import EqualSlope, Precision, Uniform
from autocompress.structures import Dense, LowRank, Matrix, Pruned, Structure, VectorQuantized

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
