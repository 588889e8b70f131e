"""Files of lines, decoded as docs/format.md says, one number at a time."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from functools import cache
from math import isqrt

F: int = 0x9E3779B97F4A7C15
MASK: int = 2**64 - 1


@cache
def e(f: int) -> int:
    number = 1 << 32 * 256 + f
    for _ in range(8):
        number = isqrt(number)
    return number


@cache
def probability(z: int) -> int:
    z = min(max(z, -4095), 4095)
    o = e(z % 256) << z // 256 + 16
    return max(1, 2**16 * o // (o + 2**48))


@cache
def logarithm(x: int) -> int:
    return ((10 * x + 1) ** 256).bit_length() - 1


class Coded:
    """Decisions as bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.next = data + bytes(4), 4
        self.low, self.high, self.at = 0, 2**32 - 1, int.from_bytes(self.data[:4], "big")

    def decision(self, p: int) -> int:
        middle = self.low + (self.high - self.low) // 2**16 * p
        one = self.at <= middle
        if one:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            self.low = self.low * 256 % 2**32
            self.high = self.high * 256 % 2**32 + 255
            self.at = self.at * 256 % 2**32 + self.data[self.next]
            self.next += 1
        return int(one)


class Tree:
    """Nodes by their numbers: both sides, a node or -1 - byte, and the first byte of side 1."""

    def __init__(self, bits: list[int], leaves: list[int]) -> None:
        self.bits, self.leaves = iter(bits), iter(leaves)
        self.sides: list[list[int]] = [[]]
        self.first = [0]
        self.root, _ = self.part()

    def part(self) -> tuple[int, int]:
        if next(self.bits) == 0:
            leaf = next(self.leaves)
            return -1 - leaf, leaf
        number = len(self.first)
        self.sides.append([])
        self.first.append(0)
        (zero, smallest), (one, self.first[number]) = self.part(), self.part()
        self.sides[number] = [zero, one]
        return number, smallest


class Lane:
    def __init__(self, first: int, last: int) -> None:
        self.number, self.last = first, last
        self.lines: list[bytes] = []
        self.begin()

    def begin(self) -> None:
        self.line, self.d, self.w, self.q = b"", 0, 0, 0
        self.alike, self.lower = bool(self.lines), False

    def byte(self, c: int) -> None:
        self.line += bytes([c])
        self.alike &= len(self.line) < 32
        self.w = (self.w + c + 1) * F & MASK
        letter = c >= 128 or chr(c).isalpha()
        self.q = (4 * self.q + (1 if chr(c) in "aeiouy" else 2 if letter else 3)) % 4096
        self.d = 0

    def look(self, tree: Tree) -> None:
        before, a = self.lines[-1] if self.lines else b"", len(self.line)
        self.a, self.v = a, before[a] if a < min(32, len(before)) else -1
        self.passed = int(self.v >= tree.first[self.d])
        self.r = 1 + self.passed if self.alike else 3 if self.lower else 0

    def contexts(self) -> list[int]:
        a, v, g, b = self.a, self.v, (self.number + 1).bit_length(), self.line[::-1] + bytes(5)
        found = [0, *(int.from_bytes(b[:i], "little") for i in range(1, 6)), self.w]
        found += [256 * self.q + b[0], 512 * min(a, 6) + v + 1, 32 * min(a, 3) + g]
        return [*found, 2**14 * min(a, 3) + 32 * (v + 1) + g // 2, 256 * min(a, 12) + b[0]]

    def places(self, p: int) -> list[int]:
        found = []
        for i, c in enumerate(self.contexts()):
            u = ((c * F & MASK) + i) * F & MASK
            u ^= u >> 29
            found.append(((u + self.d + (256 * self.r if i >= 8 else 0)) * F & MASK) >> 64 - p)
        return found

    def take(self, e: int, tree: Tree) -> None:
        if self.alike and e != self.passed:
            self.alike, self.lower = False, e == 0
        if self.d == 0 and e == 0:
            self.lines.append(self.line)
            self.number += 1
            self.begin()
            return
        side = tree.root if self.d == 0 else tree.sides[self.d][e]
        if side < 0:
            self.byte(-1 - side)
        else:
            self.d = side


def lines(data: bytes) -> bytes:
    n, s, k = struct.unpack_from("<IIH", data)
    occurs = int.from_bytes(data[10:42], "little")
    leaves = [c for c in range(256) if occurs >> c & 1]
    end = 42 + (2 * len(leaves) + 6) // 8
    bits = int.from_bytes(data[42:end], "little")
    tree = Tree([bits >> i & 1 for i in range(2 * len(leaves) - 1)], leaves)
    coded, p = Coded(data[end:]), min(max(s.bit_length() + 6, 16), 24)
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    weights = [[8192] * 12 for _ in range(72)]
    lanes = [Lane(i * n // k, (i + 1) * n // k) for i in range(k)]
    while active := [lane for lane in lanes if lane.number < lane.last]:
        for lane in active:
            lane.look(tree)
        places = [lane.places(p) for lane in active]
        were = [[any(counts[place]) for place in some[1:7]] for some in places]
        for place in {place for some in places for place in some}:
            if max(counts[place]) >= 4096:
                counts[place] = [count // 2 for count in counts[place]]
        added: Counter[tuple[int, int]] = Counter()
        learnt: Counter[tuple[int, int]] = Counter()
        for lane, some, known in zip(active, places, were, strict=True):
            x = [logarithm(counts[place][1]) - logarithm(counts[place][0]) for place in some]
            sets = (4 * sum(known) + lane.r, 28 + 4 * min(lane.a, 10) + lane.r)
            z = [sum(w * y for w, y in zip(weights[j], x, strict=True)) >> 16 for j in sets]
            z = [min(max(y, -4095), 4095) for y in z]
            e = coded.decision(probability(sum(z) // 2))
            for j, y in zip(sets, z, strict=True):
                error = 65536 * e - probability(y)
                learnt.update({(j, i): (error * x[i] + 32768) // 65536 for i in range(12)})
            added.update((place, e) for place in some)
            lane.take(e, tree)
        for (j, i), more in learnt.items():
            weights[j][i] += more
        for (place, e), more in added.items():
            counts[place][e] += more
    found = b"".join(line + b"\n" for lane in lanes for line in lane.lines)
    assert len(found) == s
    return found
