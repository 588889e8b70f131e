"""How probable the next decisions of all lanes are, and learning from what they were."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autocompress.coders.lines.alphabet import Alphabet
from autocompress.coders.lines.contexts import FACTOR, N_CONTEXTS, N_RELATED, OWN, Lanes, Places
from autocompress.coders.lines.tables import FARTHEST, LIMIT, log_odds, probabilities

MAX_LANES = 4096  # so that counts, with all that a step adds, have 16 bits
_BITS = 16  # of weights and probabilities
_FIRST_WEIGHT = 2**13
_LENGTHS = 11  # sets of weights by length: 0 to 9 bytes, and more
_RELATIONS = 4
_SETS = _RELATIONS * (OWN.stop - OWN.start + 1), _RELATIONS * _LENGTHS
_SMALLEST_TABLE, _LARGEST_TABLE = 16, 24  # bits of a place in it
_SPARSE = 6  # bits by which the table has more places than the file has bytes
_ZEROS = np.uint32(2**16 - 1)  # counts of zeros are below those of ones


class Model:
    """Counts, weights and places of all lanes.

    Each step takes a decision in each lane. What a lane learns is known to all of them in the
    next step; within a step, the order of the lanes means nothing.

    Attributes:
        places: Where the lanes are, of those that are not at their end.
    """

    def __init__(self, n_lines: int, n_bytes: int, n_lanes: int, alphabet: Alphabet) -> None:
        """Begin a file.

        Args:
            n_lines: Lines in the file.
            n_bytes: Its length.
            n_lanes: At most `MAX_LANES`, and at most one for each line.
            alphabet: How bytes are told.
        """
        self.places = Places(n_lines, n_lanes)
        self._alphabet = alphabet
        bits = min(max(n_bytes.bit_length() + _SPARSE, _SMALLEST_TABLE), _LARGEST_TABLE)
        self._shift = np.uint64(64 - bits)
        self._counts = np.zeros(2**bits, np.uint32)
        self._numbers = np.arange(sum(_SETS) * N_CONTEXTS).reshape(-1, N_CONTEXTS)
        self._weights = np.full(self._numbers.size, _FIRST_WEIGHT, np.int64)
        self._nodes: Lanes = np.zeros(n_lanes, np.int64)
        self._odds, self._probabilities = log_odds(), probabilities()

    def predict(self) -> Lanes:
        """Return the probability of a one in each lane, of 2^16 parts, from 1 to 2^16 - 1."""
        places = self.places
        # Of lines in ascending order, one that is as the line before goes on as that or higher.
        self._passed = places.above >= self._alphabet.firsts.take(self._nodes)
        related = np.where(places.alike, 1 + self._passed, 3 * places.lower)
        self._slots = slots = self._found(related)
        counts = self._counts.take(slots)
        zeros, ones = counts & _ZEROS, counts >> np.uint32(_BITS)
        if np.maximum(zeros, ones).max() >= LIMIT:
            zeros, ones = self._halved(slots, zeros, ones)
        self._odds_of = (self._odds.take(ones) - self._odds.take(zeros)).T
        sets = np.empty((2, related.size), np.int64)
        np.sum(counts[OWN] > 0, axis=0, out=sets[0])
        np.minimum(places.length, _LENGTHS - 1, out=sets[1])
        sets *= _RELATIONS
        sets += related
        sets[1] += _SETS[0]
        self._taken = self._numbers.take(sets, axis=0)
        weighted = np.einsum("slc,lc->sl", self._weights.take(self._taken), self._odds_of) >> _BITS
        np.minimum(np.maximum(weighted, -FARTHEST), FARTHEST, out=weighted)
        self._apart = self._probabilities.take(weighted + FARTHEST)
        together = (weighted[0] + weighted[1]) >> 1
        found: Lanes = self._probabilities.take(together + FARTHEST)
        return found

    def learn(self, decisions: Lanes) -> tuple[Lanes, Lanes]:
        """Learn what the decisions were that `predict` spoke of, and go on.

        Returns:
            The numbers of lanes in which a byte, or the end of a line, is now known, and these.
        """
        places = self.places
        errors = (decisions << _BITS) - self._apart
        steps = (errors[:, :, None] * self._odds_of + (1 << _BITS - 1)) >> _BITS
        np.add.at(self._weights, self._taken.reshape(-1), steps.reshape(-1))
        added = np.where(decisions, np.uint32(1 << _BITS), np.uint32(1))
        added = np.broadcast_to(added, self._slots.shape)
        np.add.at(self._counts, self._slots.reshape(-1), added.reshape(-1))
        parted = places.alike & (self._passed != decisions)
        places.lower |= parted & self._passed
        places.alike ^= parted
        nodes = self._alphabet.children.take(2 * self._nodes + decisions)
        found = np.flatnonzero(nodes < 0)
        self._nodes = np.maximum(nodes, 0)
        lanes, told = places.lane[found], -2 - nodes[found]
        if found.size:
            places.told(found, told)
            over = places.finished()
            if over.any():
                places.keep(~over)
                self._nodes = self._nodes[~over]
        return lanes, told

    def _found(self, related: Lanes) -> NDArray[np.int64]:
        """Return where the counts of each context are, of shape (N_CONTEXTS, lanes)."""
        keys = self.places.hashes + self._nodes.view(np.uint64)
        keys[-N_RELATED:] += related.view(np.uint64) << np.uint64(8)
        keys *= FACTOR
        keys >>= self._shift
        return keys.view(np.int64)

    def _halved(
        self, slots: Lanes, zeros: NDArray[np.uint32], ones: NDArray[np.uint32]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Halve both counts where one of them is large, so that old ones weigh less."""
        large = np.maximum(zeros, ones) >= LIMIT
        zeros, ones = zeros >> large, ones >> large
        self._counts[slots] = ones << np.uint32(_BITS) | zeros
        return zeros, ones
