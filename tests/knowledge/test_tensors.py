"""Tensors become arrays that hold the same numbers, or the model is refused in one line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from autocompress.errors import ModelError
from autocompress.knowledge.tensors import as_array, rounding
from autocompress.knowledge.weights import ModelWeights

EXACT = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.bool]
EXACT += [torch.int8, torch.int64, torch.uint8, torch.complex128]


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3)])
def test_arrays_hold_the_same_numbers(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.rand(shape).to(torch.float16).to(dtype)
    again = torch.from_numpy(as_array("x", tensor)).to(dtype)
    assert again.shape == tensor.shape
    assert torch.equal(again, tensor)


def test_complex_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="'x' of the model's state holds complex numbers"):
        as_array("x", torch.tensor(0.1 + 1j, dtype=torch.complex128))


def test_conjugates_are_what_they_stand_for() -> None:
    assert as_array("x", torch.tensor([1 + 2j]).conj())[0] == np.complex64(1 - 2j)


def test_doubles_beyond_single_precision_are_refused_as_such() -> None:
    model = nn.Linear(2, 2).double()
    with torch.no_grad():
        model.weight[0, 0] = 1e300
    with pytest.raises(ModelError, match=r"ends at 3\.4e38, but 'weight' holds 1 numbers beyond"):
        ModelWeights.of(model)


def test_rounding_of_doubles_is_told() -> None:
    assert rounding(nn.Linear(2, 2)) is None
    told = rounding(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()))
    assert told is not None
    assert told.startswith("2 weights in double precision, such as 1.weight, are rounded")


def named(name: str) -> nn.Module:
    return nn.ParameterDict({name: torch.ones(2, 2)})


class Odd(nn.Linear):
    """Has a state that is no tensor."""

    def _save_to_state_dict(self, destination: dict[str, object], *rest: object) -> None:
        super()._save_to_state_dict(destination, *rest)
        destination["odd"] = (1, 2)


def quantized() -> nn.Module:
    with pytest.warns(DeprecationWarning, match="quantization"):
        return torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call, no-any-return]
            nn.Sequential(nn.Linear(3, 3))
        )


def sparse() -> nn.Module:
    model = nn.Linear(3, 3)
    model.weight = nn.Parameter(torch.eye(3).to_sparse())
    return model


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "meta": (lambda: nn.Linear(3, 3, device="meta"), "'weight'.* on the meta device"),
    "lazy": (lambda: nn.LazyLinear(3), "has no shape yet; run the model once"),
    "scripted": (lambda: torch.jit.script(nn.Linear(3, 3)), "scripted or traced"),
    "quantized": (quantized, "module '0' is quantized by PyTorch already"),
    "sparse": (sparse, "'weight' of the model's state is stored as torch.sparse_coo"),
    "metadata": (lambda: named("__metadata__"), "files keep for themselves"),
    "colon": (lambda: named(":header"), "files keep for themselves"),
    "no tensor": (lambda: Odd(3, 3), "'odd' of the model's state is no tensor but a tuple"),
    "a class": (lambda: nn.Linear, "must be an `nn.Module`, but got type"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(ModelError, match=message) as caught:
        ModelWeights.of(make())  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_state_that_a_users_hook_spoils_is_refused_in_one_line() -> None:
    model = nn.Linear(2, 2)
    model.register_state_dict_post_hook(lambda *_: [])  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"own `state_dict` fails .*; mend it first"):
        ModelWeights.of(model)
