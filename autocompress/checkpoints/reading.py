"""A path becomes tensors: which files it stands for, and safetensors, in one file or sharded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from autocompress.checkpoints.containers import state_dict_in
from autocompress.checkpoints.pickled import check_sizes, read_pickled
from autocompress.errors import ModelError
from autocompress.layers import mapped
from autocompress.support.files import is_plain_name, parsed_json

_USUAL = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_PATTERNS = ("*.safetensors", "*.index.json", "*.bin", "*.pt", "*.pth", "*.ckpt")
_SHARD = re.compile(r"-\d+-of-\d+\.\w+$")
_SHOWN = 4
_KINDS = (
    "a checkpoint is a safetensors file, the index of a sharded one, or a state dict that "
    "`torch.save` wrote"
)
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint as they lie in its files.

    Attributes:
        path: The file, or the index of a sharded one.
        tensors: By their names there, of the dtypes there, on the CPU. Those of safetensors are
            mapped: they take memory where they are looked at, and what is written stays apart.
        done: What was done to get here, in one line each.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    done: tuple[str, ...] = ()

    def changed(self, tensors: Mapping[str, Tensor], *done: str) -> Checkpoint:
        """Return the checkpoint with other tensors, and with what was done to them."""
        return replace(self, tensors=tensors, done=(*self.done, *done))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the tensors of a checkpoint. Code in a file is never run.

    Args:
        path: A safetensors file; a file of `torch.save` that holds a state dict, or a
            dictionary that has one, as training runs write; the index of a sharded checkpoint;
            or a folder that holds one of these.

    Raises:
        ModelError: If there is no such file, or it is damaged, holds no tensors, or would have to
            run code.
    """
    path = Path(path)
    file = _file_in(path) if path.is_dir() else path
    if not file.exists():
        raise ModelError(f"{_KINDS}, but there is none at '{file}'; check the path")
    if not file.is_file():
        raise ModelError(f"'{file}' is no ordinary file; {_KINDS}")
    done: tuple[str, ...] = ()
    if file.suffix == ".json":
        tensors, done = _sharded(file)
    else:
        tensors, done = _read_file(file)
    if not tensors:
        raise ModelError(f"'{file}' holds no tensors; {_KINDS}")
    for name, tensor in tensors.items():
        _check_plain(file, name, tensor)
    return Checkpoint(file, tensors, done)


def _file_in(folder: Path) -> Path:
    usual = [folder / name for name in _USUAL if (folder / name).is_file()]
    if usual:
        return usual[0]
    found = sorted({file for pattern in _PATTERNS for file in folder.glob(pattern)})
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelError(
            f"a folder of a checkpoint holds {_USUAL[0]} or the like, but '{folder}' "
            "holds none; hand in the file itself"
        )
    names = ", ".join(file.name for file in found[:_SHOWN])
    if all(_SHARD.search(file.name) for file in found):
        raise ModelError(
            f"'{folder}' holds shards ({names}) without their index, such as "
            f"{_USUAL[1]}; copy that as well"
        )
    raise ModelError(
        f"'{folder}' holds {len(found)} files that may be the checkpoint ({names}"
        f"{', ...' * (len(found) > _SHOWN)}); hand in one of them"
    )


def _read_file(file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    try:
        with file.open("rb") as stream:
            head = stream.read(max(len(_LFS_POINTER), 9))
    except OSError as error:
        raise ModelError(f"cannot read '{file}': {error.strerror}; {_KINDS}") from None
    if not head:
        raise ModelError(f"'{file}' is empty; copy it again from its source")
    if head.startswith(_LFS_POINTER):
        raise ModelError(
            f"'{file}' is a pointer of Git LFS, not the checkpoint itself; fetch it "
            "by `git lfs pull`"
        )
    if file.suffix == ".acz":
        raise ModelError(f"'{file}' is compressed already; read it by `autocompress.load`")
    if head[:2] == b"PK" or head[:1] == b"\x80":
        tensors, done = state_dict_in(read_pickled(file), file)
        check_sizes(file, tensors)
        return tensors, done
    if file.suffix == ".safetensors" or head[8:9] == b"{":
        tensors = _read_safetensors(file)
        check_sizes(file, tensors)
        return tensors, ()
    raise ModelError(
        f"'{file}' is neither safetensors nor of `torch.save`, or it is damaged; {_KINDS}"
    )


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(file)
        mapped.mark(tensors, file, _beginnings(file))
        return tensors
    except OSError as error:
        raise ModelError(f"cannot read '{file}': {error.strerror or _one_line(error)}") from None
    except Exception as error:
        # A file of a stranger may fail in any way, such as by a number format of the future.
        raise ModelError(
            f"{file} is damaged or no safetensors file ({_one_line(error)}); copy it again from "
            "its source"
        ) from None


def _beginnings(file: Path) -> dict[str, int]:
    """Return by name where the bytes of a tensor begin, in a file that was found to be whole."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        table = parsed_json(stream.read(length))
    table.pop("__metadata__", None)
    return {name: 8 + length + entry["data_offsets"][0] for name, entry in table.items()}


def _sharded(index: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    places = _places(index)
    tensors: dict[str, Tensor] = {}
    shards = sorted(set(places.values()))
    for shard in shards:
        file = index.parent / shard
        if not file.is_file():
            raise ModelError(
                f"'{index}' names the shard {shard}, but there is no such file beside "
                "it; copy it there"
            )
        found, _ = _read_file(file)
        wanted = [name for name, place in places.items() if place == shard]
        lacking = [name for name in wanted if name not in found]
        if lacking:
            raise ModelError(
                f"'{index}' says that '{lacking[0]}' is in {shard}, but it is not; "
                "copy the shards and their index again from one source"
            )
        tensors |= {name: found[name] for name in wanted}
    return tensors, (f"{index.name}: {len(shards)} shards",)


def _places(index: Path) -> dict[str, str]:
    """Read in which shard each tensor is."""
    try:
        document: Any = parsed_json(index.read_bytes())
    except ValueError as error:
        raise ModelError(
            f"'{index}' is not valid JSON ({_one_line(error)}); copy it again"
        ) from None
    except OSError as error:
        raise ModelError(f"cannot read '{index}': {error.strerror}") from None
    places = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise ModelError(
            f"'{index}' is no index of a checkpoint: that has an object weight_map "
            "from names of tensors to files"
        )
    for shard in places.values():
        # What comes from strangers must not lead out of the folder.
        if not is_plain_name(shard) or shard.endswith(".json"):
            raise ModelError(
                f"'{index}' names the shard {shard!r}, but shards lie beside their "
                "index; correct it"
            )
    return places


def _check_plain(file: Path, name: str, tensor: Tensor) -> None:
    reason = None
    if tensor.is_meta:
        reason = "has no values (meta device)"
    elif tensor.is_quantized:
        reason = "is quantized by PyTorch already"
    elif min(tensor.shape, default=0) < 0:
        reason = f"has the shape {tuple(tensor.shape)}"
    elif tensor.layout != torch.strided:
        reason = f"is stored as {tensor.layout}"
    if reason:
        raise ModelError(f"'{name}' in '{file}' {reason}; save it as an ordinary dense tensor")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
