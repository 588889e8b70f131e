"""A reader of artifacts, written from docs/format.md alone; shares no code with the package."""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import ceil, prod
from typing import Any

import numpy as np
from artifact.independent_coders import stream
from artifact.independent_lines import lines

Array = Any
DTYPES = "BOOL ? I8 i1 U8 u1 I16 <i2 U16 <u2 F16 <f2 I32 <i4 U32 <u4 F32 <f4 C64 <c8 F64 <f8"
DTYPES += " I64 <i8 U64 <u8"
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "pb": 0}]


def read(data: bytes) -> tuple[dict[str, Array], dict[str, bytes], dict[str, Any]]:
    """Return a file's weights and buffers, its assets, and its header."""
    start = 8 + struct.unpack_from("<Q", data)[0]
    table = json.loads(data[8:start])
    version = table.pop("__metadata__")["autocompress"]
    if version != "1":
        digits = f"{zlib.crc32(data[:43] + b'00000000' + data[51:]):08x}"
        assert data[8:51].decode() == '{"__metadata__":{"autocompress":"2 ' + digits
    codes = DTYPES.split()
    dtypes = dict(zip(codes[::2], codes[1::2], strict=True))
    tensors = {}
    for name, entry in table.items():
        first, last = entry["data_offsets"]
        flat = np.frombuffer(data[start + first : start + last], dtypes[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    header = json.loads(zlib.decompress(tensors[":header"].tobytes()))
    state = {n.removeprefix(":buffer:"): t for n, t in tensors.items() if n[:8] == ":buffer:"}
    for name, tensor in tensors.items():
        if name.startswith(":packed:"):
            _, _, code, shape, own = name.split(":", 4)
            plain = lzma.decompress(tensor.tobytes(), lzma.FORMAT_RAW, filters=FILTERS)
            sizes = [int(size) for size in shape.split("x")] if shape else []
            state[own] = np.frombuffer(plain, dtypes[code]).reshape(sizes)
    for item in header["items"]:
        payload = tensors[item["name"]].tobytes()
        assert version != "1" or zlib.crc32(payload) == item["crc32"]
        state |= dict(members(item, payload))
    assets = {
        name.removeprefix(":asset:"): lzma.decompress(
            tensor.tobytes(), lzma.FORMAT_RAW, filters=FILTERS
        )
        for name, tensor in tensors.items()
        if name.startswith(":asset:")
    }
    for name, tensor in tensors.items():
        if name.startswith(":lines:"):
            assets[name.removeprefix(":lines:")] = lines(tensor.tobytes())
    return state, assets, header


def members(item: dict[str, Any], payload: bytes) -> Iterator[tuple[str, Array]]:
    """Yield the weights of an item, by all of their names (section 3)."""
    shapes = [m["shape"] for m in item["members"]]
    sizes = [(s[0], prod(s[1:])) if len(s) > 1 else (1, prod(s)) for s in shapes]
    streams: dict[str, dict[str, Array]] = {}
    offset = 0
    for factor, records in item["factors"].items():
        streams[factor] = {}
        for record in records:
            part = payload[offset : offset + record["length"]]
            streams[factor][record["name"]] = stream(record["coder"], part, record["shape"])
            offset += record["length"]
    rows, cols = sum(size[0] for size in sizes), sizes[0][1]

    def number(name: str, shape: tuple[int, int]) -> Array:
        return PRECISIONS[precision["kind"]](precision, streams[name], shape)

    def whole(name: str) -> Array:
        return streams[name]["codes"]

    precision = item["treatment"]["precision"]
    matrix = structure(item["treatment"]["structure"], (rows, cols), number, whole)
    first, matrix = 0, matrix.copy()
    for odd, count in enumerate(item.get("zero_rows", [])):
        matrix[first : first + count] *= odd % 2 == 0
        first += count
    assert first <= rows
    first = 0
    for member, (size, _) in zip(item["members"], sizes, strict=True):
        for name in (member["name"], *member["aliases"]):
            yield name, matrix[first : first + size].reshape(member["shape"])
        first += size


# Precisions (section 6)

Streams = dict[str, Array]
Shape = tuple[int, int]


def spread(streams: Streams, name: str, shape: Shape) -> Array:
    if "mask" not in streams:
        return streams[name].reshape(shape)
    full = np.zeros(shape, streams[name].dtype)
    full[streams["mask"].reshape(shape) != 0] = streams[name].ravel()
    return full


def floats(_: dict[str, Any], streams: Streams, shape: Shape) -> Array:
    return spread(streams, "values", shape).astype(np.float32)


def uniform(parameters: dict[str, Any], streams: Streams, shape: Shape) -> Array:
    codes, group = spread(streams, "codes", shape), parameters.get("group", "row")
    grouped = codes.reshape(1, -1) if group == "tensor" else codes
    width = group if isinstance(group, int) else grouped.shape[1]
    of = np.arange(grouped.shape[1]) // width
    offset, spacing = (streams[n].astype(np.float32)[:, of] for n in ("offset", "spacing"))
    values = (offset + spacing * grouped.astype(np.float32)).reshape(shape)
    return values if "mask" not in streams else values * (streams["mask"].reshape(shape) != 0)


def stepped(parameters: dict[str, Any], streams: Streams, shape: Shape) -> Array:
    per_octave = 4 if parameters["kind"] == "entropy" else 2
    e = np.cumsum(streams.get("row_exponents", np.zeros(shape[0], int)))[:, None]
    f = np.cumsum(streams.get("column_exponents", np.zeros(shape[1], int)))[None, :]
    step = float(streams["step"].item()) * (2.0 ** (e / per_octave) * 2.0 ** (f / 4))
    return (streams["codes"].reshape(shape) * step).astype(np.float32)


def codebook(_: dict[str, Any], streams: Streams, shape: Shape) -> Array:
    levels = streams["levels"].ravel().astype(np.float32)
    return spread({**streams, "values": levels[streams["codes"]]}, "values", shape)


PRECISIONS: dict[str, Callable[[dict[str, Any], Streams, Shape], Array]] = {
    "float32": floats,
    "float16": floats,
    "uniform": uniform,
    "entropy": stepped,
    "equal_slope": stepped,
    "trellis": stepped,
    "codebook": codebook,
}


# Structures (section 7)

Numbers = Callable[[str, Shape], Array]
Wholes = Callable[[str], Array]


def structure(parameters: dict[str, Any], shape: Shape, number: Numbers, whole: Wholes) -> Array:
    kind, (rows, cols) = parameters["kind"], shape
    if kind == "dense":
        return number("weight", shape)
    if kind == "pruned":
        return structure(parameters.get("of", {"kind": "dense"}), shape, number, whole)
    if kind == "low_rank":
        rank = parameters["rank"]
        return number("left", (rows, rank)) @ number("right", (rank, cols))
    if kind == "group_reduce":
        return group_reduce(parameters.get("blocks", 5), shape, number, whole)
    if kind == "tensor_train":
        return tensor_train(parameters["rank"], parameters.get("modes", 3), shape, number, whole)
    return vector_quantized(
        parameters["dimension"], parameters.get("parts", 1), number, whole, cols
    )


def group_reduce(blocks: int, shape: Shape, number: Numbers, whole: Wholes) -> Array:
    of, ranks = np.cumsum(whole("assignment")) % blocks, whole("ranks").ravel()
    matrix = np.zeros(shape, np.float32)
    for b in sorted(set(of.tolist())):
        mine, rank = np.flatnonzero(of == b), int(ranks[b])
        matrix[mine] = number(f"left{b}", (mine.size, rank)) @ number(
            f"right{b}", (rank, shape[1])
        )
    return matrix


def modes_of(size: int, d: int) -> list[int]:
    def ways(number: int, count: int, least: int) -> Iterator[list[int]]:
        if count == 1:
            yield [number]
            return
        for first in range(least, number + 1):
            if number % first == 0 and number // first >= first:
                yield from ([first, *rest] for rest in ways(number // first, count - 1, first))

    while True:
        found = [way for way in ways(size, d, 1) if way[-1] <= 3 * way[0]]
        if found:
            return min(found, key=lambda way: (way[-1] / way[0], way))
        size += 1


def tensor_train(rank: int, d: int, shape: Shape, number: Numbers, whole: Wholes) -> Array:
    assert tuple(whole("shape").ravel()) == shape
    n, m = modes_of(shape[0], d), modes_of(shape[1], d)[::-1]
    sizes = [a * b for a, b in zip(n, m, strict=True)]
    ranks = [1] + [min(rank, prod(sizes[:k]), prod(sizes[k:])) for k in range(1, d)] + [1]
    matrix = np.ones((1, 1, 1), np.float32)  # (rows, columns, rank)
    for k, (before, after) in enumerate(pairwise(ranks)):
        core = number(f"core{k + 1}", (before * sizes[k], after))
        core = core.reshape(before, n[k], m[k], after)
        matrix = np.einsum("rca,aijb->ricjb", matrix, core)
        r, i, c, j, b = matrix.shape
        matrix = matrix.reshape(r * i, c * j, b)
    return matrix[: shape[0], : shape[1], 0]


def vector_quantized(
    dimension: int, parts: int, number: Numbers, whole: Wholes, cols: int
) -> Array:
    indices, n = whole("indices").copy(), ceil(cols / dimension)
    entries = 1 + int(indices.max())
    for p in range(parts):
        indices[:, p * n // parts : (p + 1) * n // parts] += p * entries
    vectors = number("codebook", (parts * entries, dimension))[indices]
    return vectors.reshape(indices.shape[0], -1)[:, :cols]
