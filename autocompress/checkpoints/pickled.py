"""What `torch.save` wrote, read without running any code that it holds."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autocompress.errors import ModelError

_NAMES_CODE = re.compile(r"GLOBAL ([\w.]+)|class ([\w.]+) was not")
_NEEDS_CODE = re.compile(r"Unsupported (?:global|class|operand)|unsupported GLOBAL|not an allowed")

_MOST_TIMES, _MOST_TIED, _SMALL = 8, 64, 2**26
"""A weight that many layers share is in a checkpoint once for each, and once in its file."""


def read_pickled(file: Path) -> Any:
    """Read a file of `torch.save` on the CPU, under `weights_only=True`.

    Raises:
        ModelError: If it holds more than tensors and plain values, so that reading it would run
            code, or is damaged.
    """
    _check_records(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats of old, which end here in an error
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # A file of a stranger may fail in any way while it is read.
        raise _refusal(file, error) from None


def check_sizes(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that copies of would take far more memory than the file that they are from.

    Numbers that lie once in a file may be said to fill a tensor of any size, by steps of zero;
    and sizes beside a zero may be beyond all numbers.

    Raises:
        ModelError: If there are such tensors.
    """
    size, held = file.stat().st_size, {_MOST_TIMES: 0, _MOST_TIED: 0}
    for tensor in tensors.values():
        if tensor.layout == torch.strided and not tensor.is_meta:
            n_bytes = math.prod(max(one, 1) for one in tensor.shape) * tensor.element_size()
            is_whole = n_bytes <= tensor.untyped_storage().nbytes()
            held[_MOST_TIED if is_whole else _MOST_TIMES] += n_bytes
    for times, n_bytes in held.items():
        most = times * size + _SMALL
        if n_bytes > most:
            raise ModelError(
                f"'{file}' of {size:,} bytes claims to hold tensors of {n_bytes:,}; at most "
                f"{most:,} are read; save tensors as they are, without `expand`"
            )


def _check_records(file: Path) -> None:
    """Refuse an archive with records that become far larger than the file; torch packs none.

    Raises:
        ModelError: If it is one.
    """
    try:
        if not zipfile.is_zipfile(file):
            return  # of before archives were used, or cut off, which torch says in its own words
        with zipfile.ZipFile(file) as archive:
            size = sum(record.file_size for record in archive.infolist())
    except Exception as error:  # of names and numbers of all kinds
        raise _refusal(file, error) from None
    most = _MOST_TIMES * file.stat().st_size + _SMALL
    if size > most:
        raise ModelError(
            f"'{file}' is damaged or not of `torch.save` (its records become {size:,} bytes, of "
            f"{most:,} that are read); copy it again from its source"
        )


def _refusal(file: Path, error: Exception) -> ModelError:
    text = str(error)
    if "TorchScript" in text:
        return ModelError(
            f"'{file}' is a TorchScript archive, which holds code; convert it, if you trust it: "
            f"`torch.save(torch.jit.load({str(file)!r}).state_dict(), 'weights.pt')`"
        )
    if _NEEDS_CODE.search(text):
        found = _NAMES_CODE.search(text)
        needs = f" ({found[1] or found[2]})" if found else ""
        return ModelError(
            f"'{file}' holds Python objects{needs}, not only tensors, and reading it would run "
            "their code; where you trust it, convert it: "
            f"`model = torch.load({str(file)!r}, weights_only=False)`, then "
            "`torch.save(model.state_dict(), 'weights.pt')`, or "
            "`torch.save(model['state_dict'], 'weights.pt')` if it is a dictionary"
        )
    reason = " ".join(text.split()).split(". ")[0]
    return ModelError(
        f"'{file}' is damaged or not of `torch.save` ({type(error).__name__}"
        f"{': ' * bool(reason)}{reason}); copy it again from its source"
    )
