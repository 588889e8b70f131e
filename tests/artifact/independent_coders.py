"""The coders of artifacts, written from docs/format.md alone; see `independent_reader.py`."""

from __future__ import annotations

import struct
import zlib
from math import floor
from typing import Any

import numpy as np

Array = Any
MANTISSAS = (65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734)
MEANS = [0.0] + [2.0 ** (i // 4 - 14) * (64, 76, 91, 108)[i % 4] / 64 for i in range(160)]
BOUNDS = [2.0 ** (h // 2 - 7) * (1, 1.4375)[h % 2] for h in range(55)]
SHIFTS = [min(max(c // 2 - 10, 0), 20) for c in range(56)]
PATH_SHIFTS = [min(max(c % 56 // 2 - 11, 0), 20) for c in range(112)]
NEXT = ((0, 1), (4, 5), (1, 0), (5, 4), (6, 7), (2, 3), (7, 6), (3, 2))


def stream(coder: str, data: bytes, shape: list[int]) -> Array:
    rows, cols = shape
    if coder in ("f2", "f4"):
        return np.frombuffer(data, f"<{coder}").reshape(shape)
    coders = {"packed": packed, "entropy": entropy, "contexts": contexts, "trellis": trellis}
    return coders[coder](data, rows, cols)


def packed(data: bytes, rows: int, cols: int) -> Array:
    smallest, bits = struct.unpack_from("<qB", data)
    number = int.from_bytes(data[9:], "little")
    codes = [smallest + (number >> i * bits) % 2**bits for i in range(rows * cols)]
    return np.array(codes).reshape(rows, cols)


class Table:
    """A table of probabilities (5.2)."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.smallest, n = struct.unpack_from("<iH", data, offset)
        self.end = offset + 6 + n
        levels = data[offset + 6 : self.end]
        weights = [0.0 if v == 255 else MANTISSAS[v % 8] / 2 ** (v // 8) for v in levels]
        shares = [weight / sum(weights) for weight in weights]
        scale = (2**24 - n) / sum(shares)
        self.bounds, a = [], 0.0
        for i, share in enumerate(shares):
            self.bounds.append(floor(a * scale) + i)
            a += share
        self.bounds.append(2**24)

    def decode(self, stack: Stack, n: int) -> Array:
        if len(self.bounds) == 2:
            return np.full(n, self.smallest)
        return self.smallest + np.array([stack.symbol(self.bounds) for _ in range(n)], np.int64)


class Stack:
    """Asymmetric numeral systems (5.3)."""

    def __init__(self, data: bytes) -> None:
        self.words = list(struct.unpack(f"<{len(data) // 4}I", data))
        self.x = 0
        for _ in range(min(2, len(self.words))):
            self.x = self.x * 2**32 + self.words.pop()

    def symbol(self, bounds: list[int]) -> int:
        i = int(np.searchsorted(bounds, self.x % 2**24, side="right")) - 1
        self._take(bounds[i], bounds[i + 1])
        return i

    def bits(self, b: int, n: int) -> Array:
        found = np.zeros(n, np.int64)
        for place in range(n if b else 0):
            found[place] = (self.x % 2**24) >> (24 - b)
            first = int(found[place]) << (24 - b)
            self._take(first, first + 2 ** (24 - b))
        return found

    def _take(self, first: int, last: int) -> None:
        self.x = (self.x >> 24) * (last - first) + self.x % 2**24 - first
        if self.x < 2**32 and self.words:
            self.x = self.x * 2**32 + self.words.pop()


def entropy(data: bytes, rows: int, cols: int) -> Array:
    k, tables, end = data[0], [], 1
    for _ in range(k + (k > 1)):
        tables.append(Table(data, end))
        end = tables[-1].end
    stack = Stack(data[end:])
    classes = tables.pop(0).decode(stack, rows) if k > 1 else np.zeros(rows, np.int64)
    codes = np.zeros((rows, cols), np.int64)
    for label, table in enumerate(tables):
        mine = np.flatnonzero(classes == label)
        codes[mine] = table.decode(stack, mine.size * cols).reshape(mine.size, cols)
    return codes


def contexts(data: bytes, rows: int, cols: int) -> Array:
    means = [MEANS[index] for index in data[:cols]]
    (present,) = struct.unpack_from("<Q", data, cols)
    tables, end = {}, cols + 8
    for c in range(56):
        if present >> c & 1:
            tables[c] = Table(data, end)
            end = tables[c].end
    stack, codes = Stack(data[end:]), np.zeros((rows, cols), np.int64)
    sums, total, prior = [0] * rows, 0.0, 3 * sum(means) / cols
    for col, mean in enumerate(means):
        if mean == 0:
            continue
        found = []
        for r in range(rows):
            first, last = max(r - 16, 0), min(r + 17, rows)
            near = (sum(sums[first:last]) + prior) / ((last - first) * total + prior)
            ratio = (sums[r] + prior * near) / (total + prior)
            found.append(sum(bound <= mean * ratio for bound in BOUNDS))
        for c in sorted(set(found)):
            mine = np.flatnonzero(np.array(found) == c)
            high = tables[c].decode(stack, mine.size)
            codes[mine, col] = (high << SHIFTS[c]) + stack.bits(SHIFTS[c], mine.size)
        sums = [s + int(m) for s, m in zip(sums, codes[:, col], strict=True)]
        filled = np.flatnonzero(codes[:, col])
        codes[filled, col] *= 1 - 2 * stack.bits(1, filled.size)
        total += mean
    return codes


def trellis(data: bytes, rows: int, cols: int) -> Array:
    (n,) = struct.unpack_from("<I", data)
    head = zlib.decompress(data[4 : 4 + n])
    means = [MEANS[index] for index in head[:cols]]
    present = int.from_bytes(head[cols : cols + 16], "little")
    tables, end = {}, cols + 16
    for c in range(112):
        if present >> c & 1:
            tables[c] = Table(head, end)
            end = tables[c].end
    assert end == len(head)
    stack, codes = Stack(data[4 + n :]), np.zeros((rows, cols), np.int64)
    sums, total, prior = [0] * rows, 0.0, 8 * sum(means) / cols
    states = [0] * rows
    for col, mean in enumerate(means):
        indices = np.zeros(rows, np.int64)
        if mean:
            found = []
            for r in range(rows):
                first, last = max(r - 16, 0), min(r + 17, rows)
                near = (sum(sums[first:last]) + prior) / ((last - first) * total + prior)
                ratio = (sums[r] + prior * near) / (total + prior)
                context = sum(bound <= mean * ratio for bound in BOUNDS)
                found.append(context + 56 * (states[r] >= 4))
            for c in sorted(set(found)):
                mine = np.flatnonzero(np.array(found) == c)
                high = tables[c].decode(stack, mine.size)
                shift = PATH_SHIFTS[c]
                indices[mine] = (high << shift) + stack.bits(shift, mine.size)
            odd = np.array(states) >= 4
            codes[:, col] = np.maximum(2 * indices - odd, 0)
            sums = [s + int(m) for s, m in zip(sums, codes[:, col], strict=True)]
            filled = np.flatnonzero(codes[:, col])
            codes[filled, col] *= 1 - 2 * stack.bits(1, filled.size)
            total += mean
        states = [NEXT[s][int(i) % 2] for s, i in zip(states, indices, strict=True)]
    return codes
