"""Min-max quantization as plainly as it can be done: packed numbers in a file, without a coder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autocompress.lm import LanguageModel

_PARTS = ("offset", "spacing")


def write_plain(model: LanguageModel, path: Path, bits: int, *, per_row: bool) -> None:
    """Write matrices as integers of 4 or 8 bits, vectors in single precision.

    The levels of a row, or of a tensor, span its range; offset and spacing are half precision.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, weight in model.named_parameters():
        values = weight.detach().numpy()
        if values.ndim < 2:
            arrays[name] = values
            continue
        axis = 1 if per_row else None
        offset = values.min(axis=axis, keepdims=True).astype(np.float16)
        reach = values.max(axis=axis, keepdims=True) - offset.astype(np.float32)
        spacing = (reach / (2**bits - 1)).astype(np.float16)
        levels = np.rint((values - offset.astype(np.float32)) / spacing.astype(np.float32))
        codes = np.clip(levels, 0, 2**bits - 1).astype(np.uint8)
        arrays[f"{name}/codes"] = codes if bits == 8 else codes[:, ::2] | codes[:, 1::2] << 4
        arrays[f"{name}/offset"], arrays[f"{name}/spacing"] = offset, spacing
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_plain(model: LanguageModel, path: Path) -> LanguageModel:
    """Return a copy of a model that holds the weights of a file."""
    filled = copy.deepcopy(model)
    with np.load(path) as arrays, torch.no_grad():
        for name, weight in filled.named_parameters():
            weight.copy_(torch.from_numpy(_decoded(arrays, name, tuple(weight.shape))))
    return filled


def _decoded(arrays: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if name in arrays:
        vector: NDArray[np.float32] = arrays[name]
        return vector
    codes = arrays[f"{name}/codes"]
    if codes.shape != shape:  # two to a byte
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(shape)
    offset, spacing = (arrays[f"{name}/{part}"].astype(np.float32) for part in _PARTS)
    decoded: NDArray[np.float32] = offset + spacing * codes.astype(np.float32)
    return decoded
