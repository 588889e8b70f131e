"""Modules that no layer of PyTorch's is, or that are one with a difference."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Around(nn.Module):
    """A layer, and how it is called to map vectors (batch, time, width) to such."""

    def __init__(self, layer: nn.Module, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.layer, x)


class InOtherNumbers(nn.Module):
    """A layer that computes in a dtype of its own."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def _apply(self, fn: Any, recurse: bool = True) -> InOtherNumbers:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.layer.to(self.dtype)
        return self

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.to(self.dtype)).to(x.dtype)
        return found


class Doubling(nn.Linear):
    """A layer of PyTorch's with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x) - x


class FirstOutput(nn.LSTM):
    """A recurrent layer that returns no states."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        found: Tensor = super().forward(x.flip(1))[0]
        return found


class Standardized(nn.Conv1d):
    """A convolution whose kernels are standardized before each use."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight - self.weight.mean(dim=(1, 2), keepdim=True)
        return functional.conv1d(x.mT, kernel, self.bias, padding=1).mT


class Scaled(nn.Embedding):
    """A table whose rows are scaled when they are looked up."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) * 1.5


class Bare(nn.Module):
    """Parameters and buffers of all shapes and dtypes that no layer holds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.shift = nn.Parameter(torch.randn(width))
        self.cube = nn.Parameter(torch.randn(2, width, width) / width)
        self.pair = nn.ParameterList([torch.randn(1, width), torch.randn(width, 1)])
        self.nothing = nn.Parameter(torch.empty(0, width))
        self.adapter = nn.Parameter(torch.zeros(width, 3))  # starts at zero, as many do
        self.count = nn.Parameter(torch.arange(3), requires_grad=False)
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("allowed", torch.rand(width) > 0.3)
        self.register_buffer("causal", torch.full((5, 5), -torch.inf).triu(1))
        self.register_buffer("far", torch.tensor([-1e4, -torch.inf, torch.nan, 6e4]))
        self.register_buffer("unsaved", torch.ones(2), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("btw,nwv->btv", x, self.cube) + self.shift * self.pair[0]
        x = x + x @ self.pair[1] + (x @ self.adapter).sum(dim=-1, keepdim=True)
        return x * self.get_buffer("allowed") / self.temperature


class Odd(nn.Module):
    """Parameters and buffers whose values, layouts or names are out of the ordinary."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.turned = nn.Parameter(torch.randn(width, width).mT / width)  # not contiguous
        self.skipping = nn.Parameter(torch.randn(width, 2 * width)[:, ::2] / width)
        self.tiny = nn.Parameter(torch.randn(width, width) * 1e-30)
        self.huge = nn.Parameter(torch.randn(width) * 1e4)
        self.same = nn.Parameter(torch.full((width, width), 0.25))
        self.table = nn.ParameterDict({"a.b".replace(".", "-"): torch.randn(width, 1, 1)})
        self.kernel = nn.Conv2d(1, 2, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        outlying = torch.randn(width, width) / width
        outlying[0, 0] = 50.0
        self.outlying = nn.Parameter(outlying)
        self.register_buffer("eighth", torch.ones(3).to(torch.float8_e4m3fn))
        self.register_buffer("unsigned", torch.tensor([1, 2, 60000], dtype=torch.uint16))
        self.register_buffer("strided", torch.arange(12.0).view(3, 4).mT)
        self.register_buffer("repeated", torch.ones(1).expand(5).clone())

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.turned + x @ self.skipping + (x @ self.same).tanh()
        x = x + (x @ self.tiny) * 1e4 + (x @ self.outlying).tanh() + (x * self.huge).sin() * 1e-4
        x = x * self.table["a-b"].flatten()
        found: Tensor = self.kernel(x[:, None]).mean(dim=1)
        return found


class Locked(nn.Linear):
    """A layer that cannot be copied, and counts its calls."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        self.lock, self.calls = Lock(), 0

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            self.calls += 1
            return super().forward(x)


class Rotating(nn.Module):
    """Turns pairs of numbers by a table of complex ones, and keeps a state of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.turned = torch.polar(torch.ones(width), torch.linspace(0, 3, width))
        self.register_buffer("turns", self.turned)

    def _apply(self, fn: Any, recurse: bool = True) -> Rotating:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.turns = self.turned  # PyTorch drops the imaginary parts
        return self

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"calls": 3}

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.turns).real.to(x.dtype) * self.gain
