"""The engines of this package, through the kit that strangers' engines go through."""

from pathlib import Path

import pytest
import torch
from torch import nn
from towers import Copying, Tower
from toys import toy_corpus, toy_model

from autocompress import Task
from autocompress.artifact import Artifact
from autocompress.engines.base import ENGINES, Engine, Latency
from autocompress.engines.onnx.engine import OnnxEngine
from autocompress.engines.torch import fill
from autocompress.engines.torch.engine import TorchEngine
from autocompress.lm import LanguageModeling, load_model, read_corpus
from autocompress.testing import check_engine


@pytest.fixture(params=["language model", "tower"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[nn.Module, Task]:
    if request.param == "tower":
        return Tower().eval(), Copying()
    corpus = toy_corpus(tmp_path / "toy")
    model, vocabulary = load_model(toy_model(tmp_path / "model", corpus))
    return model, LanguageModeling(read_corpus(corpus, vocabulary))


@pytest.mark.parametrize("engine", [OnnxEngine, TorchEngine])
def test_engines_conform(engine: type[Engine], subject: tuple[nn.Module, Task]) -> None:
    check_engine(engine, *subject)


@ENGINES.register("broken")
class Broken(Engine):
    """Fills the model that it is given, and can be told to break a rule."""

    name, since = "broken", "0.1.0"
    breaks = ""

    def __init__(self, model: nn.Module, uncompressed: Artifact) -> None:
        del uncompressed
        self.model = model
        self.loads = 0

    def load(self, artifact: Artifact) -> nn.Module:
        self.loads += 1
        if self.breaks == "files":
            artifact.path.with_suffix(".left").touch()
        fill(self.model, artifact)
        if self.breaks == "score" or (self.breaks == "repeat" and self.loads > 3):
            with torch.no_grad():
                next(self.model.parameters()).mul_(1.5)
        return self.model

    def latency(self, loaded: nn.Module) -> Latency | None:
        return Latency(1.0, 1.0, 1.0, 0.0, 1) if self.breaks == "latency" else None


@pytest.mark.parametrize(
    ("breaks", "rule"),
    [
        ("files", "must end in `suffix`"),
        ("score", "must score as in PyTorch"),
        ("repeat", "equal artifacts must have equal scores"),
        ("latency", "must say what `latency` does"),
    ],
)
def test_the_kit_finds_what_is_wrong(
    breaks: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_engine(Broken, Tower().eval(), Copying())
    monkeypatch.setattr(Broken, "breaks", breaks)
    with pytest.raises(AssertionError, match=rule):
        check_engine(Broken, Tower().eval(), Copying())
