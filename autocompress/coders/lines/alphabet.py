"""Which bytes a file has, and by which decisions each of them is told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autocompress.errors import ArtifactError

DEEPEST = 32
"""Decisions that a byte takes at most, once it is known that the line goes on."""
END = -1
"""The end of a line, which comes before all bytes."""
_BITMAP_BYTES = 32


class Alphabet:
    """A binary tree whose leaves are the bytes that occur, in ascending order.

    Attributes:
        children: Int64 of shape (2 * nodes,): at 2 * node + decision, the next node, or -2 - byte
            where it is told. Node 0 decides whether the line goes on (1) or ends (0).
        firsts: Int64 of shape (nodes,): the smallest byte for which the decision is 1.
    """

    def __init__(self, symbols: list[int], shape: list[int]) -> None:
        """Make an alphabet.

        Args:
            symbols: The bytes, ascending, at least one.
            shape: The tree in preorder: 1 for a node, followed by what its decisions 0 and 1 lead
                to, and 0 for a leaf.

        Raises:
            ArtifactError: If the tree has other than so many leaves, or is too deep.
        """
        self._symbols, self._shape = symbols, shape
        self._children: list[int] = [-2 - END, 0]
        self._firsts = [0]
        leaves, bits = iter(symbols), iter(shape)
        try:
            self._children[1], _ = self._grown(leaves, bits, 0)
        except StopIteration:
            raise ArtifactError("its tree of bytes is incomplete") from None
        if next(leaves, None) is not None or next(bits, None) is not None:
            raise ArtifactError(f"its tree has not one leaf for each of {len(symbols)} bytes")
        self.children = np.array(self._children, np.int64)
        self.firsts = np.array(self._firsts, np.int64)

    def _grown(self, leaves: Iterator[int], bits: Iterator[int], depth: int) -> tuple[int, int]:
        """Add what comes next in preorder; return its place, and the smallest byte in it."""
        if depth > DEEPEST:
            raise ArtifactError(f"its tree of bytes is deeper than {DEEPEST} decisions")
        if not next(bits):
            leaf = next(leaves)
            return -2 - leaf, leaf
        node = len(self._firsts)
        self._children += (0, 0)
        self._firsts.append(0)
        self._children[2 * node], smallest = self._grown(leaves, bits, depth + 1)
        self._children[2 * node + 1], self._firsts[node] = self._grown(leaves, bits, depth + 1)
        return node, smallest

    @classmethod
    def of(cls, counts: list[int]) -> Alphabet:
        """Make the alphabet of a file whose bytes occur so often; both sides of a node alike.

        Raises:
            ArtifactError: If some bytes are so much rarer than others that the tree is too deep.
        """
        symbols = [symbol for symbol, count in enumerate(counts) if count]
        return cls(symbols, list(_balanced([counts[symbol] for symbol in symbols])))

    def codes(self) -> dict[int, list[int]]:
        """Return the decisions that tell each byte, and those of the end of a line."""
        found: dict[int, list[int]] = {}
        waiting: list[tuple[int, list[int]]] = [(0, [])]
        while waiting:
            node, path = waiting.pop()
            if node < 0:
                found[-2 - node] = path
                continue
            ends = self._children[2 * node : 2 * node + 2]
            waiting += ((end, [*path, decision]) for decision, end in enumerate(ends))
        return found

    def to_bytes(self) -> bytes:
        """Write which bytes occur, a bit each, and then the tree in preorder."""
        occurs = np.zeros(8 * _BITMAP_BYTES, np.uint8)
        occurs[self._symbols] = 1
        return np.packbits([*occurs.tolist(), *self._shape], bitorder="little").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Alphabet, int]:
        """Read what `to_bytes` wrote; return how many bytes it takes as well.

        Raises:
            ArtifactError: If it is damaged.
        """
        occurs = np.frombuffer(data[:_BITMAP_BYTES], np.uint8)
        symbols: list[int] = np.flatnonzero(np.unpackbits(occurs, bitorder="little")).tolist()
        n_bits = 2 * len(symbols) - 1
        end = _BITMAP_BYTES + -(-n_bits // 8)
        if not symbols or len(data) < end:
            raise ArtifactError(f"its alphabet of {len(symbols)} bytes is incomplete")
        bits = np.unpackbits(np.frombuffer(data[_BITMAP_BYTES:end], np.uint8), bitorder="little")
        if bits[n_bits:].any():
            raise ArtifactError("there are bits behind its tree of bytes")
        return cls(symbols, bits[:n_bits].tolist()), end


def _balanced(counts: list[int]) -> Iterator[int]:
    """Yield a tree in preorder, each node where its sides differ least in how often they occur."""
    if len(counts) == 1:
        yield 0
        return
    sums = np.cumsum(counts)
    middle = 1 + int(np.abs(2 * sums[:-1] - sums[-1]).argmin())
    yield 1
    yield from _balanced(counts[:middle])
    yield from _balanced(counts[middle:])
