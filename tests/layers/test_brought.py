"""Models that use their modules in ways of their own go through everything, and stay untouched."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brought import BROUGHT, Sequences, Snapshot, brought
from torch import nn

import autocompress
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.knowledge.source import Source
from autocompress.layers.factors import Factors
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.structures import LowRank

each = pytest.mark.parametrize("name", BROUGHT)
LOW = Treatment(structure=LowRank(rank=3), precision=Float32())


def low_rank(source: Source) -> CompressionPlan:
    """Decompose all matrices, those of a site together."""
    weights = source.weights.weights
    matrices = [name for name, weight in weights.items() if min(weight.matrix.shape) > 8]
    treatments = {**uncompressed_plan(source).treatments, **dict.fromkeys(matrices, LOW)}
    for site in source.calibration.sites:
        treatments[site.name] = LOW
        for member in site.members:
            del treatments[member]
    return CompressionPlan(treatments=treatments)


@each
def test_calibration_measures_every_matrix_and_changes_nothing(name: str) -> None:
    model, task = brought(name)
    before = Snapshot.of(model)
    source = Source.of(model, task)
    before.check(model)
    matrices = {n for n, weight in source.weights.weights.items() if weight.values.ndim == 2}
    assert set(source.calibration.curvatures) == matrices


@each
def test_a_model_that_cannot_be_copied_is_put_back(name: str) -> None:
    model, task = brought(name)
    expected = Source.of(model, task).calibration.curvatures

    class Stubborn(type(model)):  # type: ignore[misc]
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("no copies")

    model.__class__ = Stubborn
    before = Snapshot.of(model)
    found = Source.of(model, task).calibration.curvatures
    before.check(model)
    assert set(found) == set(expected)
    for key, curvature in found.items():
        np.testing.assert_allclose(curvature.rows, expected[key].rows, rtol=1e-5)


@each
def test_factors_run_in_the_users_own_classes(name: str, tmp_path: Path) -> None:
    model, task = brought(name)
    source = Source.of(model, task)
    Encoder(source).write(low_rank(source), tmp_path / "model.acz")
    dense = autocompress.load(tmp_path / "model.acz", copy.deepcopy(model))
    factored = autocompress.load(tmp_path / "model.acz", copy.deepcopy(model), factored=True)
    assert sum(isinstance(module, Factors) for module in factored.modules()) >= 2
    assert task.evaluate(factored, "valid") == pytest.approx(
        task.evaluate(dense, "valid"), rel=1e-5
    )
    for path, module in model.named_modules():
        twin = factored.get_submodule(path)
        assert isinstance(twin, type(module))
        assert type(twin).__name__ == type(module).__name__
        for key, parameter in module.named_parameters(recurse=False):
            found = getattr(twin, key)
            torch.testing.assert_close(found, getattr(dense.get_submodule(path), key))
            assert found.shape == parameter.shape


@each
def test_a_search_with_recovery_changes_nothing_but_gains(name: str, out: Path) -> None:
    model, task = brought(name)
    before = Snapshot.of(model)
    settings = RecoverySettings(RecoveryBudget(steps=30), dropout=0.0, segments=2)
    result = autocompress.search(
        model, task, budget="5kB", trials=2, out=out, recovery=settings, seed=0
    )
    before.check(model)
    assert result.recovered
    recovered = result.recovered[0]
    loaded = autocompress.load(recovered.artifact, copy.deepcopy(model))
    assert Sequences(BROUGHT[name][1]).evaluate(loaded, "valid") == recovered.values["loss"]
    assert recovered.values["loss"] < max(one.values["loss"] for one in result.front)


def test_a_reader_by_function_belongs_to_the_site() -> None:
    model, task = brought("tied")
    sites = {site.name: site.members for site in Source.of(model, task).calibration.sites}
    assert sites == {"h:gru.l0": ("embedding.weight", "gru.weight_hh_l0")}


def test_a_use_by_function_counts_like_a_module() -> None:
    class Apart(nn.Module):
        def __init__(self, tied: Any) -> None:
            super().__init__()
            self.embedding, self.gru = tied.embedding, tied.gru
            self.decoder = nn.Linear(16, 40, bias=False)
            self.decoder.weight = self.embedding.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.decoder(self.gru(self.embedding(tokens))[0])
            return scores

    model, task = brought("tied")
    by_function = Source.of(model, task).calibration.curvatures
    by_module = Source.of(Apart(model), task).calibration.curvatures
    assert set(by_function) == set(by_module)
    for name, curvature in by_function.items():
        np.testing.assert_allclose(curvature.rows, by_module[name].rows)
        np.testing.assert_allclose(curvature.moment, by_module[name].moment)
