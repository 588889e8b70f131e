"""What errors in a weight cost: measured on training data, by the gradients of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autocompress.knowledge.guarded import differentiate
from autocompress.knowledge.moments import MomentSum, joined, widths_of
from autocompress.knowledge.task import Task
from autocompress.knowledge.tensors import tensors_of
from autocompress.layers.base import ALL, Plain
from autocompress.layers.convolving import Convolution
from autocompress.layers.copies import as_written, beside, untouched
from autocompress.layers.memory import first_names
from autocompress.layers.watching import Watching
from autocompress.structures import Curvature, Matrix, matrix_shape
from autocompress.support import progress
from autocompress.support.threads import one_thread

_BATCHES, _PRIOR_COUNT = 64, 10.0
_LEAST_EVEN, _BY_HEART = 0.1, 0.01
_FLOOR = 1e-6
_SMALLEST_RISE = 1e-9

Floats = NDArray[np.float64]


def measure_curvatures(
    model: nn.Module, task: Task, frequencies: dict[str, Floats]
) -> dict[str, Curvature]:
    """Return the curvature of each weight that is looked up in or multiplies vectors.

    64 training batches are run forwards and backwards. Of a weight that multiplies vectors, the
    moment is that of its inputs, and a row is as sensitive as the mean squared gradient of the
    loss by its output [1]; of an embedding, the moment is that of the gradients by its output,
    and a row counts as often as it is used. Losses are taken to be means over all vectors of a
    batch; where they are not, all curvatures are off by a common factor.

    Of a model that knows its training data by heart, errors count by their size, relative to the
    weight: gradients that come from a few vectors alone hold for no other data.

    Args:
        model: Evaluated without dropout; it is not changed.
        task: Gives the training losses.
        frequencies: By weight name, how often each row is used. A row of a layer that occurs
            rarely is too rarely seen to be measured; it takes over the ratio of the others.

    Returns:
        By weight name; what no layer adapter and no call of `functional.linear`, `embedding`,
        `bilinear` or a convolution shows is left out; without training losses, all is.

    References:
        [1] J. Martens, R. Grosse. Optimizing Neural Networks with Kronecker-factored Approximate
            Curvature. ICML 2015, arXiv 1503.05671; with the gradients of the true labels.
    """
    with untouched(model) as watched:
        teacher, tensors = beside(watched), tensors_of(watched)
        firsts = {n: f for n, f in first_names(tensors).items() if tensors[n].dim() > 1}
        accounts = {name: _Account(tensors[name]) for name in dict.fromkeys(firsts.values())}
        losses: list[float] = []
        watching = Watching(watched, {name: accounts[first] for name, first in firsts.items()})
        # Steps through time are too small to be shared by threads.
        bar, alone = progress.bar("calibration", _BATCHES), torch.random.fork_rng(devices=[])
        with one_thread(), alone, as_written(), watching, bar as shown:
            for loss in _backwards(task.training_losses(watched, teacher, 0.0, 0)):
                losses.append(loss)
                for account in accounts.values():
                    account.end_batch()
                shown.advance()
    unwatched = {firsts[name] for name in watching.unwatched}
    known = {name: account for name, account in accounts.items() if name not in unwatched}
    if _is_by_heart(known.values(), losses):
        found = {name: account.even_curvature() for name, account in known.items()}
    else:
        found = {name: one.curvature(frequencies.get(name)) for name, one in known.items()}
    return {name: curvature for name, curvature in found.items() if curvature is not None}


def _backwards(losses: Iterator[Tensor]) -> Iterator[float]:
    """Have losses tell their gradients, and yield them; none is held while the next is made."""
    for loss in islice(losses, _BATCHES):
        if loss.requires_grad:
            differentiate(loss)
        value = float(loss.detach().mean())
        del loss
        yield value


def _is_by_heart(accounts: Collection[_Account], losses: Sequence[float]) -> bool:
    """Whether the loss is below a hundredth, and next to no vector has gradients."""
    evenness = max((one.evenness for one in accounts), default=1.0)
    return evenness < _LEAST_EVEN and float(np.mean(losses or [1.0])) < _BY_HEART


class _Account(Plain):
    """A weight that keeps account of what it multiplies and of the gradients that come back."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.detach())
        rows, cols = matrix_shape(tuple(weight.shape))
        self._uses, self._sensitivities = np.zeros(rows), np.zeros(rows)
        widths = widths_of(rows, cols)
        self._inputs, self._gradients = MomentSum(widths, cols), MomentSum(widths, cols)
        self._multiplied: list[tuple[Tensor, Tensor, slice]] = []
        self._convolved: list[tuple[Convolution, Tensor, Tensor]] = []
        self._looked_up: list[Tensor] = []
        self._vectors = self._batches = self._lookups = 0
        self._spread = _Spread()

    def expand(self, z: Tensor, bias: Tensor | None = None, rows: slice = ALL) -> Tensor:
        """Multiply by the weight."""
        x = z.detach()

        def keep(gradient: Tensor) -> None:
            self._multiplied.append((x, gradient, rows))

        y = _followed(super().expand(z, None, rows), keep)
        return y if bias is None else y + bias

    def rows(self, ids: Tensor) -> Tensor:
        """Look the rows up."""
        self._uses += np.bincount(ids.cpu().numpy().ravel(), minlength=self._uses.size)
        return _followed(super().rows(ids), self._looked_up.append)

    def convolve(self, x: Tensor, how: Convolution, bias: Tensor | None = None) -> Tensor:
        """Convolve with the weight."""
        inputs = x.detach()

        def keep(gradient: Tensor) -> None:
            if gradient.numel():
                self._convolved.append((how, *how.sample(inputs, gradient, self.weight)))

        y = _followed(super().convolve(x, how), keep)
        return y if bias is None else y + bias.reshape(-1, *[1] * how.dims)

    def across(self, x: Tensor) -> Tensor:
        """Multiply from the other side: a row counts by what it is multiplied by."""
        inputs = x.detach()
        return _followed(
            super().across(x), lambda gradient: self._multiplied.append((gradient, inputs, ALL))
        )

    def end_batch(self) -> None:
        """Add up what one batch has shown."""
        uses: dict[tuple[int | None, int | None], list[tuple[Tensor, Tensor]]] = {}
        for how, x, gradient in self._convolved:
            self._multiplied += how.vectors(x, gradient, self.weight)
        for x, gradient, rows in self._multiplied:
            uses.setdefault((rows.start, rows.stop), []).append((x, gradient))
        for (first, last), pairs in uses.items():
            inputs, gradients = joined(x for x, _ in pairs), joined(g for _, g in pairs)
            n, share = len(inputs), len(uses)
            # Gradients are of the mean over the batch; of each vector's own loss, n times that.
            squares = gradients.square()
            self._sensitivities[first:last] += (squares.sum(dim=0) * n).cpu().double().numpy()
            self._spread.add(squares.sum(dim=1), n)
            self._inputs.add(inputs, partial(_mean, n=n, share=share))
            self._vectors += max(n // share, 1)  # groups may be many, and inputs few
        if self._looked_up:
            gradients = joined(self._looked_up)
            n = len(gradients)
            self._spread.add(gradients.square().sum(dim=1), n)
            self._gradients.add(gradients, partial(_times, n=n))
            self._lookups += n
        self._multiplied.clear()
        self._convolved.clear()
        self._looked_up.clear()
        self._batches += 1

    def curvature(self, frequencies: Floats | None) -> Curvature | None:
        """Return the curvature, or None if no gradient came back but for rounding errors.

        It is taken for rounding errors if the loss of the whole weight would cost nothing.

        A tied weight is both looked up and multiplied by; each use counts with its mean moment.
        """
        parts = list(self._parts(frequencies))
        rows = np.zeros(self._uses.size)
        moment: Any = None
        for part in parts:
            rows += part.rows * _scale(part)
            own = part.moment
            own *= float(part.rows.sum())
            moment = own if moment is None else np.add(moment, own, out=moment)
        if (
            moment is None
            or not rows.any()
            or not np.isfinite(rows).all()
            or not np.isfinite(moment).all()
        ):
            return None
        # In all, rows times moment is what it was, part by part.
        floored = np.maximum(rows, _FLOOR * rows.mean())
        moment /= float(rows.sum())
        found = replace(parts[0], rows=floored, moment=moment)
        return found if found.rise(self._matrix) > _SMALLEST_RISE else None

    @property
    def _matrix(self) -> Matrix:
        matrix: Matrix = self.weight.float().cpu().flatten(1).numpy()
        return matrix

    @property
    def evenness(self) -> float:
        """Over how many of its vectors the gradients are spread, as a share; 0 of none."""
        return self._spread.evenness

    def even_curvature(self) -> Curvature | None:
        """Return what counts errors by their size alone, or None if the weight was never used."""
        used = self._vectors or self._lookups
        return Curvature.relative(self._matrix) if used else None

    def _parts(self, frequencies: Floats | None) -> Iterator[Curvature]:
        """Yield rows' sensitivities and moment, for lookups and for multiplications."""
        if self._lookups:
            counts = self._uses if frequencies is None else frequencies
            sensitivities = (counts + 1) / (counts + 1).sum()
            yield self._gradients.curvature(sensitivities, self._batches)
        if self._vectors:
            sensitivities = self._sensitivities / self._batches
            if frequencies is not None:
                sensitivities = _smoothed(sensitivities, frequencies, self._vectors)
            yield self._inputs.curvature(sensitivities, self._batches)


class _Spread:
    """Over how many vectors gradients are spread."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, energies: Tensor, n: int) -> None:
        """Add the squared gradients of the vectors of a batch of n, shape (n,)."""
        own = energies.cpu().double() * float(n) ** 2  # gradients are of the mean over the batch
        self._count += n
        self._sum += float(own.sum())
        self._squares += float(own.square().sum())

    @property
    def evenness(self) -> float:
        """One where all are alike, and 1 / n where one of n has it all; 0 of none."""
        if self._squares == 0:
            return 0.0
        share = self._sum**2 / self._squares / self._count
        return share if math.isfinite(share) else 1.0


def is_even(curvatures: Mapping[str, Curvature]) -> bool:
    """Whether errors count by their size alone, since the gradients say nothing."""
    spans = [float(np.ptp(one.rows)) for one in curvatures.values() if one.rows.size > 1]
    return bool(spans) and max(spans) == 0


def _mean(moment: Tensor, n: int, share: int) -> Tensor:
    return (moment / n).double() / share


def _times(moment: Tensor, n: int) -> Tensor:
    return (moment * n).double()


def _scale(part: Curvature) -> float:
    """Return the mean diagonal of a moment."""
    square = part.moment.ndim == 2
    return float(np.trace(part.moment) if square else part.diagonal.sum()) / len(part.diagonal)


def _followed(y: Tensor, keep: Callable[[Tensor], None]) -> Tensor:
    """Have the gradient that comes back to a tensor kept."""
    if torch.is_grad_enabled():
        if not y.requires_grad:
            y.requires_grad_(True)
            y.register_hook(keep)  # type: ignore[no-untyped-call]
            return y.clone()  # what a module may change in place
        y.register_hook(keep)  # type: ignore[no-untyped-call]
    return y


def _smoothed(sensitivities: Floats, frequencies: Floats, vectors: int) -> Floats:
    """Return sensitivities, drawn towards their mean ratio to the frequencies where those are low.

    As if every row had been seen ten more times at that ratio: the mean of a gamma distribution,
    given Poisson counts.
    """
    shares = (frequencies + 1) / (frequencies + 1).sum()
    expected = sensitivities.sum() * shares
    seen = vectors * shares
    smoothed: Floats = (_PRIOR_COUNT * expected + seen * sensitivities) / (_PRIOR_COUNT + seen)
    return smoothed
