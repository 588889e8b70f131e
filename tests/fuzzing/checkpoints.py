"""Checkpoints that were damaged, or written by somebody who means harm, and reading them."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from fuzzing.containers import Container, Tensor
from fuzzing.documents import changed_text
from fuzzing.octets import damaged
from safetensors.torch import save
from torch import nn

from autocompress.checkpoints import load_checkpoint
from autocompress.errors import ModelError

Files = Mapping[str, bytes]
_INDEX, _SHARD = "model.safetensors.index.json", "model-1-of-1.safetensors"
_FLAT, _ZIP, _OLD = "model.safetensors", "model.pt", "old.pt"


class Checkpoints:
    """Files of weights: safetensors, with an index or without, and of `torch.save`."""

    name = "checkpoints"
    allowed = (ModelError,)

    def __init__(self, folder: Path) -> None:
        """Write small ones to begin with.

        Args:
            folder: Where an input is put, under the same names each time.
        """
        self._folder = folder
        states = [_state(0), {"epoch": 3, "state_dict": _state(1), "optimizer": {"lr": 0.1}}]
        self._flat = [save(_state(0)), save({"module." + k: v for k, v in _state(1).items()})]
        self._zips = [_saved(state) for state in states]
        self._old = [_saved(state, _use_new_zipfile_serialization=False) for state in states]
        self._index = {"metadata": {}, "weight_map": dict.fromkeys(_state(0), _SHARD)}

    def made(self, random: Random) -> Files:
        """Return a checkpoint: its files by name, the one to be read first."""
        way = random.random()
        if way < 0.4:
            return {_FLAT: self._safetensors(random)}
        if way < 0.5:
            index = json.dumps(self._index).encode()
            text = changed_text(random, self._index)
            first = damaged(random, index, text) if random.random() < 0.2 else text
            return {_INDEX: first, _SHARD: self._flat[0]}
        if way < 0.6:
            return {_OLD: damaged(random, random.choice(self._old), random.choice(self._old))}
        if way < 0.7:
            return {_ZIP: damaged(random, random.choice(self._zips), random.choice(self._zips))}
        if way < 0.8:
            return {_ZIP: hostile_zip(random)}
        return {_ZIP: _rewritten(random, random.choice(self._zips))}

    def read(self, data: Files) -> None:
        """Read a checkpoint alone, and into a model."""
        for name, content in data.items():
            # What is mapped into memory must not change.
            (self._folder / name).unlink(missing_ok=True)
            (self._folder / name).write_bytes(content)
        first = self._folder / next(iter(data))
        assert load_checkpoint(first)
        load_checkpoint(first, _Small())

    def _safetensors(self, random: Random) -> bytes:
        data, other = random.choice(self._flat), random.choice(self._flat)
        if random.random() < 0.4:
            return damaged(random, data, other)
        container = Container.of(data)
        if random.random() < 0.2:
            names = [*container.tensors]
            dtype = random.choice(("F8_E4M3", "BF16", "F64", "I64", "BOOL", "F16", "F4", "C64"))
            tensors = {n: Tensor(dtype, t.shape, t.data) for n, t in container.tensors.items()}
            some = {name: tensors[name] for name in names[: random.randrange(1, len(names) + 1)]}
            container = Container(container.metadata, {**container.tensors, **some})
        return container.with_another_table(random)


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)


def _state(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    return dict(_Small().state_dict())


def _saved(state: Any, **options: Any) -> bytes:
    data = io.BytesIO()
    torch.save(state, data, **options)
    return data.getvalue()


def _rewritten(random: Random, data: bytes) -> bytes:
    """Return an archive of which one part was damaged, with checksums that are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    chosen = random.choice([name for name in parts if name.endswith("data.pkl")] * 4 + [*parts])
    parts[chosen] = damaged(random, parts[chosen], random.choice([*parts.values()]))
    return _zipped(random, parts)


def _zipped(random: Random, parts: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


class _Stored:
    """Stands for a storage, which a pickle names instead of holding it."""

    def __init__(self, kind: type, key: str, size: int) -> None:
        self.told = ("storage", kind, key, "cpu", size)


class _Called:
    """Is unpickled by a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._told = function, arguments

    def __reduce__(self) -> Any:
        return self._told


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.told if isinstance(value, _Stored) else None


def hostile_zip(random: Random) -> bytes:
    """Return an archive whose pickle tells sizes, steps and types that do not fit its bytes."""
    sizes = (0, 1, 2, 5, 20, 100, 10_000, 2**20, 2**24, 2**31, 2**40, 2**62, -1)
    kinds = (torch.FloatStorage, torch.DoubleStorage, torch.LongStorage, torch.ByteStorage)
    length = random.choice((0, 4, 80, 80, 4000, 2**22))

    def tensor() -> _Called:
        told = random.choice((length // 4, length // 4, random.choice(sizes)))
        stored = _Stored(random.choice(kinds), "0", told)
        dimensions = random.choice((1, 1, 2, 2, 3, 8))
        shape = random.choice(((4, 5), tuple(random.choice(sizes) for _ in range(dimensions))))
        steps = tuple(random.choice((0, 0, 1, 1, 5, *sizes)) for _ in shape)
        offset = random.choice((0, 0, 0, random.choice(sizes)))
        return _rebuilt(stored, offset, shape, steps)

    names = ("first.weight", "first.bias", "x", "../x", "a\0b", "", "\ud800")
    document = {random.choice(names): tensor() for _ in range(random.choice((1, 2, 6)))}
    return _zipped(random, _parts(document, length))


def archive_of(shape: tuple[int, ...], steps: tuple[int, ...]) -> bytes:
    """Return an archive with a tensor "w" of twenty numbers, of which a pickle tells this."""
    tensor = _rebuilt(_Stored(torch.FloatStorage, "0", 20), 0, shape, steps)
    return _zipped(Random(0), _parts({"w": tensor}, 80))


def _rebuilt(
    stored: _Stored, offset: int, shape: tuple[int, ...], steps: tuple[int, ...]
) -> _Called:
    rebuild: Any = torch._utils._rebuild_tensor_v2
    return _Called(rebuild, stored, offset, shape, steps, False, OrderedDict())


def _parts(document: Mapping[str, Any], length: int) -> dict[str, bytes]:
    text = io.BytesIO()
    _Pickler(text, 2).dump(document)
    parts = {"x/data.pkl": text.getvalue(), "x/data/0": b"\1" * length, "x/version": b"3\n"}
    return {**parts, "x/byteorder": b"little"}
