"""Gradual pruning, trained codebooks and the papers' pipeline, and that all of them resume."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Classification, Classifier, teacher, toy_corpus, toy_model

import autocompress
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.knowledge.source import Source
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.outcome.objectives import Split
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Codebook, EntropyStep, Float16, Float32, Precision, Uniform
from autocompress.recovery import RecoveryBudget, RecoverySettings, recover
from autocompress.recovery.pipeline import pipeline_stages, stage_of
from autocompress.recovery.pruning import ramp, share_of_sparsity
from autocompress.recovery.represented import Represented
from autocompress.structures import Dense, GroupReduce, LowRank, Pruned, Structure
from autocompress.trial.evaluator import Evaluator

HALF = Pruned(sparsity=0.5, of=LowRank(rank=8))


class Counting(Classification):
    """Counts what it is asked for, and stops in the middle, as a process that is killed."""

    def __init__(self, last_loss: int = 10**9) -> None:
        super().__init__()
        self.losses = self.evaluations = 0
        self.last_loss = last_loss

    def evaluate(self, model: torch.nn.Module, split: Split) -> float:
        self.evaluations += 1
        return super().evaluate(model, split)

    def training_losses(self, *arguments: object) -> Iterator[torch.Tensor]:
        for loss in super().training_losses(*arguments):  # type: ignore[arg-type]
            self.losses += 1
            if self.losses == self.last_loss:
                raise KeyboardInterrupt
            yield loss


class Flat(Counting):
    """Never gets better."""

    def evaluate(self, model: torch.nn.Module, split: Split) -> float:
        super().evaluate(model, split)
        return 0.5


def settings(steps: int, **changes: object) -> RecoverySettings:
    usual: dict[str, object] = {"dropout": 0.0, "learning_rate": 0.02, **changes}
    return RecoverySettings(RecoveryBudget(steps=steps), **usual)  # type: ignore[arg-type]


def plan_of(source: Source, structure: Structure, precision: Precision) -> CompressionPlan:
    """Treat all matrices alike, and leave the biases as they are."""
    treatment = Treatment(structure=structure, precision=precision)
    treatments = dict(uncompressed_plan(source).treatments)
    matrices = [name for name, weight in source.weights.weights.items() if weight.values.ndim == 2]
    fitting = [name for name in matrices if source.weights.weights[name].values.shape[0] > 8]
    return CompressionPlan(treatments={**treatments, **dict.fromkeys(fitting, treatment)})


def run(
    folder: Path,
    task: Classification,
    plan: CompressionPlan,
    options: RecoverySettings,
    evaluator: Evaluator | None = None,
) -> TrialResult:
    """Recover; without an evaluator, the task is calibrated on and evaluated by as well."""
    evaluator = evaluator or Evaluator.of(teacher(), task)
    return recover(teacher(), task, evaluator, plan, folder, options, 0)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator.of(teacher(), Classification())


@pytest.fixture(scope="module")
def source(evaluator: Evaluator) -> Source:
    return evaluator.source


def test_the_schedule_of_pruning() -> None:
    shares = [share_of_sparsity(step / 20) for step in range(21)]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert (np.diff(shares) > 0).all()
    assert (np.diff(shares, n=2) < 0).all()  # fast first, while much can be spared
    assert share_of_sparsity(0.5) == pytest.approx(1 - 0.5**3)
    assert share_of_sparsity(7.0) == 1
    assert ramp(0.4, start=0.4) == 0
    assert ramp(0.4 + 0.3 * 0.6, start=0.4) == pytest.approx(1)


@pytest.mark.parametrize("segments", [1, 2, 10])
def test_files_are_as_sparse_as_the_plan_says(
    tmp_path: Path, source: Source, evaluator: Evaluator, segments: int
) -> None:
    plan = plan_of(source, Pruned(sparsity=0.8), Float32())
    run(tmp_path, Classification(), plan, settings(40, segments=segments), evaluator)
    state = autocompress.open_artifact(tmp_path / "model.acz").state_dict()
    for name, treatment in plan.treatments.items():
        if isinstance(treatment.structure, Pruned):
            assert (state[name] == 0).sum() == round(0.8 * state[name].size)


def test_positions_of_zeros_count(tmp_path: Path, source: Source, evaluator: Evaluator) -> None:
    name = "embedding.weight"
    sparse = Treatment(structure=Pruned(sparsity=0.8), precision=Float32())
    treatments = {**uncompressed_plan(source).treatments, name: sparse}
    run(
        tmp_path, Classification(), CompressionPlan(treatments=treatments), settings(10), evaluator
    )
    lines = autocompress.open_artifact(tmp_path / "model.acz").report()
    line = next(line for line in lines if line.name == name)
    size = source.weights.weights[name].values.size
    survivors = 4 * (size - round(0.8 * size))
    # At least the entropy of the mask, 0.72 bit an element.
    assert line.size_bytes > survivors + 0.7 * size / 8


def test_nothing_is_measured_while_pruning_goes_on(tmp_path: Path, source: Source) -> None:
    task = Counting()
    run(tmp_path, task, plan_of(source, Pruned(sparsity=0.8), Float32()), settings(200))
    assert task.evaluations <= 8  # the ramp takes three of ten segments


def test_gradual_pruning_recovers_what_pruning_at_once_cannot(
    tmp_path: Path, source: Source, evaluator: Evaluator
) -> None:
    plan = plan_of(source, Pruned(sparsity=0.8), Float32())
    before = evaluator.run(0, plan, tmp_path / "before.acz")
    after = run(tmp_path, Classification(), plan, settings(300), evaluator)
    assert after.values["accuracy"] > before.values["accuracy"] + 0.05


def test_levels_are_trained_and_codes_stay(source: Source) -> None:
    plan = plan_of(source, Dense(), Codebook(bits=2))
    model = Represented(teacher(), source, plan)
    before = model.factors()["embedding.weight"]["weight"].values.copy()
    tokens = Classification().tokens[:50]
    model.model(tokens).square().sum().backward()
    with torch.no_grad():
        for latent in model.latents:
            assert latent.grad is not None
            latent.sub_(0.05 * latent.grad.sign())
    after = model.factors()["embedding.weight"]["weight"].values
    levels = np.unique(before)
    assert np.unique(after).size <= levels.size == 4
    for level in levels:
        moved = np.unique(after[before == level])
        assert moved.size == 1
        assert moved[0] != level


@pytest.mark.parametrize("structure", [Dense(), Pruned(sparsity=0.5), HALF])
def test_codebooks_recover(
    tmp_path: Path, source: Source, evaluator: Evaluator, structure: Structure
) -> None:
    plan = plan_of(source, structure, Codebook(bits=2))
    before = evaluator.run(0, plan, tmp_path / "before.acz")
    after = run(tmp_path, Classification(), plan, settings(200), evaluator)
    assert after.values["accuracy"] > before.values["accuracy"]
    model = autocompress.load(tmp_path / "model.acz", Classifier())
    assert Classification().evaluate(model, "valid") == after.values["accuracy"]
    if not isinstance(structure, Pruned) or isinstance(structure.of, Dense):
        values = autocompress.open_artifact(tmp_path / "model.acz").state_dict()[
            "embedding.weight"
        ]
        assert np.unique(values).size <= 4 + isinstance(structure, Pruned)


def test_the_stages_of_the_pipeline(source: Source) -> None:
    plan = plan_of(source, HALF, Uniform(bits=8))
    stages = pipeline_stages(plan, source)
    assert len(stages) == 4
    assert stages[-1] == plan
    exact = Float32()
    for name, treatment in stages[0].treatments.items():
        layer = "weight_ih" in name or "weight_hh" in name
        structure = LowRank(rank=8) if layer else Dense()
        assert treatment == Treatment(structure=structure, precision=exact)
    embedding = [stage.treatments["embedding.weight"] for stage in stages]
    assert [one.structure for one in embedding] == [Dense(), LowRank(rank=8), HALF, HALF]
    assert [one.precision for one in embedding] == [exact, exact, exact, Uniform(bits=8)]


def test_steps_that_change_nothing_are_left_out(source: Source) -> None:
    assert len(pipeline_stages(plan_of(source, LowRank(rank=8), Float16()), source)) == 3
    assert len(pipeline_stages(plan_of(source, Dense(), Float32()), source)) == 1


@pytest.mark.parametrize(
    ("segments", "n_stages", "expected"),
    [
        (10, 4, [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]),
        (10, 2, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]),
        (10, 1, [0] * 10),
        (3, 4, [0, 1, 3]),
        (1, 4, [3]),
    ],
)
def test_when_a_stage_begins(segments: int, n_stages: int, expected: list[int]) -> None:
    assert [stage_of(segment, segments, n_stages) for segment in range(segments)] == expected


def test_a_stage_takes_over_what_was_trained(source: Source) -> None:
    stages = pipeline_stages(plan_of(source, HALF, Float16()), source)
    first = Represented(teacher(), source, stages[0])
    with torch.no_grad():
        for latent in first.latents:
            latent.mul_(1.5)
    first.refresh()
    second = first.succeeded_by(stages[1])
    layer = "lstm.weight_hh_l0"
    for key, factor in second.factors()[layer].items():
        assert np.array_equal(factor.values, first.factors()[layer][key].values)
    factors = second.factors()["embedding.weight"]
    product = factors["left"].values @ factors["right"].values
    trained = first.factors()["embedding.weight"]["weight"].values
    best = LowRank(rank=8).factorize(trained, None)
    np.testing.assert_allclose(product, best["left"].values @ best["right"].values, atol=1e-5)


@pytest.mark.parametrize(
    ("structure", "precision"),
    [
        (HALF, Uniform(bits=4)),
        (Pruned(sparsity=0.5), Codebook(bits=3)),
        (Pruned(sparsity=0.5, of=GroupReduce(blocks=2, rank=6)), EntropyStep(step=0.5)),
    ],
    ids=["low rank", "codebook", "groups"],
)
@pytest.mark.parametrize("pipeline", [False, True])
def test_what_was_interrupted_ends_in_the_same_bytes(
    tmp_path: Path,
    source: Source,
    evaluator: Evaluator,
    structure: Structure,
    precision: Precision,
    pipeline: bool,
) -> None:
    plan = plan_of(source, structure, precision)
    options = settings(60, pipeline=pipeline, dropout=0.1)
    whole = run(tmp_path / "whole", Classification(), plan, options, evaluator)
    for last_loss in (13, 27, 45):
        folder = tmp_path / f"broken at {last_loss}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, Counting(last_loss), plan, options, evaluator)
        task = Counting()
        again = run(folder, task, plan, options, evaluator)
        assert 0 < task.losses < 60  # it went on, and not from the beginning
        assert again.values == whole.values
        files = [path / "model.acz" for path in (tmp_path / "whole", folder)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_training_ends_early_where_it_does_not_help(tmp_path: Path, source: Source) -> None:
    task = Flat()
    run(tmp_path, task, plan_of(source, Dense(), Float16()), settings(100))
    # What it begins with, the first half, and three files that are no better.
    assert task.evaluations == 9
    assert task.losses == 64 + 80  # those of calibration come first
    assert (tmp_path / "model.acz").exists()


@pytest.mark.parametrize("cell", ["gru", "rnn"])
@pytest.mark.parametrize("tied", [False, True])
def test_other_cells_recover_in_the_pipeline(tmp_path: Path, cell: str, tied: bool) -> None:
    corpus = toy_corpus(tmp_path / "toy")
    folder = toy_model(tmp_path / "model", corpus, cell=cell, tied=tied)
    model, vocabulary = load_model(folder)
    task = LanguageModeling(read_corpus(corpus, vocabulary))
    evaluator = Evaluator.of(model, task)
    plan = plan_of(evaluator.source, HALF, Uniform(bits=8))
    before = evaluator.run(0, plan, tmp_path / "before.acz")
    options = settings(60, pipeline=True)
    after = recover(model, task, evaluator, plan, tmp_path / "out", options, 0)
    assert after.values["perplexity"] < before.values["perplexity"]


def test_settings_are_told_apart_by_their_labels() -> None:
    budget = RecoveryBudget(seconds=600)
    assert RecoverySettings(budget).label() == "600 s"
    changed = RecoverySettings(budget, dropout=0.5, pipeline=True, seed=3)
    assert changed.label() == "600 s dropout=0.5 pipeline=1 seed=3"


def test_equal_settings_have_one_key_and_others_another() -> None:
    usual = RecoverySettings(RecoveryBudget(seconds=600))
    assert RecoverySettings(RecoveryBudget.parse("10m")).key == usual.key
    others = [
        RecoverySettings(RecoveryBudget(steps=600)),
        *(
            RecoverySettings(RecoveryBudget(seconds=600), **change)
            for change in (
                {"dropout": 0.150001}, {"learning_rate": 0.0050001}, {"distillation": 0.1},
                {"shrinkage": 9.0}, {"segments": 9}, {"pipeline": True}, {"seed": 1},
            )
        ),
    ]  # fmt: skip
    keys = {settings.key for settings in (usual, *others)}
    assert len(keys) == len(others) + 1
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+", key) for key in keys)
