"""Checkpoints as people have them: forms, dtypes, names, ties, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from fuzzing.checkpoints import archive_of
from platforms import needs_posix
from safetensors.torch import save_file
from torch import Tensor, nn

import autocompress
from autocompress.errors import ModelError


class Net(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.lstm = nn.LSTM(4, 4, 1)
        self.norm = nn.BatchNorm1d(4)
        self.decoder = nn.Linear(4, 7)
        if tied:
            self.decoder.weight = self.embedding.weight


def made(seed: int = 0, tied: bool = False) -> Net:
    torch.manual_seed(seed)
    return Net(tied)


def state(dtype: torch.dtype = torch.float32, tied: bool = False) -> dict[str, Tensor]:
    """A state dict whose numbers are exact in half precision."""
    values = made(1, tied).state_dict()
    return {
        name: value.half().to(dtype).clone() if value.is_floating_point() else value
        for name, value in values.items()
    }


def one_file(tensors: dict[str, Tensor], folder: Path) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors"


def folder_of_one(tensors: dict[str, Tensor], folder: Path) -> Path:
    return one_file(tensors, folder).parent


def in_shards(tensors: dict[str, Tensor], folder: Path, kind: str = "safetensors") -> Path:
    names = list(tensors)
    places: dict[str, str] = {}
    for number, part in enumerate((names[:3], names[3:]), 1):
        shard = f"model-0000{number}-of-00002.{kind}"
        chosen = {name: tensors[name] for name in part}
        if kind == "bin":
            torch.save(chosen, folder / shard)
        else:
            save_file(chosen, folder / shard)
        places |= dict.fromkeys(part, shard)
    stem = "pytorch_model.bin" if kind == "bin" else "model.safetensors"
    index = folder / f"{stem}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def folder_of_shards(tensors: dict[str, Tensor], folder: Path) -> Path:
    return in_shards(tensors, folder).parent


def bin_shards(tensors: dict[str, Tensor], folder: Path) -> Path:
    return in_shards(tensors, folder, "bin").parent


def bin_folder(tensors: dict[str, Tensor], folder: Path) -> Path:
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def saved(
    wrap: Callable[[dict[str, Tensor]], Any], name: str = "last.ckpt", **options: Any
) -> Any:
    def write(tensors: dict[str, Tensor], folder: Path) -> Path:
        torch.save(wrap(tensors), folder / name, **options)
        return folder / name

    return write


def trained(tensors: dict[str, Tensor]) -> dict[str, Any]:
    optimizer = {"state": {0: {"momentum": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    return {"epoch": 3, "model": tensors, "optimizer": optimizer, "best": torch.tensor(0.5)}


FORMS = {
    "file": one_file,
    "folder": folder_of_one,
    "index": in_shards,
    "folder of shards": folder_of_shards,
    "folder of .bin": bin_folder,
    "sharded .bin": bin_shards,
    ".pt": saved(lambda tensors: tensors, "net.pt"),
    "old .pth": saved(lambda t: t, "net.pth", _use_new_zipfile_serialization=False),
    "training run": saved(trained),
    "Lightning": saved(
        lambda t: {
            "state_dict": {f"model.{name}": value for name, value in t.items()},
            "optimizer_states": [{"state": {}}],
            "pytorch-lightning_version": "2.4.0",
        }
    ),
    "nested": saved(lambda t: {"args": {"lr": 1}, "checkpoint": {"state_dict": t}}),
}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_every_dtype_fills_a_model(
    form: str, dtype: torch.dtype, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = state(dtype)
    model = made().train()
    assert autocompress.load_checkpoint(FORMS[form](tensors, tmp_path), model) is model
    assert model.training
    for name, value in model.state_dict().items():
        assert value.dtype == (torch.float32 if tensors[name].is_floating_point() else torch.int64)
        assert torch.equal(value, tensors[name].to(value.dtype)), name
    said = capsys.readouterr().err
    assert ("widened without loss" in said) == (dtype.itemsize == 2)
    assert ("float64 rounded" in said) == (dtype == torch.float64)


def test_numbers_of_eight_bits_are_widened(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([0.5, -1.5]).to(torch.float8_e5m2)}
    found = autocompress.load_checkpoint(one_file(tensors, tmp_path))
    assert found["a"].tolist() == [0.5, -1.5]


def test_without_a_model_names_stay_and_numbers_are_single(tmp_path: Path) -> None:
    tensors = {f"module.{name}": value for name, value in state(torch.bfloat16).items()}
    found = autocompress.load_checkpoint(one_file(tensors, tmp_path))
    assert found.keys() == tensors.keys()
    assert found["module.norm.num_batches_tracked"].dtype == torch.int64
    for name, value in found.items():
        assert torch.equal(value, tensors[name].to(value.dtype))
        assert value.dtype != torch.bfloat16


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"model.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.module.{name}",
        lambda name: f"_orig_mod.module.model.{name}",
        lambda name: f"net.{name}",
        lambda name: name.replace("lstm.", "lstm._orig_mod."),
        lambda name: name.replace("lstm.", "rnn."),
        lambda name: f"module.{name}".replace("lstm.", "rnn."),
        lambda name: name.replace("decoder.", "decoder.module."),
    ],
)
def test_names_are_made_to_fit(rename: Callable[[str], str], tmp_path: Path) -> None:
    tensors = {rename(name): value for name, value in state().items()}
    model = autocompress.load_checkpoint(one_file(tensors, tmp_path), made())
    for name, value in model.state_dict().items():
        assert torch.equal(value, tensors[rename(name)])


def test_a_wrapped_model_takes_bare_names_and_wrapped_ones(tmp_path: Path) -> None:
    bare = one_file(state(), tmp_path)
    wrapped = nn.DataParallel(made())
    autocompress.load_checkpoint(bare, wrapped)
    assert torch.equal(wrapped.state_dict()["module.decoder.bias"], state()["decoder.bias"])


def test_of_tied_weights_one_or_equal_ones_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = state(tied=True)
    for left_out in ((), ("decoder.weight",), ("embedding.weight",)):
        chosen = {name: value for name, value in tensors.items() if name not in left_out}
        model = autocompress.load_checkpoint(one_file(chosen, tmp_path), made(tied=True))
        assert model.decoder.weight is model.embedding.weight
        assert torch.equal(model.decoder.weight, tensors["decoder.weight"])
    assert capsys.readouterr().err.count("are equal, and tied in the model") == 1
    tensors["decoder.weight"][0, 0] += 1
    model = made(tied=True)
    with pytest.raises(
        ModelError, match=r"ties embedding\.weight and decoder\.weight, but .*diff"
    ):
        autocompress.load_checkpoint(one_file(tensors, tmp_path), model)
    assert torch.equal(model.decoder.weight, made(tied=True).decoder.weight)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("decoder.bias"), r"missing: decoder\.bias; not expected: none"),
        (lambda t: t.update(extra=torch.ones(1)), "missing: none; not expected: extra"),
        (
            lambda t: t.update({"decoder.bias": torch.ones(8), "lstm.bias_hh_l0": torch.ones(2)}),
            r"decoder\.bias must be of shape \(7,\), got \(8,\); lstm\.bias_hh_l0 must .*\(2,\)",
        ),
        (
            lambda t: t.update({"decoder.bias": torch.full((7,), 1e300, dtype=torch.float64)}),
            r"'decoder\.bias' .* holds 7 numbers up to 1e\+300, but float32 ends at 3\.4e\+38",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    spoil: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    tensors = state()
    spoil(tensors)
    model = made()
    with pytest.raises(ModelError, match=message) as caught:
        autocompress.load_checkpoint(one_file(tensors, tmp_path), model)
    assert "\n" not in str(caught.value)
    for name, value in made().state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_old_checkpoints_lack_the_counter_of_batch_normalisation(tmp_path: Path) -> None:
    tensors = state()
    del tensors["norm.num_batches_tracked"]
    model = autocompress.load_checkpoint(one_file(tensors, tmp_path), made())
    assert torch.equal(model.norm.weight, tensors["norm.weight"])


def test_numbers_that_are_not_finite_are_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = state()
    tensors["decoder.bias"][:2] = torch.tensor([float("nan"), float("inf")])
    autocompress.load_checkpoint(one_file(tensors, tmp_path))
    assert "2 of the 7 numbers of decoder.bias are NaN or infinite" in capsys.readouterr().err


RAN: list[str] = []


def _ran() -> None:
    RAN.append("code of the file")


class Hostile:
    def __reduce__(self) -> Any:
        return _ran, ()


def pickled(value: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(value, folder / "model.pt")
        return folder / "model.pt"

    return write


def scripted(folder: Path) -> Path:
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(folder / "model.pt"))  # type: ignore[no-untyped-call]
    return folder / "model.pt"


def plain_pickle(folder: Path) -> Path:
    (folder / "model.pt").write_bytes(pickle.dumps({"weight": np.ones(2)}))
    return folder / "model.pt"


@pytest.mark.parametrize(
    ("write", "recipe"),
    [
        (pickled(nn.Linear(2, 2)), r"\(torch\.nn\.modules\.linear\.Linear\).*state_dict\(\), 'w"),
        (pickled({"state_dict": {"w": torch.ones(1)}, "x": Hostile()}), r"model\['state_dict'\]"),
        (plain_pickle, r"torch\.save\(model\.state_dict\(\)"),
        (scripted, r"torch\.save\(torch\.jit\.load\("),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_code_is_refused_with_the_recipe(
    write: Callable[[Path], Path], recipe: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=recipe) as caught:
        autocompress.load_checkpoint(write(tmp_path))
    assert not RAN
    assert "\n" not in str(caught.value)


def damaged(form: str, change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path: Path = FORMS[form](state(), folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return write


def with_index(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        index = in_shards(state(), folder)
        document = json.loads(index.read_text())
        edit(document)
        index.write_text(json.dumps(document))
        return index

    return write


def without(pattern: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        in_shards(state(), folder)
        next(folder.glob(pattern)).unlink()
        return folder

    return write


def file_of(content: bytes, name: str = "model.bin") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def two_files(folder: Path) -> Path:
    for name in ("a.pt", "b.pt"):
        torch.save(state(), folder / name)
    return folder


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder / "none.pt", "there is none at"),
        (lambda folder: folder, "holds none; hand in the file itself"),
        pytest.param(lambda _: Path("/dev/null"), "no ordinary file", marks=needs_posix),
        (two_files, r"2 files .*\(a\.pt, b\.pt\); hand in one"),
        (file_of(b""), "is empty"),
        (file_of(b"hello, world"), "neither safetensors nor"),
        (file_of(b"PK\x03\x04" + bytes(100)), "is damaged or not of `torch.save`"),
        (file_of(b"\x80\x02}q\x00"), "is damaged or not of `torch.save`"),
        (file_of(b"\xff" * 8 + b"{}", "x.safetensors"), "damaged or no safetensors"),
        (file_of(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (file_of(b"x", "x.acz"), "compressed already"),
        (damaged("file", lambda data: data[:-10]), "damaged or no safetensors"),
        (damaged(".pt", lambda data: data[:-30]), "is damaged or not of `torch.save`"),
        (damaged("old .pth", lambda data: data[:-30]), "is damaged or not of `torch.save`"),
        (without("*.index.json"), "shards .* without their index"),
        (
            without("*-00002-*"),
            "names the shard model-00002-of-00002.safetensors, but there is no",
        ),
        (with_index(lambda d: d["weight_map"].update(x="../../etc/passwd")), "lie beside their"),
        (with_index(lambda d: d["weight_map"].update(x="/etc/passwd")), "lie beside their"),
        (
            with_index(lambda d: d["weight_map"].update(x="model-00001-of-00002.safetensors")),
            "'x'",
        ),
        (with_index(lambda d: d.pop("weight_map")), "no index of a checkpoint"),
        (file_of(b"{", "x.index.json"), "not valid JSON"),
        (pickled([1, 2]), "holds a list, not a state dict"),
        (pickled({"epoch": 1}), "holds no state dict"),
        (pickled({"state_dict": {"a": torch.ones(1, device="meta")}}), "'a' .*has no values"),
        (pickled({"a": torch.eye(2).to_sparse()}), "'a' .*sparse"),
        (
            pickled({"g": {"w": torch.ones(1)}, "d": {"w": torch.ones(1)}}),
            r"2 dictionar.*\(g, d\)",
        ),
    ],
)
def test_what_is_damaged_or_none_is_refused_in_one_line(
    write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        autocompress.load_checkpoint(write(tmp_path))
    assert "\n" not in str(caught.value)


def compressed_archive(folder: Path) -> Path:
    path, plain = folder / "model.pt", folder / "plain.pt"
    torch.save({"w": torch.zeros(2**25)}, plain)
    with ZipFile(plain) as source, ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    return path


def archive_of_several_disks(folder: Path) -> Path:
    path = pickled({"w": torch.ones(3)})(folder)
    data = bytearray(path.read_bytes())
    first = data.rindex(b"PK\x06\x07")  # where the end of a large archive is looked for
    data[first + 16 : first + 20] = (2).to_bytes(4, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (archive_of_several_disks, "damaged"),
        (pickled({"w": torch.ones(1).expand(2**20, 2**10)}), "tensors of 4,294,967,296"),
        (pickled({f"w{n}": torch.ones(2**20, 1).expand(-1, 30) for n in range(9)}), "at most"),
        (pickled({"w": torch.empty(0, 2**40)}), "claims to hold"),
        (compressed_archive, "records become"),
    ],
)
def test_few_bytes_do_not_become_large_tensors(
    write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        autocompress.load_checkpoint(write(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_weight_that_many_layers_share_is_read(tmp_path: Path) -> None:
    shared = nn.Linear(2048, 2048, bias=False)
    model = nn.Sequential(*[shared] * 24)  # 16 MB in the file, and 400 by the names
    path = pickled(model.state_dict())(tmp_path)
    with torch.device("meta"):
        other = nn.Sequential(*[nn.Linear(2048, 2048, bias=False)] * 24)
    autocompress.load_checkpoint(path, other)
    weights = [tensor for _, tensor in other.named_parameters(remove_duplicate=False)]
    assert torch.equal(weights[23], shared.weight)
    assert weights[23] is weights[0]


@pytest.mark.parametrize("shape", [(-1, 0), (0, -1), (-2, -2), (2**62, 2**62), (0, 2**62, 4)])
def test_sizes_that_no_tensor_has_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(archive_of((4, 5), (5, 1)))
    assert autocompress.load_checkpoint(path)["w"].shape == (4, 5)
    path.write_bytes(archive_of(shape, (1,) * len(shape)))
    with pytest.raises(ModelError):
        autocompress.load_checkpoint(path)


def test_what_is_held_once_may_have_several_names(tmp_path: Path) -> None:
    weight = torch.ones(4, 5)
    path = pickled({"a": weight, "b": weight, "c": torch.ones(1).expand(6, 7)})(tmp_path)
    found = autocompress.load_checkpoint(path)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "a": (4, 5),
        "b": (4, 5),
        "c": (6, 7),
    }


def test_complex_numbers_are_not_cut_to_real_ones(tmp_path: Path) -> None:
    path = pickled({"weight": torch.ones(2, 2, dtype=torch.complex64)})(tmp_path)
    with pytest.raises(ModelError, match="is of complex64, the model's of float32"):
        autocompress.load_checkpoint(path, nn.Linear(2, 2, bias=False))
