"""Random models by a seed, from a grammar of layers, tyings, dtypes and wrappers.

The same seed always makes the same model, so that a fresh one can be made to be filled. Some
models cannot be compressed; what then is to be said is part of what is known of them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import torch
from grammar_layers import LAYERS, front
from grammar_modules import InOtherNumbers, Locked
from grammar_task import TOKENS, batches
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

DTYPES = (torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64)


class Net(nn.Module):
    """A table of tokens, layers with sums around them, and scores; or vectors instead of tokens.

    Args:
        random: Decides on all sizes, layers and tyings.
    """

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.width = random.choice([6, 8, 12])
        self.front = front(random, self.width) if random.random() < 0.6 else None
        kinds = [random.choice(list(LAYERS)) for _ in range(random.randint(1, 4))]
        layers = [LAYERS[kind](random, self.width) for kind in kinds]
        if random.random() < 0.25:
            layers.append(random.choice(layers))  # one module under two names
        if random.random() < 0.2:
            layers = [nn.Sequential(*layers)]
        if random.random() < 0.15:
            layers.append(InOtherNumbers(LAYERS["linear"](random, self.width), torch.float64))
        self.layers = nn.ModuleList(layers)
        self.end = nn.Linear(self.width, TOKENS, bias=random.random() < 0.8)
        self.by_function = random.random() < 0.1

    @property
    def table(self) -> nn.Module:
        """What holds the table of tokens; the scores if there is none."""
        found = getattr(self.front, "layer", self.front)
        return self.end if found is None else found

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.end.weight.dtype) if self.front is None else self.front(x)
        for layer in self.layers:
            x = x + layer(x)
        if self.by_function:
            return nn.functional.linear(x, self.table.weight, self.end.bias)  # type: ignore[arg-type]
        scores: Tensor = self.end(x)
        return scores


class Doubled(nn.Module):
    """A parametrization of a user's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def _own(module: nn.Module, name: str) -> None:
    parametrize.register_parametrization(module, name, Doubled())


def _pruned(module: nn.Module, name: str) -> None:
    prune.l1_unstructured(module, name, 0.5)  # type: ignore[no-untyped-call]


def _without_rows(module: nn.Module, name: str) -> None:
    prune.ln_structured(module, name, 0.3, n=2, dim=0)  # type: ignore[no-untyped-call]


COMPUTING: Mapping[str, Callable[[nn.Module, str], object]] = {
    "weight_norm hook": weight_norm,
    "spectral_norm hook": spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": _own,
    "pruned": _pruned,
    "rows pruned": _without_rows,
}
"""What computes a weight from others."""


def _lacking_number(net: Net) -> None:
    with torch.no_grad():
        net.end.weight[0, 0] = torch.nan


def _uncopied(net: Net) -> None:
    _own(net.end, "weight")
    net.add_module("locked", Locked(3))


def _lazy(net: Net) -> None:
    net.add_module("lazy", nn.LazyLinear(3))


def _sparse(net: Net) -> None:
    net.register_buffer("links", torch.eye(4).to_sparse())


def _meta(net: Net) -> None:
    net.add_module("later", nn.Linear(3, 3, device="meta"))


def _reserved(net: Net) -> None:
    net.register_buffer("__metadata__", torch.ones(2))


def _too_precise(net: Net) -> None:
    net.register_buffer("phases", torch.full((2,), 1 / 3 + 1j, dtype=torch.complex128))


REFUSED: Mapping[str, Callable[[Net], None]] = {
    "`copy.deepcopy` of the model fails": _uncopied,
    "must be finite": _lacking_number,
    "has no shape yet": _lazy,
    r"make it dense": _sparse,
    "on the meta device": _meta,
    "has a name that files keep": _reserved,
    "make it complex64": _too_precise,
}
"""By what the refusal says, what makes a model that is refused."""


@dataclass(frozen=True)
class Made:
    """A model, and what is to be known of it.

    Attributes:
        model: It, in training mode.
        seed: By which it was made.
        refusal: What the refusal says if it cannot be compressed, or None.
        traits: What is remarkable about it, in words.
        computed: Whether some weights are computed from others.
        dtype: Of most of its tensors.
    """

    model: nn.Module
    seed: int
    refusal: str | None
    traits: list[str] = field(default_factory=list)
    computed: bool = False
    dtype: torch.dtype = torch.float32


def made(seed: int) -> Made:
    """Return the model of a seed."""
    random = Random(seed)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PyTorch keeps for old models
        torch.manual_seed(seed)
        net = Net(random)
        dtype = random.choice(DTYPES)
        if dtype not in (torch.float32, torch.float64) and not _runs(net, dtype):
            dtype = torch.float32
        net.to(dtype)
        traits = [str(dtype).removeprefix("torch."), *_tied(net, random)]
        locked = any(isinstance(module, Locked) for module in net.modules())
        computed = _computed(net, random) if random.random() < 0.35 and not locked else []
        refusal = random.choice(list(REFUSED)) if random.random() < 0.06 else None
        traits += _hooked(net, random)
        if random.random() < 0.2:
            traits.append("frozen")
            random.choice(list(net.children())).requires_grad_(False)
        net(batches(net, 1)[0])  # statistics that are no zeros and ones
        model: nn.Module = net
        if random.random() < 0.1:
            traits.append("data parallel")
            model = nn.DataParallel(net)
        if refusal:
            REFUSED[refusal](net)
    return Made(model, seed, refusal, [*traits, *computed], bool(computed), dtype)


def _runs(net: Net, dtype: torch.dtype) -> bool:
    """Whether PyTorch computes a model in a dtype on this processor, and its numbers suffice."""
    try:
        twin = copy.deepcopy(net).to(dtype)
        return bool(twin(batches(net, 1)[0]).isfinite().all())
    except (RuntimeError, NotImplementedError, TypeError):  # the last of what holds a lock
        return False


def _tied(net: Net, random: Random) -> list[str]:
    tie = random.choice(["", "", "one", "storage"])
    if net.front is not None and tie and isinstance(net.table.weight, nn.Parameter):
        table = net.table.weight
        net.end.weight = table if tie == "one" else nn.Parameter(table.data)
        return [f"tied by {tie}"]
    return []


def _hooked(net: Net, random: Random) -> list[str]:
    """Give some layers hooks that change what they return, or do nothing; add an unused one."""
    if random.random() < 0.3:
        net.add_module("unused", nn.Linear(5, 3))
    layers = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv1d)]
    if random.random() < 0.7:
        return []
    random.choice(layers).register_forward_hook(lambda _, inputs, output: output * 1.1)
    random.choice(layers).register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0.9,))
    random.choice(layers).register_full_backward_hook(lambda _, before, after: None)
    return ["hooked"]


def _computed(net: Net, random: Random) -> list[str]:
    """Let something compute one or two weights of modules that lie at one place alone."""
    found: list[str] = []
    places = [
        (module, name)
        for path, module in net.named_modules()
        if not path.endswith("out_proj")  # attention reads its weight itself
        for name, weight in module.named_parameters(recurse=False)
        if weight.dim() == 2 and "weight" in name and min(weight.shape) > 1
        if weight.dtype in (torch.float32, torch.float64)
        if not isinstance(module, nn.MultiheadAttention | nn.EmbeddingBag)
        if getattr(module, "max_norm", None) is None  # which changes its weight itself
        if getattr(module, "padding_idx", None) is None  # whose norm is 0, by which some divide
    ]
    for module, name in random.sample(places, min(len(places), random.randint(1, 2))):
        kind = random.choice(list(COMPUTING))
        COMPUTING[kind](module, name)
        found.append(f"{kind} of {name} in {type(module).__name__}")
    return found
