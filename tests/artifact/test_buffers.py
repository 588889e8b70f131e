"""Buffers come back exactly, and those with much in common take few bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autocompress.artifact import buffers
from autocompress.artifact.buffers import pack_buffers, unpack_buffers
from autocompress.errors import ArtifactError

MASK = np.triu(np.full((64, 64), -np.inf, np.float32), 1)
KEPT: dict[str, NDArray[Any]] = {
    "mask": MASK,
    "turned": MASK.T,
    "noise": np.random.default_rng(0).standard_normal((32, 8)),
    "scalar": np.array(3, np.int64),
    "none": np.zeros((0, 4), np.float16),
    "nan": np.full((50,), np.nan, np.complex64),
    "with:colons: and\nlines": np.zeros((2, 300), np.bool_),
}


def test_buffers_come_back_exactly() -> None:
    found = unpack_buffers(pack_buffers(KEPT))
    assert found.keys() == KEPT.keys()
    for name, array in KEPT.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].flags.writeable


def test_what_has_much_in_common_takes_few_bytes_and_small_ones_stay() -> None:
    stored = pack_buffers(KEPT)
    assert stored[":packed:F32:64x64:mask"].nbytes < MASK.nbytes / 20
    assert {":buffer:noise", ":buffer:scalar", ":buffer:none"} < stored.keys()


@pytest.mark.parametrize(
    "name",
    [":packed:F32:64x63:mask", ":packed:F32:64x65:mask", ":packed:F64:64x64:mask",
     ":packed:X32:64x64:mask", ":packed:F32:64xx64:mask", ":packed:F32:-64x64:mask",
     ":packed:F32:9999999999x9999999999:mask", ":packed:F32:64x64:", ":packed:"],
)  # fmt: skip
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    data = pack_buffers({"mask": MASK})[":packed:F32:64x64:mask"]
    with pytest.raises(ArtifactError, match="damaged"):
        unpack_buffers({name: data})


@pytest.mark.parametrize("change", [slice(0, -1), slice(0, 0), slice(1, None)])
def test_damaged_bytes_are_refused(change: slice) -> None:
    data = pack_buffers({"mask": MASK})[":packed:F32:64x64:mask"]
    with pytest.raises(ArtifactError, match="buffer 'mask' is damaged"):
        unpack_buffers({":packed:F32:64x64:mask": data[change]})


def test_all_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = pack_buffers({"a": MASK, "b": MASK})
    monkeypatch.setattr(buffers, "MAX_ASSET_BYTES", 2 * MASK.nbytes - 1)
    with pytest.raises(ArtifactError, match="buffer 'b' is damaged"):
        unpack_buffers(stored)
