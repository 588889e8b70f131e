"""Bytes that were damaged, whatever they mean."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

_EXTREMES = (
    *(0, 1, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62),
    *(2**63 - 1, 2**63, 2**64 - 1),
)
_LONGEST = 64


def flipped(random: Random, data: bytes, other: bytes) -> bytes:
    """Flip one bit or a few."""
    del other
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if found else 0):
        place = random.randrange(8 * len(found))
        found[place // 8] ^= 1 << place % 8
    return bytes(found)


def truncated(random: Random, data: bytes, other: bytes) -> bytes:
    """Cut off the end, or the beginning."""
    del other
    place = random.randrange(len(data) + 1)
    return data[:place] if random.random() < 0.8 else data[place:]


def spliced(random: Random, data: bytes, other: bytes) -> bytes:
    """Continue by another input, or put a piece of it inside."""
    place, first = random.randrange(len(data) + 1), random.randrange(len(other) + 1)
    last = min(len(other), first + random.randrange(1, _LONGEST))
    if random.random() < 0.3:
        return data[:place] + other[first:]
    return data[:place] + other[first:last] + data[place + random.choice((0, last - first)) :]


def moved(random: Random, data: bytes, other: bytes) -> bytes:
    """Double, swap or take out a block."""
    del other
    first, second = sorted(random.randrange(len(data) + 1) for _ in range(2))
    length = random.randrange(1, _LONGEST)
    block = data[first : first + length]
    kind = random.randrange(3)
    if kind == 0:
        return data[:second] + block + data[second:]
    if kind == 1:
        return data[:first] + data[first + length :]
    second = max(second, first + len(block))
    end = second + len(block)
    return data[:first] + data[second:end] + data[first + length : second] + block + data[end:]


def overwritten(random: Random, data: bytes, other: bytes) -> bytes:
    """Write a number where perhaps a length or a count is, which are mostly at the beginning."""
    del other
    width, code = random.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    number = random.choice(_EXTREMES) if random.random() < 0.7 else random.randrange(2**64)
    place = random.randrange(max(min(len(data), random.choice((16, 64, 2**20))), 1))
    return (
        data[:place] + struct.pack("<" + code, number % 2 ** (8 * width)) + data[place + width :]
    )


def filled(random: Random, data: bytes, other: bytes) -> bytes:
    """Fill a block with one value, or with noise."""
    del other
    place = random.randrange(len(data) + 1)
    length = random.randrange(1, _LONGEST)
    value = random.choice((b"\0", b"\xff", b"\x7f", b"\x80"))
    block = random.randbytes(length) if random.random() < 0.5 else value * length
    return data[:place] + block + data[place + length :]


_WAYS: tuple[Callable[[Random, bytes, bytes], bytes], ...] = (
    *(flipped, flipped, truncated, spliced, moved, overwritten, overwritten, filled),
)


def damaged(random: Random, data: bytes, other: bytes) -> bytes:
    """Damage bytes in one way or several.

    Args:
        random: Decides on all.
        data: The bytes.
        other: Of another input of the kind, from which pieces are taken.
    """
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(_WAYS)(random, data, other)
    return data
