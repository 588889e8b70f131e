"""Weights are found with their roles, ties and sites."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from strategies import Tiny, tiny_model
from torch import nn

from autocompress.errors import ModelError
from autocompress.knowledge.weights import ModelWeights, Site, find_sites

TOKENS = torch.arange(12).reshape(3, 4)


class Net(nn.Module):
    """An embedding, recurrent layers, and whatever follows them."""

    def __init__(
        self,
        cell: Callable[..., nn.RNNBase] = nn.LSTM,
        layers: int = 2,
        head: Callable[[torch.Tensor], torch.Tensor] = lambda hidden: hidden,
        **options: object,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.rnn = cell(8, 8, num_layers=layers, **options)
        width = self.rnn.proj_size or 8 * (1 + self.rnn.bidirectional)
        self.head = head
        self.dropout = nn.Dropout(0.5)
        self.decoder = nn.Linear(width, 12)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.rnn(self.embedding(tokens))[0]
        logits: torch.Tensor = self.decoder(self.dropout(self.head(hidden)))
        return logits


def sites_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    torch.manual_seed(0)
    sites = find_sites(model.eval(), lambda: model(TOKENS))
    return {site.name: site.members for site in sites}


def expected_sites(layers: int) -> dict[str, tuple[str, ...]]:
    chain = {
        f"h:rnn.l{layer}": (f"rnn.weight_hh_l{layer}", f"rnn.weight_ih_l{layer + 1}")
        for layer in range(layers - 1)
    }
    return {**chain, f"h:rnn.l{layers - 1}": (f"rnn.weight_hh_l{layers - 1}", "decoder.weight")}


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_sites_follow_the_hidden_vectors(cell: type[nn.RNNBase], layers: int) -> None:
    assert sites_of(Net(cell, layers)) == expected_sites(layers)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(lambda hidden: hidden[-1], id="last step"),
        pytest.param(lambda hidden: hidden.reshape(-1, 8), id="flattened"),
        pytest.param(lambda hidden: hidden.transpose(0, 1), id="turned"),
        pytest.param(lambda hidden: hidden.clone(), id="copied"),
    ],
)
def test_a_reader_is_recognised(head: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert sites_of(Net(layers=2, head=head)) == expected_sites(2)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(lambda hidden: hidden.tanh(), id="activation"),
        pytest.param(lambda hidden: hidden.mean(0), id="mean"),
        pytest.param(lambda hidden: 2 * hidden, id="scaled"),
    ],
)
def test_a_changed_vector_is_another_vector(head: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert list(sites_of(Net(layers=2, head=head))) == ["h:rnn.l0"]


def test_a_bidirectional_layer_has_no_sites() -> None:
    assert sites_of(Net(bidirectional=True)) == {}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_projected_layer_has_no_sites() -> None:
    assert sites_of(Net(proj_size=4)) == {}


def test_sites_name_tied_weights_by_their_first_name() -> None:
    sites = sites_of(tiny_model())
    assert sites["h:lstm.l1"] == ("embedding.weight", "lstm.weight_hh_l1", "head.weight")


def test_two_readers_of_one_weight_are_one_member() -> None:
    class Twice(Net):
        def __init__(self) -> None:
            super().__init__(layers=1)
            self.again = nn.Linear(8, 12)
            self.again.weight = self.decoder.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            hidden = self.rnn(self.embedding(tokens))[0]
            logits: torch.Tensor = self.decoder(hidden) + self.again(hidden)
            return logits

    assert sites_of(Twice()) == expected_sites(1)


def test_an_argument_by_keyword_is_seen() -> None:
    class Named(Net):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.decoder(input=self.rnn(self.embedding(tokens))[0])
            return logits

    assert sites_of(Named()) == expected_sites(2)


def test_a_bare_recurrent_module_has_sites_of_its_own_names() -> None:
    module = nn.GRU(8, 8, num_layers=2)
    sites = find_sites(module, lambda: module(torch.zeros(1, 1, 8)))
    assert sites == (Site("h:l0", ("weight_hh_l0", "weight_ih_l1")),)


def test_watching_leaves_no_hooks_behind() -> None:
    model = Net()
    with pytest.raises(RuntimeError, match="mine"):
        find_sites(model, lambda: (_ for _ in ()).throw(RuntimeError("mine")))
    assert not any(module._forward_hooks for module in model.modules())


def test_roles_tell_what_a_weight_does() -> None:
    weights = ModelWeights.of(tiny_model()).weights
    roles = {name: weight.role for name, weight in weights.items()}
    assert roles == {
        "temperature": "other",
        "embedding.weight": "embedding",
        **{f"lstm.weight_ih_l{layer}": "input" for layer in range(2)},
        **{f"lstm.weight_hh_l{layer}": "recurrent" for layer in range(2)},
        **{f"lstm.bias_{part}_l{layer}": "bias" for part in ("ih", "hh") for layer in range(2)},
        "convolution.weight": "convolution",
        "convolution.bias": "bias",
        "norm.weight": "norm",
        "norm.bias": "norm",
        "head.weight": "linear",
        "head.bias": "bias",
        "decoder.bias": "bias",
    }


def test_tied_weights_are_one_weight_with_an_alias() -> None:
    weights = ModelWeights.of(tiny_model()).weights
    assert weights["embedding.weight"].aliases == ("decoder.weight",)


def test_names_and_aliases_are_all_names_of_the_state() -> None:
    found = ModelWeights.of(tiny_model())
    aliases = [alias for weight in found.weights.values() for alias in weight.aliases]
    assert {*found.weights, *aliases, *found.buffers} == set(tiny_model().state_dict())


def test_weights_come_in_the_order_of_the_state() -> None:
    weights = list(ModelWeights.of(tiny_model()).weights)
    assert weights == [name for name in tiny_model().state_dict() if name in weights]


def test_buffers_are_of_their_own_dtype_and_shape() -> None:
    buffers = ModelWeights.of(tiny_model()).buffers
    assert {name: (str(array.dtype), array.shape) for name, array in buffers.items()} == {
        "positions": ("int32", (5,)),
        "allowed": ("bool", (2, 2)),
        "norm.running_mean": ("float32", (6,)),
        "norm.running_var": ("float32", (6,)),
        "norm.num_batches_tracked": ("int64", ()),
    }


def test_a_shared_buffer_is_found_under_all_its_names() -> None:
    part = nn.BatchNorm1d(4)
    model = nn.Sequential(part, nn.Linear(4, 4), part)
    statistics = ("num_batches_tracked", "running_mean", "running_var")
    names = {f"{number}.{key}" for number in (0, 2) for key in statistics}
    assert set(ModelWeights.of(model).buffers) == names


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("temperature", (1, 1)),
        ("head.bias", (1, 4)),
        ("head.weight", (4, 6)),
        ("convolution.weight", (6, 18)),
    ],
)
def test_every_weight_is_seen_as_a_matrix(name: str, shape: tuple[int, int]) -> None:
    assert ModelWeights.of(tiny_model()).weights[name].matrix.shape == shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_become_single_precision(dtype: torch.dtype) -> None:
    model = nn.Linear(5, 3).to(dtype)
    values = ModelWeights.of(model).weights["weight"].values
    assert values.dtype == np.float32
    assert torch.equal(torch.from_numpy(values), model.weight.detach().float())


def with_value(name: str, value: float) -> Tiny:
    model = tiny_model()
    with torch.no_grad():
        model.state_dict(keep_vars=True)[name].view(-1)[0] = value
    return model


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["head.bias", "lstm.weight_hh_l1", "norm.weight"])
def test_a_weight_that_is_not_finite_is_named(name: str, value: float) -> None:
    with pytest.raises(ModelError, match=rf"'{name}' holds 1 NaN or infinite value of"):
        ModelWeights.of(with_value(name, value))


def test_a_parameter_without_elements_is_no_weight() -> None:
    parameters = {"none": torch.zeros(0, 3), "some": torch.ones(2)}
    found = ModelWeights.of(nn.ParameterDict(parameters))
    assert list(found.weights) == ["some"]
    assert found.buffers["none"].shape == (0, 3)


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(ModelError, match="at least one floating-point weight"):
        ModelWeights.of(nn.Dropout())


def test_the_hash_is_that_of_equal_models() -> None:
    assert ModelWeights.of(tiny_model()).sha256 == ModelWeights.of(tiny_model()).sha256


def half(model: Tiny) -> None:
    model.half()


def untie(model: Tiny) -> None:
    model.decoder.weight = nn.Parameter(model.embedding.weight.detach().clone())


def nudge(model: Tiny) -> None:
    with torch.no_grad():
        model.head.bias[0] += 1e-6


def count(model: Tiny) -> None:
    model.positions[0] = 7


@pytest.mark.parametrize("change", [half, untie, nudge, count])
def test_the_hash_sees_every_change(change: Callable[[Tiny], None]) -> None:
    model = tiny_model()
    change(model)
    assert ModelWeights.of(model).sha256 != ModelWeights.of(tiny_model()).sha256
