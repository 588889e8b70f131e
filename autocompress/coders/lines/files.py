"""Whole files of lines, and what is checked before they are decoded."""

from __future__ import annotations

import math
import struct
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autocompress.coders.lines.alphabet import DEEPEST, END, Alphabet
from autocompress.coders.lines.arithmetic import DecisionReader, DecisionWriter
from autocompress.coders.lines.contexts import bounds
from autocompress.coders.lines.model import MAX_LANES, Model
from autocompress.errors import ArtifactError

MAX_LINES_BYTES = 2**20
"""Longer files would take long: a second for every 80,000 bytes, or so."""
_BYTES_PER_STORED = 64
_STEPS_PER_ROOT = 64  # as bytes grow, so do lines and lanes
_MOST_DECISIONS = 12  # for each byte, on average; a tree whose sides are alike takes at most 11
_NEWLINE = 10
_HEAD = struct.Struct("<IIH")


def pack_lines(data: bytes) -> bytes | None:
    """Compress a file of lines, each with a newline at its end.

    Returns:
        The bytes that `unpack_lines` turns back, or None where it does not apply: the last line
        has no newline, the file is long, or its lines are so long that it would take long.
    """
    if not data.endswith(b"\n") or len(data) > MAX_LINES_BYTES:
        return None
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    n_lines, counts[_NEWLINE] = int(counts[_NEWLINE]), 0
    if not counts.any():
        return None
    n_lanes = min(math.isqrt(4 * n_lines) + 1, n_lines)
    try:
        alphabet = Alphabet.of(counts.tolist())
        decisions = _decisions(data, n_lanes, alphabet)
    except ArtifactError:
        return None
    if decisions.shape[1] > _most_steps(len(data)):
        return None
    model, coder = Model(n_lines, len(data), n_lanes, alphabet), DecisionWriter()
    for column in decisions.T:
        present = column[model.places.lane]
        coder.write(present.tolist(), model.predict().tolist())
        model.learn(present)
    head = _HEAD.pack(n_lines, len(data), n_lanes)
    packed = head + alphabet.to_bytes() + coder.finish()
    return packed if len(data) <= _BYTES_PER_STORED * len(packed) else None


def _decisions(data: bytes, n_lanes: int, alphabet: Alphabet) -> NDArray[np.int64]:
    """Return the decisions of all lanes, zeros behind their ends: (lanes, steps)."""
    codes = {symbol: np.array(path) for symbol, path in alphabet.codes().items()}
    codes[_NEWLINE] = codes.pop(END)
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE) + 1
    ends = [0, *newlines[bounds(newlines.size, n_lanes)[1] - 1].tolist()]
    lanes = [
        np.concatenate([codes[symbol] for symbol in data[first:last]])
        for first, last in pairwise(ends)
    ]
    decisions = np.zeros((n_lanes, max(map(len, lanes))), np.int64)
    for row, lane in zip(decisions, lanes, strict=True):
        row[: lane.size] = lane
    return decisions


def unpack_lines(data: bytes, limit: int = MAX_LINES_BYTES) -> bytes:
    """Undo `pack_lines`.

    Args:
        data: The compressed bytes.
        limit: How many bytes it may become.

    Raises:
        ArtifactError: If it is damaged, or would become more, or much more than it takes.
    """
    if len(data) < _HEAD.size:
        raise ArtifactError("it is incomplete")
    n_lines, n_bytes, n_lanes = _HEAD.unpack_from(data)
    limit = min(limit, _BYTES_PER_STORED * len(data), MAX_LINES_BYTES)
    if n_bytes > limit:
        raise ArtifactError(f"it claims to become {n_bytes} bytes, but may become {limit}")
    if not 1 <= n_lanes <= min(n_lines, MAX_LANES) or n_lines > n_bytes:
        raise ArtifactError(
            f"it claims {n_lanes} lanes of {n_lines} lines in {n_bytes} bytes, which cannot be"
        )
    alphabet, used = Alphabet.from_bytes(data[_HEAD.size :])
    model = Model(n_lines, n_bytes, n_lanes, alphabet)
    coder = DecisionReader(data[_HEAD.size + used :])
    found = _decoded(model, coder, n_bytes)
    coder.finish()
    return found


def _decoded(model: Model, coder: DecisionReader, n_bytes: int) -> bytes:
    """Decode all lanes, and put them one behind the other."""
    lanes: list[NDArray[np.int64]] = []
    told: list[NDArray[np.int64]] = []
    left, steps, allowed = n_bytes, _most_steps(n_bytes), _MOST_DECISIONS * n_bytes
    while n_lanes := model.places.lane.size:
        steps -= 1
        allowed -= n_lanes
        if steps < 0 or allowed < 0:
            raise ArtifactError(f"its {n_bytes} bytes take more steps than are allowed")
        decisions = np.array(coder.read(model.predict().tolist()), np.int64)
        some_lanes, some_told = model.learn(decisions)
        lanes.append(some_lanes)
        told.append(some_told)
        left -= some_told.size
        if left < 0:
            raise ArtifactError(f"its lines are longer than the {n_bytes} bytes that it claims")
    if left:
        raise ArtifactError(f"its lines are {left} bytes shorter than it claims")
    order = np.argsort(np.concatenate(lanes), kind="stable")
    symbols = np.concatenate(told)[order]
    return np.where(symbols == END, _NEWLINE, symbols).astype(np.uint8).tobytes()


def _most_steps(n_bytes: int) -> int:
    """Return how many steps a file may take: its lanes are to be many, and about equally long."""
    return min(n_bytes // 2 + DEEPEST, _STEPS_PER_ROOT * math.isqrt(n_bytes))
