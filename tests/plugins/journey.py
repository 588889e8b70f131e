"""From plan to recovery with methods of other packages. Run as `journey.py FOLDER`.

Nothing here imports a plugin before the package has found it.
"""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import autocompress
from autocompress.encoding.encoder import uncompressed_plan
from autocompress.engines.base import ENGINES
from autocompress.knowledge.source import Source
from autocompress.knowledge.task import Task
from autocompress.layers.base import LAYERS
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import PRECISIONS
from autocompress.recovery import RecoveryBudget, RecoverySettings, recover
from autocompress.structures import STRUCTURES
from autocompress.testing import (
    check_engine,
    check_layer,
    check_objective,
    check_precision,
    check_structure,
)
from autocompress.trial.evaluator import Evaluator

SPACE = """
description = "what a stranger brings, beside what is there"
engine = "toy_half"
latency = true

[[rules]]
name = "biases"
roles = ["bias"]
structures = [{ kind = "dense" }]
precisions = [{ kind = "float16" }]

[[rules]]
name = "matrices"
structures = [{ kind = "toy_signs", rounds = { low = 1, high = 3 } }, { kind = "dense" }]
precisions = [
    { kind = "toy_wide_zero", width = { low = 0.05, high = 2.0, log = true } },
    { kind = "uniform", bits = [8, 4] },
]

[[uniform]]
label = "wide zeros"
ladder = true
[uniform.rules]
biases = {}
matrices = { structure = "dense", precision = "toy_wide_zero", width = 0.3 }
"""
TOY = {
    "structure": {"kind": "toy_signs", "rounds": 2},
    "precision": {"kind": "toy_wide_zero", "width": 0.05},
}


class Model(nn.Module):
    """Names the class of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 24)
        self.gated = LAYERS["toy_gated"].layer(24, 24)
        self.head = nn.Linear(24, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.gated(self.embedding(tokens).mean(1)))
        return logits


class Agreement(Task):
    """How often a model names the class that the original names."""

    metric, direction = "agreement", "maximize"

    def __init__(self, original: nn.Module) -> None:
        self._original = original
        self._tokens = torch.randint(20, (300, 6), generator=torch.Generator().manual_seed(0))

    def evaluate(self, model: nn.Module, split: str) -> float:
        part = self._tokens[:150] if split == "valid" else self._tokens[150:]
        with torch.no_grad():
            same = model(part).argmax(1) == self._original(part).argmax(1)
        return float(same.float().mean())

    def calibration_batches(self) -> Iterator[torch.Tensor]:
        yield self._tokens[:30]

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            batch = torch.randint(20, (32, 6), generator=generator)
            yield nn.functional.mse_loss(model(batch), teacher(batch))


def main(folder: Path) -> None:
    """Go all the way."""
    torch.manual_seed(0)
    model = Model().eval()
    task = Agreement(copy.deepcopy(model))
    toys = treated(model, task)
    stored_and_loaded(model, task, toys, folder)
    recovered(model, task, toys, folder)
    searched(model, task, folder)
    conforming(model, task)


def treated(model: nn.Module, task: Task) -> CompressionPlan:
    """Return a plan by JSON, in which all matrices are stored by the plugins."""
    document = uncompressed_plan(Source.of(model, task)).to_json()
    for name, tensor in model.state_dict().items():
        if tensor.dim() == 2:
            document["treatments"][name] = TOY
    plan = CompressionPlan.from_json(document)
    assert CompressionPlan.from_json(json.loads(plan.dumps())) == plan
    assert type(plan.treatments["gated.value"].structure) is STRUCTURES["toy_signs"]
    return plan


def stored_and_loaded(model: nn.Module, task: Task, plan: CompressionPlan, folder: Path) -> None:
    """Write a file, and load it decoded and as factors."""
    artifact = autocompress.compress(model, plan, task, folder / "toy.acz")
    assert artifact.plan == plan
    tokens = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        decoded = autocompress.load(folder / "toy.acz", Model())(tokens)
        factored = autocompress.load(folder / "toy.acz", Model(), factored=True)(tokens)
    assert torch.allclose(decoded, factored, atol=1e-5)


def recovered(model: nn.Module, task: Task, plan: CompressionPlan, folder: Path) -> None:
    """Fine-tune what the plugins store."""
    evaluator = Evaluator.of(model, task)
    before = evaluator.run(0, plan, folder / "before.acz")
    budget = RecoverySettings(RecoveryBudget(steps=60), dropout=0.0, learning_rate=0.02)
    after = recover(model, task, evaluator, plan, folder / "recovery", budget, 0)
    assert after.plan == plan
    assert after.values["agreement"] > before.values["agreement"], (before.values, after.values)


def searched(model: nn.Module, task: Task, folder: Path) -> None:
    """Search a space of the plugins, in an engine and by an objective of theirs."""
    from toy_objective import METHODS  # type: ignore[import-not-found]

    path = folder / "space.toml"
    path.write_text(SPACE, encoding="utf-8")
    result = autocompress.search(
        model, task, space=path, objectives=[METHODS], trials=14, out=folder / "out"
    )
    plans = [autocompress.open_artifact(one.artifact).plan for one in result.front]
    stored = {one.precision.kind for plan in plans for one in plan.treatments.values()}
    assert "toy_wide_zero" in stored, stored
    for one, plan in zip(result.front, plans, strict=True):
        assert one.values["methods"] == len({t.structure.method for t in plan.treatments.values()})
        assert one.values["latency"] > 0
        assert one.onnx is None


def conforming(model: nn.Module, task: Task) -> None:
    """Take the plugins through the conformance kit."""
    from toy_objective import LARGEST, METHODS

    toys = Treatment.model_validate(TOY)
    check_structure(toys.structure)
    check_precision(toys.precision)
    assert type(toys.precision) is PRECISIONS["toy_wide_zero"]
    adapter = LAYERS["toy_gated"]
    check_layer(adapter(), adapter.layer(6, 5), torch.randn(3, 6))
    check_objective(METHODS)
    check_objective(LARGEST, model)
    check_engine(ENGINES["toy_half"], model, task)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
