"""The conformance kit finds what is wrong with a structure, a precision or a coder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autocompress.coders import CODERS, Coder, Codes, PackedCoder
from autocompress.precisions import PRECISIONS, EntropyStep, Float32, Precision, Stream
from autocompress.structures import STRUCTURES, Dense, Factor, LowRank, Matrix, Shape, Structure
from autocompress.testing import check_coder, check_precision, check_structure

Factors = dict[str, Factor]


class Wider(Dense):
    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        return {"weight": (shape[0], shape[1] + 1)}


class Scaling(Dense):
    def factorize(self, weight: Matrix, *known: Any) -> Factors:
        weight *= 2
        return super().factorize(weight, *known)


class Shuffling(Dense):
    def factorize(self, weight: Matrix, *known: Any) -> Factors:
        np.random.shuffle([1, 2, 3])  # noqa: NPY002
        return super().factorize(weight, *known)


class Dithering(Dense):
    def factorize(self, weight: Matrix, *known: Any) -> Factors:
        noise = np.random.default_rng().random(weight.shape, np.float32)
        return {"weight": Factor(weight + noise, row_frequencies=known[0])}


class Double(Dense):
    def factorize(self, weight: Matrix, *known: Any) -> Factors:
        factor = Factor(weight.astype(np.float64), row_frequencies=known[0])
        return {"weight": factor}


class Offset(Dense):
    def reconstruct(self, factors: Mapping[str, Matrix]) -> Matrix:
        return factors["weight"] + 1


class Cutting(Dense):
    def reconstruct(self, factors: Mapping[str, Any]) -> Any:
        weight = factors["weight"]
        return weight if isinstance(weight, np.ndarray) else weight.detach()


class Straight(Dense):
    """Hands gradients on as if half of it were a constant."""

    def reconstruct(self, factors: Mapping[str, Any]) -> Any:
        weight = factors["weight"]
        if isinstance(weight, np.ndarray):
            return weight * np.abs(weight)
        return weight * weight.detach().abs()


class Transposed(Dense):
    def times(self, factors: Mapping[str, Any], x: Any) -> Any:
        return -super().times(factors, x)


class Forgetful(LowRank):
    def factorize(self, weight: Matrix, *known: Any) -> Factors:
        return super().factorize(weight, None)


class Raising(Dense):
    def misfit(self, shape: Shape) -> str | None:
        if shape == (1, 1):
            raise ValueError("no scalars")
        return None


class Trusting(Dense):
    def integer_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"count": (1, 1)}

    def factor_shapes(self, shape: Shape, integers: Mapping[str, Matrix]) -> dict[str, Shape]:
        return {"weight": (shape[0] // int(integers["count"][0, 0] + 1), shape[1])}

    def factorize(self, weight: Matrix, *known: Any) -> Factors:
        count = Factor(np.zeros((1, 1), np.float32), integers=True)
        return {"count": count, **super().factorize(weight, *known)}


class Loose(Dense):
    kind: str = "dense"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Loose(), r"`kind` must be annotated as Literal\['dense'\]"),
        (Wider(), "must have the announced shapes"),
        (Scaling(), "must not modify `weight`"),
        (Shuffling(), "leave the global random state alone"),
        (Dithering(), "same bytes each time"),
        (Double(), "must be float32"),
        (Offset(), "must stay zero"),
        (Cutting(), "must be differentiable"),
        (Straight(), "gradients of .* must be those of `reconstruct`; but got slope="),
        (Transposed(), r"times of .* must be the weight's; but got off_by="),
        (Forgetful(rank=2), "must have their frequencies"),
        (Raising(), r"`misfit\(\(1, 1\)\)` must not raise; but got ValueError: no scalars"),
        (Trusting(), "must raise ValueError where .*ZeroDivisionError"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Structure) else "",
)
def test_what_is_wrong_with_a_structure_is_said(
    broken: Structure, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRUCTURES._items, broken.kind, type(broken))
    with pytest.raises(AssertionError, match=rule):
        check_structure(broken)


def test_what_is_not_registered_is_said() -> None:
    with pytest.raises(AssertionError, match=r"Offset must be registered by its kind"):
        check_structure(Offset())


def test_a_structure_that_nothing_fits_is_said() -> None:
    with pytest.raises(AssertionError, match=r"some of the shapes must fit.*1 <= rank"):
        check_structure(LowRank(rank=1000))


class Relative(Float32):
    is_exact = False

    def encode(self, factor: Factor) -> dict[str, Stream]:
        with np.errstate(all="ignore"):
            largest = np.abs(factor.values).max(keepdims=True)
            return {"values": factor.values / largest, "largest": largest}

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        values: Matrix = streams["values"] * streams["largest"]
        return values

    def streams_of(self, *_: Any) -> None:  # type: ignore[override]
        return None


class Wasteful(Float32):
    def encode(self, factor: Factor) -> dict[str, Stream]:
        return {"values": factor.values.astype(np.float64)}


class Boasting(Float32):
    def widened(self, octaves: float) -> "Boasting":
        return self

    has_steps = True


class Careless(EntropyStep):
    has_zero_level = False

    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        return super().decode(streams, shape, None) + np.float32(1e-9)


class Believing(Float32):
    def decode(
        self, streams: Mapping[str, Stream], shape: Shape, mask: NDArray[np.bool_] | None
    ) -> Matrix:
        assert streams["values"].dtype == np.float32
        return super().decode(streams, shape, mask)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Relative(), "is zero.* must decode to finite numbers"),
        (Wasteful(), r"stream 'values' .* must be of two dimensions, floats or signed integers"),
        (Boasting(), "`has_steps` must say whether"),
        (Careless(step=0.1), "must be zero outside of its mask"),
        (Believing(), r"must raise ValueError where .*AssertionError"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Precision) else "",
)
def test_what_is_wrong_with_a_precision_is_said(
    broken: Precision, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRECISIONS._items, broken.kind, type(broken))
    with pytest.raises(AssertionError, match=rule):
        check_precision(broken)


class Unsigned(PackedCoder):
    def encode(self, codes: Codes) -> bytes:
        return super().encode(np.abs(codes))


class Naive(Coder):
    name, since = "packed", "0.1.0"

    def encode(self, codes: Codes) -> bytes:
        return codes.tobytes()

    def decode(self, data: bytes, shape: tuple[int, int]) -> Codes:
        return np.frombuffer(data, np.int64).reshape(shape).copy()


class Never(PackedCoder):
    def encode(self, codes: Codes) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Unsigned(), r"'packed' of integers that are all -1, .* must be lossless"),
        (Naive(), "must raise nothing but ArtifactError; but got ValueError"),
        (Never(), "must apply to some integers"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Coder) else "",
)
def test_what_is_wrong_with_a_coder_is_said(
    broken: Coder, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODERS._items, "packed", type(broken))
    with pytest.raises(AssertionError, match=rule):
        check_coder(broken)
