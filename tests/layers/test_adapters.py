"""An adapter's `run` gives what the layer itself gives, with every option that it knows."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from autocompress.layers import LAYERS
from autocompress.layers.base import Plain, adapter_of, products_of
from autocompress.layers.watching import Watching

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"num_layers": 2, "batch_first": True},
    {"num_layers": 2, "bias": False},
    {"num_layers": 2, "bidirectional": True},
)
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


def check(module: nn.Module, *arguments: Any, **named: Any) -> None:
    """Compare what an adapter computes with the module's own output, in all tensors."""
    adapter = adapter_of(module)
    assert adapter is not None
    assert adapter.can_run(module)
    found = adapter.run(module, products_of(module, {}), *arguments, **named)
    assert found is not NotImplemented
    torch.testing.assert_close(found, module(*arguments, **named), rtol=1e-4, atol=1e-5)


def recurrent(cls: type[nn.RNNBase], **options: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    module: Any = cls
    found: nn.RNNBase = module(5, 6, **options).eval()
    return found


def state(module: nn.RNNBase, batch: int | None) -> Any:
    lines = module.num_layers * (2 if module.bidirectional else 1)
    rest = () if batch is None else (batch,)
    hidden = torch.randn(lines, *rest, module.proj_size or 6)
    return (hidden, torch.randn(lines, *rest, 6)) if module.mode == "LSTM" else hidden


@pytest.mark.parametrize("cls", RECURRENT)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recurrent_layers(cls: type[nn.RNNBase], options: dict[str, Any]) -> None:
    module = recurrent(cls, **options)
    batch_axis = 0 if module.batch_first else 1
    x = torch.randn(7, 3, 5)
    check(module, x)
    check(module, x, state(module, x.shape[batch_axis]))
    check(module, x, hx=state(module, x.shape[batch_axis]))
    check(module, torch.randn(7, 5))
    check(module, torch.randn(7, 5), state(module, None))
    for lengths in ((6, 4, 4, 1), (2, 5, 1)):
        sequences = [torch.randn(length, 5) for length in lengths]
        packed = pack_sequence(sequences, enforce_sorted=False)
        check(module, packed)
        check(module, packed, state(module, len(lengths)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_projected_states(bidirectional: bool) -> None:
    module = recurrent(nn.LSTM, proj_size=3, num_layers=2, bidirectional=bidirectional)
    check(module, torch.randn(7, 3, 5), state(module, 3))


def test_rectified_states() -> None:
    check(recurrent(nn.RNN, nonlinearity="relu"), torch.randn(4, 2, 5))


@pytest.mark.parametrize(
    ("x", "hx"),
    [
        (torch.zeros(2, 3, 4, 5), None),
        (torch.zeros(2, 3, 4), None),
        (torch.zeros(2, 3, 5), torch.zeros(1, 2, 6)),
        (torch.zeros(0, 3, 5), None),
    ],
)
def test_what_does_not_fit_is_left_to_the_module(x: torch.Tensor, hx: Any) -> None:
    module = recurrent(nn.GRU)
    adapter = adapter_of(module)
    assert adapter is not None
    assert adapter.run(module, products_of(module, {}), x, hx) is NotImplemented


def attention(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, **options).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "bias" in name:
                parameter.normal_()
    return module


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_attention(batch_first: bool, bias: bool) -> None:
    module = attention(batch_first=batch_first, bias=bias)
    shape = (3, 4, 8) if batch_first else (4, 3, 8)
    x, y, z = (torch.randn(shape) for _ in range(3))
    padding = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]], dtype=torch.bool)
    causal = nn.Transformer.generate_square_subsequent_mask(4)
    check(module, x, x, x)
    check(module, x, y, y)
    check(module, x, y, z)
    check(module, query=x, key=y, value=y, need_weights=False)
    check(module, x, x, x, average_attn_weights=False)
    check(module, x, x, x, attn_mask=causal, is_causal=True, need_weights=False)
    check(module, x, x, x, attn_mask=causal.isinf())
    check(module, x, x, x, attn_mask=torch.randn(6, 4, 4))
    check(module, x, x, x, key_padding_mask=padding)
    check(module, x, x, x, key_padding_mask=padding.float(), attn_mask=torch.randn(4, 4))
    check(module, torch.randn(4, 8), torch.randn(5, 8), torch.randn(5, 8))


def test_attention_to_other_widths() -> None:
    module = attention(kdim=5, vdim=7)
    check(module, torch.randn(4, 3, 8), torch.randn(6, 3, 5), torch.randn(6, 3, 7))


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_with_keys_of_its_own(batch_first: bool) -> None:
    module = attention(add_bias_kv=True, add_zero_attn=True, batch_first=batch_first)
    x, y = (torch.randn(4, 4, 8) for _ in range(2))
    padding = torch.tensor([[0, 0, 0, 1]] * 4, dtype=torch.bool)
    check(module, x, y, y)
    check(module, x, x, x, key_padding_mask=padding, attn_mask=torch.randn(4, 4).relu() > 0)
    check(module, x, x, x, attn_mask=torch.randn(8, 4, 4), average_attn_weights=False)
    check(module, torch.randn(4, 8), torch.randn(5, 8), torch.randn(5, 8))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("last", [False, True])
def test_bags(mode: str, padding: int | None, last: bool) -> None:
    bag = nn.EmbeddingBag(9, 4, mode=mode, padding_idx=padding, include_last_offset=last)
    check(bag, torch.tensor([[1, 3, 2], [3, 3, 3], [8, 8, 0]]))
    offsets = torch.tensor([0, 2, 2, 5] + [7] * last)  # an empty bag among them
    flat = torch.tensor([1, 3, 4, 8, 3, 2, 2])
    check(bag, flat, offsets)
    if mode == "sum":
        check(bag, flat, offsets, per_sample_weights=torch.randn(7))


def test_cells() -> None:
    for cls in (nn.LSTMCell, nn.GRUCell, nn.RNNCell):
        for bias in (True, False):
            cell, state = cls(5, 6, bias=bias), torch.randn(3, 6)
            check(cell, torch.randn(3, 5))
            check(cell, torch.randn(3, 5), (state, state) if cls is nn.LSTMCell else state)
            check(cell, torch.randn(5))


def test_of_two_classes_the_closer_one_counts() -> None:
    assert adapter_of(nn.Bilinear(1, 1, 1)) is not adapter_of(nn.Linear(1, 1))
    assert type(adapter_of(nn.SyncBatchNorm(3))) is type(adapter_of(nn.InstanceNorm1d(3)))


def test_a_forward_of_ones_own_is_left_alone() -> None:
    class Scaled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    module = Scaled(3, 4)
    adapter = adapter_of(module)
    assert adapter is not None
    assert adapter.roles(module) == {"weight": "linear"}
    assert not adapter.can_run(module)
    bound = nn.Linear(3, 4)
    bound.forward = lambda input: input  # type: ignore[method-assign]
    assert not adapter.can_run(bound)


def test_every_adapter_is_found_by_its_layer() -> None:
    assert set(LAYERS) >= {"embedding", "linear", "lstm", "gru", "rnn", "multihead_attention"}
    assert adapter_of(nn.PReLU()) is None


class Counting(Plain):
    uses = 0

    def expand(self, z: Any, bias: Any = None, rows: slice = slice(None)) -> Any:
        self.uses += 1
        return super().expand(z, bias, rows)


def watched(module: nn.Module, *arguments: Any) -> tuple[Any, dict[str, Counting], set[str]]:
    tensors = module.state_dict(keep_vars=True)
    products = {name: Counting(t) for name, t in tensors.items() if t.dim() == 2}
    with Watching(module, products) as watching:
        output = module(*arguments)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    return output, products, watching.unwatched


def test_each_use_of_a_weight_is_seen_once() -> None:
    class Scaled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    model = nn.Sequential(Scaled(8, 8), nn.TransformerEncoderLayer(8, 2, 4, batch_first=True))
    x = torch.randn(2, 3, 8)
    output, products, unwatched = watched(model.eval(), x)
    torch.testing.assert_close(output, model(x), rtol=1e-4, atol=1e-5)
    assert {product.uses for product in products.values()} == {1}
    assert not unwatched


def test_a_layer_whose_output_is_another_is_not_watched() -> None:
    class Wrong(Counting):
        def expand(self, z: Any, bias: Any = None, rows: slice = slice(None)) -> Any:
            return super().expand(z, bias, rows) + 0.1

    module, x = recurrent(nn.LSTM), torch.randn(4, 2, 5)
    products = {"weight_ih_l0": Wrong(module.get_parameter("weight_ih_l0"))}
    expected = module(x)[0]
    with Watching(module, products) as watching:
        assert torch.equal(module(x)[0], expected)
    assert watching.unwatched == {"weight_ih_l0"}


def test_what_a_users_hook_returns_stays() -> None:
    module, x = recurrent(nn.GRU), torch.randn(4, 2, 5)
    module.register_forward_hook(lambda module, arguments, output: (output[0] * 0, output[1]))
    tensors = module.state_dict(keep_vars=True)
    with Watching(module, {"weight_hh_l0": Plain(tensors["weight_hh_l0"])}):
        assert not module(x)[0].any()
