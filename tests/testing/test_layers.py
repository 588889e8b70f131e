"""The layer adapters of the package go through the kit, which finds what is wrong with others."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from autocompress.layers.base import (
    LAYERS,
    LayerAdapter,
    Plain,
    Products,
    Role,
    adapter_of,
)
from autocompress.testing import check_layer

VECTORS = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[0, 3, 3], [8, 1, 0]])
SQUARES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
STATE = torch.zeros(1, 3, 8)
CASES: list[tuple[nn.Module, Any]] = [
    (nn.Linear(6, 4), VECTORS),
    (nn.Linear(6, 4, bias=False), VECTORS),
    (nn.Embedding(9, 6), IDS),
    (nn.Embedding(9, 6, padding_idx=0), IDS),
    (nn.EmbeddingBag(9, 6), IDS),
    (nn.EmbeddingBag(9, 6, mode="sum"), IDS),
    (nn.LSTM(6, 8, 2), VECTORS),
    (nn.LSTM(6, 8, batch_first=True, bias=False), VECTORS),
    (nn.LSTM(6, 8), (VECTORS, (STATE, STATE))),
    (nn.LSTM(6, 8, proj_size=3), VECTORS),
    (nn.GRU(6, 8, 2), VECTORS),
    (nn.GRU(6, 8), (VECTORS, STATE)),
    (nn.GRU(6, 8, bidirectional=True), VECTORS),
    (nn.RNN(6, 8), VECTORS),
    (nn.RNN(6, 8, nonlinearity="relu"), VECTORS),
    (nn.MultiheadAttention(6, 2), (VECTORS, VECTORS, VECTORS)),
    (
        nn.MultiheadAttention(6, 2, add_bias_kv=True, add_zero_attn=True),
        (VECTORS, VECTORS, VECTORS),
    ),
    (nn.EmbeddingBag(9, 6, mode="max"), IDS),
    (nn.EmbeddingBag(9, 6, padding_idx=0), IDS),
    (nn.LSTMCell(6, 8), VECTORS[0]),
    (nn.GRUCell(6, 8), (VECTORS[0], STATE[0])),
    (nn.RNNCell(6, 8, nonlinearity="relu"), VECTORS[0]),
    (nn.Bilinear(6, 6, 4), (VECTORS, VECTORS)),
    (nn.Conv1d(3, 4, 2), VECTORS),
    (nn.Conv2d(3, 4, 3, stride=2, padding="valid", bias=False), SQUARES),
    (nn.Conv2d(3, 4, 3, padding="same", padding_mode="circular", dilation=2), SQUARES),
    (nn.Conv2d(4, 6, (2, 3), groups=2, padding=(1, 0)), torch.cat([SQUARES, SQUARES], 1)[:, :4]),
    (nn.Conv3d(3, 4, 2), SQUARES.reshape(2, 3, 8, 2, 4)),
    (nn.ConvTranspose1d(3, 4, 3, stride=2, output_padding=1), VECTORS),
    (nn.ConvTranspose2d(3, 4, 3, padding=1, dilation=2), (SQUARES, [10, 10])),
    (nn.ConvTranspose2d(4, 6, 2, groups=2), torch.cat([SQUARES, SQUARES], 1)[:, :4]),
    (nn.ConvTranspose3d(3, 4, 2), SQUARES.reshape(2, 3, 8, 2, 4)),
    (nn.LayerNorm(6), VECTORS),
    (nn.RMSNorm(6), VECTORS),
    (nn.GroupNorm(1, 3), VECTORS),
    (nn.BatchNorm1d(3), VECTORS),
    (nn.InstanceNorm2d(3, affine=True), SQUARES),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("module", "batch"), CASES, ids=lambda one: str(one)[:40])
def test_layers_conform(module: nn.Module, batch: Any) -> None:
    adapter = adapter_of(module)
    assert adapter is not None
    check_layer(adapter, module, batch)


def test_every_registered_layer_is_tested_here() -> None:
    tested = {type(adapter_of(module)) for module, _ in CASES}
    assert tested == set(LAYERS.values())


class Odd(nn.Module):
    """A layer that adds what it multiplied before to what it multiplies now."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(functional.linear(x, self.weight), self.weight)


class Good(LayerAdapter):
    layer = Odd

    def roles(self, module: nn.Module) -> dict[str, Role]:
        return {"weight": "linear"}

    def run(self, module: nn.Module, product: Products, *given: Any, **named: Any) -> Any:
        return product("weight").times(product("weight").times(given[0]))


class Half(Good):
    def run(self, module: nn.Module, product: Products, *given: Any, **named: Any) -> Any:
        assert isinstance(module, Odd)
        return product("weight").times(Plain(module.weight).times(given[0]))


class Wrong(Good):
    def run(self, module: nn.Module, product: Products, *given: Any, **named: Any) -> Any:
        return product("weight").times(given[0])


class Unknown(Good):
    def roles(self, module: nn.Module) -> dict[str, Role]:
        return {"kernel": "linear"}


class Unable(Good):
    def run(self, module: nn.Module, product: Products, *given: Any, **named: Any) -> Any:
        return NotImplemented


class Careless(Good):
    def run(self, module: nn.Module, product: Products, *given: Any, **named: Any) -> Any:
        module.train()
        return super().run(module, product, *given)


class Cut(Good):
    def run(self, module: nn.Module, product: Products, *given: Any, **named: Any) -> Any:
        return product("weight").times(product("weight").times(given[0]).detach())


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Half, "`run` must use the product of 'weight' everywhere; but got off_by="),
        (Wrong, "`run` must give what `forward` gives"),
        (Unknown, "'kernel' must be a parameter"),
        (Unable, "`run` must know what it is given"),
        (Careless, "Careless must leave the module as it is"),
        (Cut, "gradients of 'weight' must be those of `forward`"),
    ],
)
def test_what_is_wrong_with_a_layer_adapter_is_said(
    broken: type[Good], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAYERS._items, "odd", Good)
    check_layer(Good(), Odd(), VECTORS)
    with pytest.raises(AssertionError, match=r"must be registered in LAYERS"):
        check_layer(broken(), Odd(), VECTORS)
    monkeypatch.setitem(LAYERS._items, "odd", broken)
    with pytest.raises(AssertionError, match=rule):
        check_layer(broken(), Odd(), VECTORS)
