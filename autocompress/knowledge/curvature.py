"""What errors in a weight cost: measured on training data, by the gradients of the loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autocompress.knowledge.task import Task
from autocompress.knowledge.weights import first_names
from autocompress.layers.modules import FactoredEmbedding, FactoredLinear, FactoredRecurrent
from autocompress.layers.operators import Operator
from autocompress.structures import Curvature

_BATCHES = 64
_PRIOR_COUNT = 10.0
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

    Args:
        model: Evaluated without dropout; it is not changed.
        task: Gives the training losses.
        frequencies: By weight name, how often each row is used. A row of a layer that occurs
            rarely is too rarely seen to be measured; it takes over the ratio of the others.

    Returns:
        By weight name; what is not part of an Embedding, Linear or unidirectional recurrent
        module is left out, and so is all if the task has no training losses.

    References:
        [1] J. Martens, R. Grosse. Optimizing Neural Networks with Kronecker-factored Approximate
            Curvature. ICML 2015, arXiv 1503.05671; with the gradients of the true labels.
    """
    watched = copy.deepcopy(model).eval()
    watches = _watch(watched)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # steps through time are too small to be shared
        with torch.random.fork_rng(devices=[]):
            for loss in islice(task.training_losses(watched, model, 0.0, 0), _BATCHES):
                if loss.requires_grad:
                    torch.autograd.backward(loss)
                for watch in watches.values():
                    watch.end_batch()
    finally:
        torch.set_num_threads(threads)
    found = {name: watch.curvature(frequencies.get(name)) for name, watch in watches.items()}
    return {name: curvature for name, curvature in found.items() if curvature is not None}


class _Watch(Operator):
    """A weight that keeps account of what it multiplies and of the gradients that come back."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.multiplications = weight.numel()
        rows, cols = weight.shape
        self._uses = np.zeros(rows)
        self._sensitivities, self._inputs = np.zeros(rows), np.zeros((cols, cols))
        self._gradients = np.zeros((cols, cols))
        self._batch: list[tuple[Tensor, Tensor, bool]] = []
        self._vectors = self._batches = self._lookups = 0

    def expand(self, x: Tensor) -> Tensor:
        """Multiply by the weight."""
        return self._followed(x, functional.linear(x, self.weight), looked_up=False)

    def rows(self, ids: Tensor) -> Tensor:
        """Look the rows up."""
        self._uses += np.bincount(ids.numpy().ravel(), minlength=self._uses.size)
        return self._followed(ids, self.weight[ids], looked_up=True)

    def _followed(self, x: Tensor, y: Tensor, *, looked_up: bool) -> Tensor:
        if not y.requires_grad:
            y.requires_grad_(True)

        def keep(gradient: Tensor) -> None:
            self._batch.append((x.detach(), gradient, looked_up))

        if torch.is_grad_enabled():
            y.register_hook(keep)  # type: ignore[no-untyped-call]
        return y

    def end_batch(self) -> None:
        """Add up what one batch has shown."""
        multiplied = [(x, g) for x, g, looked_up in self._batch if not looked_up]
        looked_up = [g for _, g, looked_up in self._batch if looked_up]
        if multiplied:
            inputs = torch.cat([x.flatten(0, -2) for x, _ in multiplied])
            gradients = torch.cat([g.flatten(0, -2) for _, g in multiplied])
            # Gradients are of the mean over the batch; of each vector's own loss, n times that.
            squares = gradients.square().sum(dim=0) * len(gradients)
            self._sensitivities += squares.double().numpy()
            self._inputs += (inputs.T @ inputs / len(inputs)).double().numpy()
            self._vectors += len(inputs)
        if looked_up:
            gradients = torch.cat([g.flatten(0, -2) for g in looked_up])
            self._gradients += (gradients.T @ gradients * len(gradients)).double().numpy()
            self._lookups += len(gradients)
        self._batch.clear()
        self._batches += 1

    def curvature(self, frequencies: Floats | None) -> Curvature | None:
        """Return the curvature, or None if no gradient came back but for rounding errors.

        It is taken for rounding errors if the loss of the whole weight would cost nothing.

        A tied weight is both looked up and multiplied by; each use counts with its mean moment.
        """
        rows = np.zeros(self._uses.size)
        moment = np.zeros_like(self._inputs)
        for sensitivities, part in self._parts(frequencies):
            scale = float(np.trace(part)) / len(part)
            rows += sensitivities * scale
            moment += float(sensitivities.sum()) * part
        if not rows.any() or not np.isfinite(rows).all():
            return None
        # In all, rows times moment is what it was, part by part.
        moment /= rows.sum()
        found = Curvature(np.maximum(rows, _FLOOR * rows.mean()), moment)
        return found if found.rise(self.weight.numpy()) > _SMALLEST_RISE else None

    def _parts(self, frequencies: Floats | None) -> Iterator[tuple[Floats, Floats]]:
        """Yield rows' sensitivities and moment, for lookups and for multiplications."""
        if self._lookups:
            counts = self._uses if frequencies is None else frequencies
            yield (counts + 1) / (counts + 1).sum(), self._gradients / self._batches
        if self._vectors:
            sensitivities = self._sensitivities / self._batches
            if frequencies is not None:
                sensitivities = _smoothed(sensitivities, frequencies, self._vectors)
            yield sensitivities, self._inputs / self._batches


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


def _watch(model: nn.Module) -> dict[str, _Watch]:
    """Replace modules by such that keep account; return the accounts by weight name."""
    tensors = model.state_dict(keep_vars=True)
    firsts = first_names(tensors)
    watches: dict[str, _Watch] = {}

    def watch(name: str) -> _Watch:
        return watches.setdefault(firsts[name], _Watch(tensors[name]))

    for name, module in list(model.named_modules()):
        prefix = f"{name}." if name else ""
        replacement: nn.Module
        if isinstance(module, nn.Embedding) and module.max_norm is None:
            replacement = FactoredEmbedding(watch(f"{prefix}weight"))
        elif isinstance(module, nn.Linear):
            operator = watch(f"{prefix}weight")
            replacement = FactoredLinear(operator, module.bias, projected=False)
        elif isinstance(module, nn.RNNBase) and not module.bidirectional and not module.proj_size:
            operators = {
                key: watch(f"{prefix}{key}")
                for key, _ in module.named_parameters()
                if key.startswith("weight")
            }
            replacement = FactoredRecurrent(module, operators, emits_projections=False)
        else:
            continue
        if name:
            model.set_submodule(name, replacement)
    return watches
