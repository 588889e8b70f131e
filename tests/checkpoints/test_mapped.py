"""Large tensors stay in their file: read as they are looked at, shared, never changed there."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from autocompress import CompressionPlan, Task, compress, load_checkpoint
from autocompress.checkpoints import dtypes, fitting
from autocompress.encoding import encoder
from autocompress.errors import ModelError
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights
from autocompress.layers.copies import untouched
from autocompress.layers.mapped import is_as_in_file
from autocompress.support import aside

ROWS, COLS = 40, 8


class Net(nn.Module):
    """Tied, with a layer that is no weight, and a small tensor."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ROWS, COLS)
        self.lstm = nn.LSTM(COLS, COLS)
        self.norm = nn.BatchNorm1d(COLS)
        self.decoder = nn.Linear(COLS, ROWS)
        if tied:
            self.decoder.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.decoder(self.lstm(self.embedding(ids))[0])
        return scores


class Ids(Task):
    """Two ids, and what is done to the model while it runs."""

    metric = "loss"

    def __init__(self, spoils: bool = False) -> None:
        self.spoils = spoils

    def calibration_batches(self) -> Iterator[Tensor]:
        yield torch.tensor([[0], [1]])

    def forward(self, model: nn.Module, batch: Tensor) -> Any:
        output = model(batch)
        if self.spoils:
            next(iter(model.parameters())).data[3:5] = 7
        return output

    def evaluate(self, model: nn.Module, split: str) -> float:
        return float(model(torch.tensor([[0], [1]])).mean())


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (dtypes, fitting):
        monkeypatch.setattr(module, "LARGE", ROWS * COLS - 1)


def saved(model: nn.Module, folder: Path, shards: int = 1) -> Path:
    """Write a checkpoint in a folder, in one file or several; of tied weights, the first."""
    folder.mkdir(exist_ok=True)
    named = set(dict(model.named_parameters())) | set(dict(model.named_buffers()))
    tensors = {name: t for name, t in model.state_dict().items() if name in named}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    places: dict[str, str] = {}
    for number in range(shards):
        own = {name: tensors[name] for name in list(tensors)[number::shards]}
        shard = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        save_file(own, folder / shard)
        places |= dict.fromkeys(own, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def on_no_device(tied: bool = True) -> Net:
    with torch.device("meta"):
        return Net(tied)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_model_on_no_device_is_filled_with_what_lies_in_the_file(
    tied: bool, shards: int, tmp_path: Path
) -> None:
    folder = saved(Net(tied), tmp_path, shards)
    expected = load_checkpoint(folder, Net(tied))
    model = load_checkpoint(folder, on_no_device(tied))
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        name: value.tolist() for name, value in expected.state_dict().items()
    }
    assert (model.decoder.weight is model.embedding.weight) == tied
    assert all(weight.requires_grad for weight in model.parameters())
    assert is_as_in_file(model.embedding.weight)
    assert not is_as_in_file(model.decoder.bias), "what is small has memory of its own"
    assert not is_as_in_file(expected.embedding.weight), "what has memory is filled where it is"
    weights = ModelWeights.of(model)
    assert (
        weights.weights["embedding.weight"].values.ctypes.data == model.embedding.weight.data_ptr()
    )
    assert weights.sha256 == ModelWeights.of(expected).sha256
    ids = torch.tensor([[0], [5]])
    assert torch.equal(model.eval()(ids), expected.eval()(ids))


def test_what_is_in_memory_is_filled_where_it_is_beside_what_is_not(tmp_path: Path) -> None:
    model, folder = Net(False), saved(Net(False), tmp_path)
    held = model.decoder.weight
    model.embedding.to("meta")
    load_checkpoint(folder, model)
    assert model.decoder.weight is held
    assert torch.equal(held, load_checkpoint(folder)["decoder.weight"])
    assert is_as_in_file(model.embedding.weight)


def test_what_the_file_does_not_hold_must_be_in_memory(tmp_path: Path) -> None:
    folder = saved(Net(), tmp_path)
    model = on_no_device()
    model.register_buffer("table", torch.empty(3, device="meta"), persistent=False)
    with pytest.raises(ModelError, match=r"no values for table.* make the model on the CPU$"):
        load_checkpoint(folder, model)
    assert model.embedding.weight.is_meta


def test_what_is_done_to_a_watched_model_is_undone_from_the_file(tmp_path: Path) -> None:
    folder = saved(Net(), tmp_path)
    model = load_checkpoint(folder, on_no_device())
    before = model.embedding.weight.detach().clone()
    with untouched(model) as watched:
        twin = cast(Net, watched)
        assert twin.embedding.weight.data_ptr() == model.embedding.weight.data_ptr()
        twin.embedding.weight.data[3] = 5
        assert not is_as_in_file(model.embedding.weight)
    assert torch.equal(model.embedding.weight, before)
    assert torch.equal(load_checkpoint(folder)["embedding.weight"], before)


def test_what_was_changed_since_it_was_read_is_copied(tmp_path: Path) -> None:
    model = load_checkpoint(saved(Net(), tmp_path), on_no_device())
    model.embedding.weight.data[2] = 3
    changed = model.embedding.weight.detach().clone()
    with untouched(model) as watched:
        twin = cast(Net, watched)
        assert torch.equal(twin.embedding.weight, changed)
        twin.embedding.weight.data[3] = 5
    assert torch.equal(model.embedding.weight, changed)


@pytest.mark.parametrize("spoils", [False, True])
def test_a_file_is_that_of_the_model_in_memory(
    spoils: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_FEW", 16)
    folder = saved(Net(), tmp_path / "checkpoint", 2)
    models = load_checkpoint(folder, Net()), load_checkpoint(folder, on_no_device())
    kinds = [{"kind": "dense"}, {"kind": "low_rank", "rank": 2}]
    treatments = {
        name: {"structure": kinds[name == "embedding.weight"], "precision": {"kind": "float16"}}
        for name in dict(models[0].named_parameters())
    }
    plan = CompressionPlan.from_json({"treatments": treatments})
    files = [tmp_path / "memory.acz", tmp_path / "mapped.acz"]
    compress(models[0], plan, Ids(), files[0])
    compress(models[1], plan, Ids(spoils), files[1])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "mapped.acz",
        "memory.acz",
    ]
    assert torch.equal(models[0].embedding.weight, models[1].embedding.weight)


class Stack(nn.Module):
    """So many layers of 2^18 numbers."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 2**12, bias=False) for _ in range(depth))

    def forward(self, ids: Tensor) -> Tensor:
        return torch.stack([layer(ids.float().expand(1, 64)) for layer in self.layers]).mean()


class OneId(Ids):
    """A batch that fits a `Stack`."""

    def calibration_batches(self) -> Iterator[Tensor]:
        yield torch.tensor([[1]])


def test_memory_is_bounded_by_the_largest_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_FEW", 2**12)
    monkeypatch.setattr(encoder, "_LARGEST_CACHE", 2**16)  # as small beside it as beside gigabytes
    stored = {"structure": {"kind": "dense"}, "precision": {"kind": "uniform", "bits": 8}}
    peaks = []
    for depth in (1, 6):
        folder = saved(Stack(depth), tmp_path / str(depth))
        with torch.device("meta"):
            model = Stack(depth)
        load_checkpoint(folder, model)
        plan = CompressionPlan.from_json(
            {"treatments": {name: stored for name, _ in model.named_parameters()}}
        )
        tracemalloc.start()
        try:
            written = encoder.Encoder(Source.of(model, OneId()))
            written.write(plan, tmp_path / "model.acz")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_weights_that_one_memory_held_are_apart_where_the_model_has_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtypes, "LARGE", 16)
    torch.save(Net().state_dict(), tmp_path / "tied.pt")
    with torch.device("meta"):
        model = Net(tied=False)
    load_checkpoint(tmp_path / "tied.pt", model)
    with torch.no_grad():
        model.decoder.weight.zero_()
    assert model.embedding.weight.any()


@pytest.mark.parametrize("has_room", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_widened_lies_in_a_file_of_its_own(
    dtype: torch.dtype, has_room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtypes, "_MANY", 16)
    if not has_room:
        monkeypatch.setattr(tempfile, "TemporaryFile", _no_room)
    half = Net().to(dtype)
    folder = saved(half, tmp_path)
    model = load_checkpoint(folder, on_no_device())
    assert torch.equal(model.embedding.weight, half.embedding.weight.float())
    assert is_as_in_file(model.embedding.weight) == has_room
    with untouched(model) as watched:
        cast(Net, watched).embedding.weight.data[3] = 5
    assert torch.equal(model.embedding.weight, half.embedding.weight.float())


def _no_room(**given: Any) -> Any:
    raise OSError(28, "No space left on device", str(given))
