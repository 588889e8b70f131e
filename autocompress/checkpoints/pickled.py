"""What `torch.save` wrote, read without running any code that it holds."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from autocompress.errors import ModelError

_NAMES_CODE = re.compile(r"GLOBAL ([\w.]+)|class ([\w.]+) was not")
_NEEDS_CODE = re.compile(r"Unsupported (?:global|class|operand)|unsupported GLOBAL|not an allowed")


def read_pickled(file: Path) -> Any:
    """Read a file of `torch.save` on the CPU, under `weights_only=True`.

    Raises:
        ModelError: If it holds more than tensors and plain values, so that reading it would run
            code, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats of old, which end here in an error
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # A file of a stranger may fail in any way while it is read.
        raise _refusal(file, error) from None


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
