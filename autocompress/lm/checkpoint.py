"""The state of an unfinished training run, in one file without pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from autocompress.errors import ModelError
from autocompress.lm.model import LanguageModel
from autocompress.support.files import numbers, parsed_json, write_whole

_FILE = "checkpoint.safetensors"
_MODEL, _OPTIMIZER, _RANDOM = "model.", "optimizer.", "random"


@dataclass
class History:
    """What is known of a run so far.

    Attributes:
        train: Perplexity over each finished pass.
        valid: Validation perplexity after each finished pass.
        seconds: Wall time of the finished passes.
    """

    train: list[float]
    valid: list[float]
    seconds: float


def save_checkpoint(
    folder: Path,
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    history: History,
) -> None:
    """Replace the checkpoint of a folder; torch's global generator belongs to it.

    Args:
        folder: Made where it does not exist.
        model: The weights as they are now, which need not be the best ones.
        optimizer: Its state is stored, its settings are not: they follow from `settings`.
        settings: JSON object that identifies the run.
        history: What the run found so far.
    """
    tensors = {_MODEL + name: weight.detach() for name, weight in model.named_parameters()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{index}.{name}": value for name, value in values.items()}
    tensors[_RANDOM] = torch.get_rng_state()
    metadata = {"settings": json.dumps(settings), "history": json.dumps(vars(history))}
    write_whole(folder / _FILE, save_tensors(tensors, metadata))


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Read the settings of a checkpoint; None where there is no checkpoint.

    Raises:
        ModelError: The checkpoint is damaged.
    """
    if not (folder / _FILE).exists():
        return None
    with _told_of(folder):
        settings = parsed_json(_open(folder)[1]["settings"])
        if not isinstance(settings, dict):
            raise TypeError("its settings are no object")
    return settings


def load_checkpoint(
    folder: Path, model: LanguageModel, optimizer: torch.optim.Optimizer
) -> History:
    """Set model, optimizer and torch's global generator to where a checkpoint left them.

    Raises:
        ModelError: The checkpoint is damaged.
    """
    with _told_of(folder):
        tensors, metadata = _open(folder)
        history = _history(parsed_json(metadata["history"]))
        weights = dict(model.named_parameters())
        state: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for key, tensor in tensors.items():
                if key.startswith(_MODEL):
                    weights[key.removeprefix(_MODEL)].copy_(tensor)
                elif key.startswith(_OPTIMIZER):
                    index, name = key.removeprefix(_OPTIMIZER).split(".")
                    state.setdefault(int(index), {})[name] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        torch.set_rng_state(tensors[_RANDOM])
    return history


def delete_checkpoint(folder: Path) -> None:
    """Remove the checkpoint, and the folder where nothing else is in it."""
    (folder / _FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _history(document: Any) -> History:
    history = History(**document)
    if not all(isinstance(values, list) for values in (history.train, history.valid)):
        raise TypeError("its history is no list")
    numbers({"seconds": history.seconds})
    for values in (history.train, history.valid):
        numbers(dict(enumerate(values)))
    return history


@contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    """Make one error of whatever is wrong with a checkpoint."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        # Torch has no error of its own for what does not fit its optimizers and generators.
        raise _damaged(folder / _FILE, error) from None


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"the checkpoint {path} is damaged ({error}); delete it to train from the start"
    )


def _open(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = folder / _FILE
    try:
        with safe_open(path, "pt") as file:
            # A copy, for the file may be replaced while its tensors are in use.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
            return tensors, {key: metadata[key] for key in ("settings", "history")}
    except (OSError, SafetensorError, KeyError) as error:
        raise _damaged(path, error) from None
