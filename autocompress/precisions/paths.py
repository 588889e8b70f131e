"""The search for the path through a trellis that costs least, errors and bits taken together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autocompress.support import trellis
from autocompress.support.integers import Integers

_TILE, _PENDING = 8, 12
_NEVER = 1e30

_Array = NDArray[Any]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Lanes:
    """Rows that are quantized side by side, column after column.

    Attributes:
        values: What is to be stored, shape (cols, rows); changed where errors are fed back.
        steps: Of each element; levels of one quantizer lie two steps apart.
        fall: Beyond d steps from zero lies a share of e^-(d fall) of what is to be expected.
        worth: What the square of a step is worth in bits.
        shares: How the error of each column is passed on to later ones, shape (cols, cols); or
            None.
    """

    values: _Array
    steps: _Array
    fall: _Array
    worth: float
    shares: _Array | None


def cheapest(lanes: Lanes, states: NDArray[np.uint8]) -> tuple[Integers, NDArray[np.uint8]]:
    """Return the levels of the cheapest paths, in steps.

    For each state there is a survivor, the best path that leads to it [1]. It carries its own
    errors. What lies more than some tiles of columns behind is decided by the best of them.

    Args:
        lanes: The rows.
        states: In which they begin.

    Returns:
        Levels of shape (cols, rows), and the states in which the rows end.

    References:
        [1] G. Forney. The Viterbi Algorithm. Proceedings of the IEEE 1973.
    """
    return _Search(lanes, states).run()


class _Tile(NamedTuple):
    """Columns that are not yet decided: by survivor, the levels, and the errors if they count."""

    cols: slice
    levels: _Array
    errors: _Array

    def of(self, origin: _Array) -> _Tile:
        """Return it for the survivors that came of these."""
        kept = [self.levels] if self.errors is self.levels else [self.levels, self.errors]
        flat = (np.take(part.reshape(len(part), -1), origin, axis=1) for part in kept)
        found = [part.reshape(self.levels.shape) for part in flat]
        return _Tile(self.cols, found[0], found[-1])


class _Search:
    def __init__(self, lanes: Lanes, states: NDArray[np.uint8]) -> None:
        self._lanes, kind = lanes, lanes.values.dtype
        self._n_cols, self._n_rows = lanes.values.shape
        self._edges = _edges()
        self._before = self._edges % trellis.STATES
        self._rows = np.arange(self._n_rows)
        self._costs = np.full((trellis.STATES, self._n_rows), _NEVER, kind)
        self._costs[states, self._rows] = 0
        self._levels = np.empty((self._n_cols, self._n_rows), kind)
        self._pending: list[_Tile] = []
        self._steps = _Steps(lanes)

    def run(self) -> tuple[Integers, NDArray[np.uint8]]:
        for first in range(0, self._n_cols, _TILE):
            self._go(slice(first, min(first + _TILE, self._n_cols)))
            if len(self._pending) > _PENDING:
                self._decide()
        final = self._costs.argmin(axis=0)
        for tile in self._pending:
            self._levels[tile.cols] = tile.levels[:, final, self._rows]
        return self._levels.astype(np.int64), final.astype(np.uint8)

    def _go(self, cols: slice) -> None:
        """Go through some columns with all survivors."""
        shares, ahead = self._lanes.shares, self._ahead(cols)
        shape = cols.stop - cols.start, trellis.STATES, self._n_rows
        levels, back = np.empty(shape, ahead.dtype), np.empty(shape, np.intp)
        errors = levels if shares is None else np.empty_like(levels)
        for place, col in enumerate(range(cols.start, cols.stop)):
            steps = self._lanes.steps[col]
            levels[place], second = self._step(col, ahead[place] / steps)
            back[place] = np.where(second, self._before[1][:, None], self._before[0][:, None])
            if shares is not None:
                own = [ahead[place:, before] for before in self._before]
                ahead[place:] = np.where(second, own[1], own[0])
                errors[place] = ahead[place] - levels[place] * steps
                passed = shares[col, col + 1 : cols.stop]
                ahead[place + 1 :] -= errors[place] * passed[:, None, None]
        self._survive(_Tile(cols, levels, errors), back * self._n_rows + self._rows)

    def _ahead(self, cols: slice) -> _Array:
        """Return what is to be stored in some columns, by survivor: (cols, states or 1, rows)."""
        values, shares = self._lanes.values[cols][:, None, :], self._lanes.shares
        if shares is None:
            return values
        ahead = np.repeat(values, trellis.STATES, axis=1)
        for tile in self._pending:
            passed = shares[tile.cols, cols].T
            ahead -= (passed @ tile.errors.reshape(len(tile.errors), -1)).reshape(ahead.shape)
        return ahead

    def _step(self, col: int, scaled: _Array) -> tuple[_Array, _Bools]:
        """Return by next state the level that leads there, and whether the second edge does."""
        levels, costs = self._steps.edges(col, scaled)
        first, second = (self._costs[self._before[i]] + costs[self._edges[i]] for i in (0, 1))
        chosen = second < first
        self._costs = np.minimum(first, second)
        return np.where(chosen, levels[self._edges[1]], levels[self._edges[0]]), chosen

    def _survive(self, tile: _Tile, back: _Array) -> None:
        """Put what was found in the order of the survivors of now."""
        origin = np.arange(back[0].size)
        for place in reversed(range(len(back))):
            for found in (tile.levels,) if tile.errors is tile.levels else tile[1:]:
                found[place] = found[place].reshape(-1)[origin].reshape(back[0].shape)
            origin = back[place].reshape(-1)[origin]
        self._pending = [*(earlier.of(origin) for earlier in self._pending), tile]

    def _decide(self) -> None:
        """Let the best survivor decide on the oldest columns; those that differ end here."""
        tile = self._pending.pop(0)
        best = self._costs.argmin(axis=0)
        chosen = tile.levels[:, best, self._rows]
        self._levels[tile.cols] = chosen
        self._costs -= self._costs[best, self._rows]
        self._costs[(tile.levels != chosen[:, None, :]).any(axis=0)] = _NEVER
        if self._lanes.shares is not None:
            # Survivors carry its errors through the columns that are pending.
            first = self._pending[-1].cols.stop
            passed = self._lanes.shares[tile.cols, first:].T
            self._lanes.values[first:] -= passed @ tile.errors[:, best, self._rows]


class _Steps:
    """What a step along the trellis costs: the error of the level, and what bits it should take.

    Bits are those of magnitudes that fall off exponentially.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._worth, self._zeros = lanes.worth, lanes.values == 0
        kind, octaves = lanes.values.dtype, lanes.fall / math.log(2)

        def within(distance: float) -> _Array:
            """Return the bits that tell that it is no more than this beyond a boundary."""
            return np.asarray(-np.log2(-np.expm1(-lanes.fall * distance)))

        two = 1 + within(2)  # the sign as well
        self._zero = [within(1).astype(kind), within(0.5).astype(kind)]
        self._one = (1 + within(1.5) + octaves / 2).astype(kind)
        self._more = [(two - octaves).astype(kind), (two - 2 * octaves).astype(kind)]
        self._per_index = (2 * octaves).astype(kind)
        self._half = (0.5 - octaves / (8 * lanes.worth)).astype(kind)

    def edges(self, col: int, scaled: _Array) -> tuple[_Array, _Array]:
        """Return the level and the cost of each edge, of shape (edges, rows).

        Args:
            col: The column.
            scaled: What is to be stored, in steps, (states, rows); or (1, rows) for all states.
        """
        half, n_rows = trellis.STATES // 2, scaled.shape[1]
        levels = np.empty((2, trellis.STATES, n_rows), scaled.dtype)
        costs, zeros = np.empty_like(levels), self._zeros[col]
        for odd in (0, 1):
            states = slice(odd * half, (odd + 1) * half)
            own = np.abs(scaled if len(scaled) == 1 else scaled[states])
            for parity in (0, 1):
                indices = self._indices(col, own, odd, parity)
                level = 2 * indices - odd
                if odd and not parity:
                    np.maximum(level, 0, out=level)
                error = own - level
                cost = error * error * self._worth + self._bits(col, indices, odd, parity)
                levels[parity, states], costs[parity, states] = level, cost
        if zeros.any():  # they stay what they are
            levels[0][:, zeros], costs[0][:, zeros], costs[1][:, zeros] = 0, 0, _NEVER
        np.copysign(levels, scaled, out=levels)
        return levels.reshape(-1, n_rows), costs.reshape(-1, n_rows)

    def _indices(self, col: int, magnitudes: _Array, odd: int, parity: int) -> _Array:
        """Return the cheapest index of a parity; two of them lie four steps apart."""
        between = magnitudes / 4 + (self._half[col] + (odd / 4 - parity / 2))
        indices: _Array = np.floor(between, out=between)
        np.maximum(indices, 0, out=indices)
        if odd and not parity:
            indices[magnitudes < 1.5] = 0
        indices *= 2
        indices += parity
        return indices

    def _bits(self, col: int, indices: _Array, odd: int, parity: int) -> _Array:
        bits: _Array = self._more[odd][col] + self._per_index[col] * indices
        if parity and not odd:
            return bits
        special = self._one if parity else self._zero[odd]
        return np.where(indices == parity, special[col], bits)


def _edges() -> _Array:
    """Return by next state the two edges that lead to it, of shape (2, states).

    Edges are numbered by parity, and then by the state that they come from.
    """
    into: list[list[int]] = [[] for _ in range(trellis.STATES)]
    for edge, state in enumerate(trellis.NEXT.T.ravel().tolist()):
        into[state].append(edge)
    return np.array(into).T
