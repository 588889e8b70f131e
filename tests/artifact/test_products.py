"""Large products of thin factors are decoded by blocks of rows, and are what they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from strategies import TinyTask, tiny_model, treat

from autocompress.artifact import decoding, open_artifact, opened
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan
from autocompress.precisions import EntropyStep, Float16
from autocompress.structures import GroupReduce, LowRank, Structure, TensorTrain

NAME = "embedding.weight"


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("structure", "is_cut"),
    [
        (GroupReduce(rank=2, blocks=3), True),
        (LowRank(rank=2), True),
        (TensorTrain(rank=2, modes=2), False),
    ],
    ids=str,
)
def test_blocks_put_together_are_the_weight(
    structure: Structure,
    is_cut: bool,
    padded: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    if padded:
        with torch.no_grad():
            model.state_dict()[NAME][[0, 7]] = 0
    source = Source.of(model, TinyTask())
    precision = EntropyStep(step=0.1) if is_cut else Float16()
    treatments = {**uncompressed_plan(source).treatments, NAME: treat(structure, precision)}
    path = tmp_path / "model.acz"
    Encoder(source).write(CompressionPlan(treatments=treatments), path)
    whole = open_artifact(path).state_dict()[NAME]
    monkeypatch.setattr(decoding, "AT_ONCE", 4 * whole.shape[1])
    monkeypatch.setattr(opened, "_FEW", 0)
    artifact = open_artifact(path)
    item = next(item for item in artifact.contents.header.items if item.name == NAME)
    blocks = list(artifact.blocks(item))
    assert (len(blocks) > 1) == is_cut
    assert np.concatenate([values for _, values in blocks]) == pytest.approx(whole, abs=1e-6)
    assert [rows.start for rows, _ in blocks] == list(
        np.cumsum([0, *(len(values) for _, values in blocks[:-1])])
    )
    assert artifact.state_dict()[NAME] == pytest.approx(whole, abs=1e-6)
    assert not padded or not whole[[0, 7]].any()
    assert not padded or not artifact.state_dict()[NAME][[0, 7]].any()
