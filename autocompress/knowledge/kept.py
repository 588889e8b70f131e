"""What was measured of a model, kept for all that is done with it later.

It lies in `$XDG_CACHE_HOME/autocompress`, by default `~/.cache/autocompress`, under a hash of
model and data: up to 1 GB, of which the least recently used goes first. Everything there is found
anew where it is missing, so that the folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import nn

from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.identity import batches_sha256
from autocompress.knowledge.task import Task
from autocompress.knowledge.weights import ModelWeights
from autocompress.layers.copies import beside, untouched
from autocompress.structures import Curvature
from autocompress.support import progress
from autocompress.support.files import numbers, parsed_json, put_aside, write_json, write_whole
from autocompress.support.process import randomness_kept
from autocompress.support.threads import one_thread

_VERSION = "1"  # of what is measured: files of another one are measured anew
_LOSSES = 2
_MOST_BYTES = 2**30
_OF_FILES = (OSError, ValueError, LookupError, TypeError, safetensors.SafetensorError)

_Found = TypeVar("_Found")


def cache_folder() -> Path:
    """Return where measurements are kept for all searches; it need not be there yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "autocompress"


@dataclass(frozen=True)
class Kept:
    """Where the curvatures and sensitivities of one model on some data are kept.

    Attributes:
        curvatures: Files of the curvatures, in the order in which they are looked at; the last
            one is written.
        sensitivities: The same of the sensitivities.
        cache: The folder of what is kept for all searches, or None if the data cannot be told
            from others: then only the folder of a search keeps anything.
    """

    curvatures: tuple[Path, ...]
    sensitivities: tuple[Path, ...]
    cache: Path | None

    @classmethod
    def of(cls, model: nn.Module, task: Task, folder: Path | None = None) -> Kept:
        """Find the place of a model and its data.

        They are known by the tensors, the layers, the task's fingerprint and its first losses,
        and where it has no fingerprint of its own by its first calibration batches. Where these
        differ each time, nothing is kept but in the folder.

        Args:
            model: It is not changed.
            task: Knows the data.
            folder: Of a search; what lies there already comes first.

        Raises:
            ModelError: If the model cannot be compressed.
            TaskError: If the task raises an exception, or gives what it must not.
        """
        task = guarded(task)
        sha256 = ModelWeights.of(model).sha256
        curvatures, sensitivities = [], []
        if folder is not None:
            about = "\n".join((_VERSION, sha256, task.fingerprint()))
            curvatures.append(folder / f"calibration-{_hash(about)[:16]}.safetensors")
            sensitivities.append(folder / "sensitivities.json")
        data = _data(model, task)
        cache = None if data is None else cache_folder()
        if cache is not None:
            versions = f"{_VERSION} {torch.__version__}"
            name = _hash(json.dumps([versions, sha256, _layers(model), data]))[:32]
            curvatures.append(cache / f"{name}.safetensors")
            sensitivities.append(cache / f"{name}.json")
        return cls(tuple(curvatures), tuple(sensitivities), cache)

    def known_curvatures(self) -> dict[str, Curvature] | None:
        """Return the curvatures by weight name, or None where they are to be measured."""
        return self._known(self.curvatures, _read_curvatures)

    def keep_curvatures(self, curvatures: Mapping[str, Curvature]) -> None:
        """Keep curvatures."""
        tensors = {
            f"{name}:{key}": np.ascontiguousarray(array)
            for name, curvature in curvatures.items()
            for key, array in curvature.arrays.items()
        }
        content = safetensors.numpy.save(tensors)
        self._keep(self.curvatures, lambda path: write_whole(path, content))

    def known_sensitivities(self) -> dict[str, float] | None:
        """Return the sensitivities by weight name, or None where they are to be measured."""
        return self._known(
            self.sensitivities, lambda path: numbers(parsed_json(path.read_text(encoding="utf-8")))
        )

    def keep_sensitivities(self, sensitivities: Mapping[str, float]) -> None:
        """Keep sensitivities."""
        self._keep(self.sensitivities, lambda path: write_json(path, sensitivities))

    def _known(self, places: tuple[Path, ...], read: Callable[[Path], _Found]) -> _Found | None:
        for path in places:
            try:
                found = read(path)
            except FileNotFoundError:
                continue
            except _OF_FILES as error:
                if path.parent != self.cache:
                    put_aside(path, error)
                    continue
                with suppress(OSError):
                    progress.say(f"'{path}' is damaged: made anew")
                    _remove(path)
                continue
            with suppress(OSError):
                os.utime(path)  # what is used stays longest
            return found
        return None

    def _keep(self, places: tuple[Path, ...], write: Callable[[Path], object]) -> None:
        if not places:
            return
        try:
            write(places[-1])
        except OSError as error:
            if self.cache is None:
                raise
            progress.say(f"cannot write to '{self.cache}' ({error.strerror}): nothing is kept")
            return
        if self.cache is not None:
            _shrink(self.cache, places[-1])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _layers(model: nn.Module) -> str:
    """Name all modules with their types, and of those of PyTorch how they are set up."""
    lines = []
    for name, module in model.named_modules():
        kind = type(module)
        is_torch = kind.__module__.partition(".")[0] == "torch"
        settings = module.extra_repr() if is_torch else ""
        lines.append(f"{name}: {kind.__module__}.{kind.__qualname__}({settings})")
    return "\n".join(lines)


def _data(model: nn.Module, task: Task) -> list[object] | None:
    """Identify data and forward pass; None where they are not the same each time."""
    task = guarded(task)
    batches = None if task.identifies_data else batches_sha256(task)
    if batches is None and not task.identifies_data:
        return None
    with randomness_kept(), one_thread(), untouched(model) as watched:
        teacher = beside(watched)
        first, second = (
            [
                loss.item()
                for loss in islice(task.training_losses(watched, teacher, 0.0, 0), _LOSSES)
            ]
            for _ in range(2)
        )
    return [task.fingerprint(), batches, first] if first == second else None


def _read_curvatures(path: Path) -> dict[str, Curvature]:
    tensors = safetensors.numpy.load_file(path)
    kept: dict[str, dict[str, NDArray[Any]]] = {}
    for place in sorted(tensors):
        name, _, key = place.rpartition(":")
        kept.setdefault(name, {})[key] = tensors[place]
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError("it holds what is no finite number")
    return {name: Curvature.of_arrays(arrays) for name, arrays in kept.items()}


def _shrink(folder: Path, written: Path) -> None:
    """Remove what was not used for longest, until the rest is within its size.

    Args:
        folder: The cache.
        written: Stays. What is from after it is from before the clock was set back: it goes first.
    """
    with suppress(OSError):  # another process does the same
        files = [(path.stat(), path) for path in folder.iterdir() if path.is_file()]
        total, now = sum(stat.st_size for stat, _ in files), written.stat().st_mtime
        files.sort(key=lambda file: (file[0].st_mtime <= now, file[0].st_mtime))
        for stat, path in files:
            if total <= _MOST_BYTES:
                return
            if path != written:
                path.unlink(missing_ok=True)
                total -= stat.st_size


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
