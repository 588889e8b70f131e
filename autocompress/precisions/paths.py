"""The search for the path through a trellis that costs least, errors and bits taken together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autocompress.support import trellis
from autocompress.support.integers import Integers

_TILE, _PENDING = 8, 12
_NEVER = 1e30
_BITS = 1 / np.log(2)

Floats = NDArray[np.float64]
_Any = NDArray[Any]


def _edges() -> tuple[_Any, _Any, _Any]:
    """Return by state the two states before it, and the two edges that lead to it.

    Edges are numbered by parity, and then by the state that they come from.
    """
    n_states = len(trellis.NEXT)
    into: list[list[int]] = [[] for _ in range(n_states)]
    for parity in (0, 1):
        for state in range(n_states):
            into[trellis.NEXT[state, parity]].append(parity * n_states + state)
    edges = np.array(into).T
    return edges[0], edges[1], edges % n_states


@dataclass(frozen=True)
class Lanes:
    """Rows that are quantized side by side, column after column.

    Attributes:
        values: What is to be stored, shape (cols, rows); changed where errors are fed back.
        steps: Of each element, twice as fine as the levels of one quantizer.
        expected: The magnitude to be expected of each, in these steps.
        worth: What a squared error costs, in steps and bits.
        shares: How the error of each column is passed on to later ones, shape (cols, cols); or
            None.
    """

    values: _Any
    steps: _Any
    expected: _Any
    worth: float
    shares: _Any | None


def cheapest(lanes: Lanes, states: NDArray[np.uint8]) -> tuple[Integers, NDArray[np.uint8]]:
    """Return the levels of the cheapest paths, in steps.

    Paths that lead to different states at a column carry errors of their own. What lies more than
    some tiles of columns behind is decided.

    Args:
        lanes: The rows.
        states: In which they begin.

    Returns:
        Levels of shape (cols, rows), and the states in which the rows end.
    """
    return _Search(lanes, states).run()


class _Search:
    def __init__(self, lanes: Lanes, states: NDArray[np.uint8]) -> None:
        self._lanes, self._kind = lanes, lanes.values.dtype
        self._n_cols, self._n_rows = lanes.values.shape
        self._n_states = len(trellis.NEXT)
        self._first, self._second, self._before = _edges()
        self._zeros = lanes.values == 0
        self._flat = np.arange(self._n_rows)
        self._costs = np.full((self._n_states, self._n_rows), _NEVER, self._kind)
        self._costs[states, self._flat] = 0
        self._levels = np.empty((self._n_cols, self._n_rows), self._kind)
        self._pending: list[tuple[slice, _Any, _Any]] = []
        self._model = _Bits(lanes)

    def run(self) -> tuple[Integers, NDArray[np.uint8]]:
        for first in range(0, self._n_cols, _TILE):
            self._tile(slice(first, min(first + _TILE, self._n_cols)))
            if len(self._pending) > _PENDING:
                self._decide()
        final = self._costs.argmin(axis=0)
        for cols, levels, _ in self._pending:
            self._levels[cols] = levels[:, final, self._flat]
        return self._levels.astype(np.int64), final.astype(np.uint8)

    def _tile(self, cols: slice) -> None:
        """Go through some columns with all survivors."""
        n, shares = cols.stop - cols.start, self._lanes.shares
        ahead = self._ahead(cols)
        levels = np.empty((n, self._n_states, self._n_rows), self._kind)
        errors = np.empty_like(levels) if shares is not None else levels
        back = np.empty((n, self._n_states, self._n_rows), np.intp)
        for place in range(n):
            col = cols.start + place
            steps = self._lanes.steps[col]
            level, chosen = self._step(col, ahead[place] / steps)
            levels[place] = level
            back[place] = np.where(chosen, self._before[1][:, None], self._before[0][:, None])
            back[place] *= self._n_rows
            back[place] += self._flat
            if shares is None:
                continue
            own = np.where(chosen, ahead[place:, self._before[1]], ahead[place:, self._before[0]])
            error = own[0] - level * steps
            errors[place] = error
            passed = shares[col, col + 1 : cols.stop]
            ahead[place + 1 :] = own[1:] - error * passed[:, None, None]
        self._trace(cols, levels, errors, back)

    def _ahead(self, cols: slice) -> _Any:
        """Return what is to be stored in some columns, by survivor, (cols, states or 1, rows)."""
        values = self._lanes.values[cols][:, None, :]
        shares = self._lanes.shares
        if shares is None:
            return values
        ahead = np.repeat(values, self._n_states, axis=1)
        for past, _, errors in self._pending:
            passed = shares[past, cols].T
            ahead -= (passed @ errors.reshape(len(errors), -1)).reshape(ahead.shape)
        return ahead

    def _step(self, col: int, scaled: _Any) -> tuple[_Any, _Any]:
        """Return by next state the level that leads there, and whether the second edge is taken."""
        levels, costs = self._model.edges(col, scaled, self._zeros[col])
        n_states = self._n_states
        first = self._costs[self._before[0]] + costs[self._first]
        second = self._costs[self._before[1]] + costs[self._second]
        chosen = second < first
        self._costs = np.minimum(first, second)
        del n_states
        return np.where(chosen, levels[self._second], levels[self._first]), chosen

    def _trace(self, cols: slice, levels: _Any, errors: _Any, back: _Any) -> None:
        """Put what was found in the order of the survivors of now."""
        n_flat = self._n_states * self._n_rows
        origin = np.arange(n_flat).reshape(self._n_states, self._n_rows)
        found = [np.empty_like(levels), np.empty_like(levels)]
        fed = self._lanes.shares is not None
        for place in reversed(range(len(levels))):
            if place + 1 < len(levels):
                origin = np.take(back[place + 1].reshape(-1), origin)
            np.take(levels[place].reshape(-1), origin, out=found[0][place])
            if fed:
                np.take(errors[place].reshape(-1), origin, out=found[1][place])
        origin = np.take(back[0].reshape(-1), origin).reshape(-1)
        shape = (-1, self._n_states, self._n_rows)
        self._pending = [
            (
                past,
                np.take(old.reshape(len(old), -1), origin, axis=1).reshape(shape),
                np.take(error.reshape(len(old), -1), origin, axis=1).reshape(shape) if fed else old,
            )
            for past, old, error in self._pending
        ]
        self._pending.append((cols, found[0], found[1]))

    def _decide(self) -> None:
        """Let the best survivor decide on the oldest columns; those that differ end here."""
        cols, levels, errors = self._pending.pop(0)
        best = self._costs.argmin(axis=0)
        chosen = levels[:, best, self._flat]
        self._levels[cols] = chosen
        differs = (levels != chosen[:, None, :]).any(axis=0)
        self._costs -= self._costs[best, self._flat]
        self._costs[differs] = _NEVER
        shares = self._lanes.shares
        if shares is not None:
            begin = self._pending[-1][0].stop
            passed = shares[cols, begin:].T
            self._lanes.values[begin:] -= passed @ errors[:, best, self._flat]
            # Those of columns in between are in what the survivors carry.


class _Bits:
    """What levels should cost in bits, if magnitudes fall off exponentially from their mean."""

    def __init__(self, lanes: Lanes) -> None:
        self._worth = lanes.worth
        kind = lanes.values.dtype
        fall = 1 / np.maximum(lanes.expected, 2.0**-6)
        with np.errstate(under="ignore"):
            wide = -np.log(-np.expm1(-2 * fall))  # of two steps
            self.zero = [-np.log(-np.expm1(-fall)), -np.log(-np.expm1(-fall / 2))]
            near = -np.log(-np.expm1(-1.5 * fall))
        two = np.log(2)
        self.one = [two + fall + wide, two + fall / 2 + near]
        self.rest = [two - fall + wide, two - 2 * fall + wide]  # and the fall by index
        self.fall = 2 * fall
        for of in (self.zero, self.one, self.rest):
            of[:] = [(each * _BITS).astype(kind) for each in of]
        self.fall = (self.fall * _BITS).astype(kind)
        self._bias = (0.5 - self.fall / (16 * lanes.worth)).astype(kind)

    def edges(self, col: int, scaled: _Any, zeros: NDArray[np.bool_]) -> tuple[_Any, _Any]:
        """Return the level of each edge and its cost, of shape (edges, rows).

        Args:
            col: The column.
            scaled: What is to be stored, in steps, (states, rows); or (1, rows) for all states.
            zeros: Where nothing but zero is allowed.
        """
        n_states = len(trellis.NEXT)
        half, n_rows = n_states // 2, scaled.shape[1]
        magnitudes = np.abs(scaled)
        levels = np.empty((2, n_states, n_rows), scaled.dtype)
        costs = np.empty_like(levels)
        bias, fall, worth = self._bias[col], self.fall[col], self._worth
        forced = zeros.any()
        for odd in (0, 1):
            states = slice(odd * half, (odd + 1) * half)
            own = magnitudes if len(scaled) == 1 else magnitudes[states]
            quarter = own * 0.25
            if odd:
                quarter = quarter + 0.25
            even_index = np.floor(quarter + bias)
            np.maximum(even_index, 0, out=even_index)
            if odd:
                even_index[own < 1.5] = 0
            odd_index = np.floor(quarter + (bias - 0.5))
            np.maximum(odd_index, 0, out=odd_index)
            for parity, index in enumerate((even_index, odd_index)):
                index *= 2
                index += parity
                level = 2 * index
                if odd:
                    level -= 1
                    if not parity:
                        np.maximum(level, 0, out=level)
                bits = self.rest[odd][col] + fall * index
                if not parity:
                    bits = np.where(index == 0, self.zero[odd][col], bits)
                elif odd:
                    bits = np.where(index == 1, self.one[odd][col], bits)
                cost = own - level
                cost *= cost
                cost *= worth
                cost += bits
                if forced and parity:
                    cost[:, zeros] = _NEVER
                elif forced:
                    cost[:, zeros] = 0
                    level[:, zeros] = 0
                levels[parity, states] = level
                costs[parity, states] = cost
        levels = np.copysign(levels, scaled)
        return levels.reshape(2 * n_states, n_rows), costs.reshape(2 * n_states, n_rows)
