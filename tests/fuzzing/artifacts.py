"""Artifacts that were damaged, or written by somebody who means harm, and reading them."""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.containers import Container, Tensor, sealed
from fuzzing.documents import changed_text, is_simple, mutated, written
from fuzzing.octets import damaged

from autocompress.artifact import Artifact
from autocompress.artifact.container import parse_container
from autocompress.errors import ArtifactError

GOLDEN = Path(__file__).parents[1] / "golden"
_NAME = Path("fuzzed.acz")
_HEADER, _LARGEST_SEED = ":header", 2500
_LARGE = (1, 33, 2**10, 2**12, 2**13, 2**13, 2**14, 2**16, 2**20, 2**25)
_PLAIN = (
    *(":asset:../../x", ":asset:/etc/passwd", ":asset:a\0b", ":asset:", ":lines:", ":lines:x"),
    ":buffer:",
    *(":buffer:../x", ":packed:F32:2x2:x", ":packed:F32:9999999999x9999999999:x"),
    *(":packed:U8:0x9999999999:x", ":packed:BOOL::x", ":packed:U8:1073741824:x", ":x", "x"),
)


class Artifacts:
    """Mutated artifacts; most have a checksum that is right, so that they reach the decoders."""

    name = "artifacts"
    allowed = (ArtifactError,)

    def __init__(self, written_today: Sequence[bytes] = ()) -> None:
        """Take golden files apart into files of one entry, so that each takes little time.

        Args:
            written_today: Further artifacts to begin with.
        """
        golden = [path.read_bytes() for path in sorted(GOLDEN.rglob("*.acz"))]
        whole = [data for data in (*written_today, *golden) if len(data) <= _LARGEST_SEED]
        apart = [part for data in (*written_today, *golden) for part in _entries(data)]
        self.seeds = [*_distinct(apart), *whole]

    def made(self, random: Random) -> bytes:
        """Return a mutated artifact."""
        return self.of(random, random.choice(self.seeds))

    def of(self, random: Random, data: bytes) -> bytes:
        """Return a mutated form of an artifact."""
        other, way = random.choice(self.seeds), random.random()
        if way < 0.06:
            return damaged(random, data, other)
        if way < 0.12:
            return sealed(damaged(random, data, other))
        container = Container.of(data)
        if way < 0.2:
            return sealed(container.with_another_table(random))
        for _ in range(random.choice((1, 1, 2))):
            container = _changed(random, container, other)
        return sealed(container.written())

    def read(self, data: bytes) -> None:
        """Read all that a file says, as inspecting it and loading it do."""
        artifact = Artifact(_NAME, parse_container(_NAME, data))
        for line in artifact.report():
            assert line.method
            assert line.size_bytes >= 0
        assert artifact.plan.dumps()
        artifact.accounting()
        artifact.assets()
        artifact.state_dict()


def _distinct(parts: Sequence[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield a file of each way to store a weight, by the methods, streams and coders in it."""
    found = dict(reversed(parts))
    yield from found.values()


def _entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield files of one entry each, and what is in them."""
    container = Container.of(data)
    header = json.loads(zlib.decompress(container.tensors[_HEADER].data))
    for item in header["items"]:
        alone = replace(
            container, tensors={name: container.tensors[name] for name in (_HEADER, item["name"])}
        )
        document = {**header, "items": [item]}
        kinds = [item["treatment"], [len(m["shape"]) for m in item["members"]], "crc32" in item]
        kinds += [
            [name, stream["name"], stream["coder"]]
            for name, streams in item["factors"].items()
            for stream in streams
        ]
        content = sealed(with_header(alone, written(document)).written())
        yield json.dumps([_without_numbers(kinds), "zero_rows" in item]), content


def _without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_numbers(inner) for inner in value]
    return 0 if isinstance(value, float) else value


def with_header(container: Container, text: bytes) -> Container:
    """Return a file with another header."""
    return container.with_bytes(_HEADER, zlib.compress(text, 1))


def _changed(random: Random, container: Container, other: bytes) -> Container:
    way, names = random.random(), [*container.tensors]
    if way < 0.02:
        return _grown(random, container)
    if way < 0.45:
        return _another_header(random, container)
    if way < 0.85:
        name = random.choice(names)
        data = damaged(random, container.tensors[name].data, other)
        return _true_lengths(random, container.with_bytes(name, data), name)
    if way < 0.92:
        donor = Container.of(other)
        name, taken = random.choice(names), random.choice([*donor.tensors])
        return _true_lengths(random, container.with_bytes(name, donor.tensors[taken].data), name)
    return _with_another_tensor(random, container)


def header_of(container: Container) -> dict[str, Any]:
    """Return the header, empty where an earlier change has spoilt it."""
    try:
        text = zlib.decompress(container.tensors[_HEADER].data)
        document: Any = json.loads(text) if is_simple(text) else {}
        return document if isinstance(document, dict) else {}
    except (zlib.error, ValueError, KeyError):
        return {}


def _another_header(random: Random, container: Container) -> Container:
    document = header_of(container)
    if not document:
        return container
    if random.random() < 0.1:
        text = written(document)
        return with_header(container, damaged(random, text, text))
    items = document.get("items")
    if random.random() < 0.5 and isinstance(items, list) and items:
        # What items say is where most can be wrong.
        place = random.randrange(len(items))
        items[place] = mutated(random, items[place])
        return with_header(container, written(document))
    return with_header(container, changed_text(random, document))


def _grown(random: Random, container: Container) -> Container:
    """Have few bytes stand for large matrices: of equal integers, which take no bits."""
    document = header_of(container)
    try:
        (item,) = document["items"]
        (member,) = item["members"]
        rows, cols = member["shape"]
        streams = [stream for streams in item["factors"].values() for stream in streams]
        sizes = [random.choice(_LARGE) for _ in range(2)]
        larger = {rows: sizes[0], cols: sizes[1], rows * cols: sizes[0] * sizes[1]}
        data, offset = b"", 0
        for stream in streams:
            piece = container.tensors[item["name"]].data[offset : offset + stream["length"]]
            offset += stream["length"]
            if stream["coder"] not in ("f2", "f4"):
                stream["shape"] = [larger.get(size, size) for size in stream["shape"]]
                piece = _equal(random, stream)
            stream["length"] = len(piece)
            data += piece
        member["shape"] = sizes
        if "crc32" in item:
            item["crc32"] = zlib.crc32(data)
    except (LookupError, TypeError, AttributeError, ValueError):
        return container  # it has several entries, or a vector
    return with_header(container.with_bytes(item["name"], data), written(document))


def _equal(random: Random, stream: dict[str, Any]) -> bytes:
    """Code integers that are all equal, by one coder or another."""
    stream["coder"] = random.choice(("packed", "entropy", "contexts"))
    if stream["coder"] == "packed":
        return struct.pack("<qB", random.choice((0, 1, 1, 2, 255, -1)), 0)
    if stream["coder"] == "entropy":
        return b"\1" + struct.pack("<iHB", random.choice((0, 1, 2)), 1, 0)
    return bytes(stream["shape"][1]) + struct.pack("<Q", 0) if stream["shape"][1] < 2**14 else b""


def _true_lengths(random: Random, container: Container, name: str) -> Container:
    """Have the header mostly tell the true length, and checksum, of an item that was changed."""
    if name == _HEADER or random.random() < 0.1:
        return container
    document, data = header_of(container), container.tensors[name].data
    try:
        item = next(item for item in document["items"] if item["name"] == name)
        streams = [stream for streams in item["factors"].values() for stream in streams]
        if "crc32" in item:
            item["crc32"] = zlib.crc32(data)
        excess = len(data) - sum(stream["length"] for stream in streams)
        random.choice([one for one in streams if one["length"] + excess >= 0])["length"] += excess
    except (LookupError, TypeError, AttributeError, StopIteration):
        return container  # an earlier change has spoilt the header
    return with_header(container, written(document))


def _with_another_tensor(random: Random, container: Container) -> Container:
    """Add a tensor, or double or rename one."""
    name = random.choice(_PLAIN)
    data = random.choice((b"", b"\0" * 16, *_bombs(), random.randbytes(40)))
    tensors = dict(container.tensors)
    if random.random() < 0.3:
        old = random.choice([*tensors])
        tensors[name] = tensors.pop(old)
    else:
        tensors[name] = Tensor(random.choice(("U8", "U8", "U8", "F32", "X")), (len(data),), data)
    return replace(container, tensors=tensors)


@cache
def _bombs() -> list[bytes]:
    """Return few bytes of LZMA that become many."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "lc": 4, "pb": 0}]
    sizes = (2**10, 2**16, 2**20)
    return [lzma.compress(b"\0" * size, lzma.FORMAT_RAW, filters=filters) for size in sizes]
