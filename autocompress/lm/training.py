"""Training a language model, epoch by epoch, such that it can be broken off and continued."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from autocompress.errors import ModelError
from autocompress.lm.batches import columns, count_windows
from autocompress.lm.checkpoint import (
    History,
    delete_checkpoint,
    load_checkpoint,
    read_settings,
    save_checkpoint,
)
from autocompress.lm.corpus import Corpus
from autocompress.lm.epoch import chosen_threads, new_model, new_optimizer, train_epoch
from autocompress.lm.evaluate import perplexity
from autocompress.lm.folder import WEIGHTS, save_model
from autocompress.lm.presets import Hyperparameters, preset
from autocompress.lm.task import fingerprint
from autocompress.support import progress
from autocompress.support.device import chosen_device
from autocompress.support.files import parsed_json, write_whole
from autocompress.support.process import randomness_kept

_RECORD, _CHECKPOINT = "training.json", "checkpoint"


def train(
    corpus: Corpus,
    settings: str | Hyperparameters,
    out: str | Path,
    seed: int = 0,
    *,
    device: str | torch.device = "cpu",
) -> Path:
    """Train a model and keep the one that is best on the validation split.

    The same call again continues a run that was broken off, at the epoch that was in flight,
    and gives the model that an unbroken run would have given; after a finished run it returns
    at once.

    Args:
        corpus: Text to learn.
        settings: Name of a preset, or settings of your own.
        out: Folder for the model; `training.json` in it tells how it was trained.
        seed: Of the first weights and of dropout.
        device: Where it is trained: "auto", "cpu", "cuda", "cuda:1" or "mps". The first weights
            are the same everywhere, what is trained differs by rounding and dropout.

    Returns:
        `out`, which `load_model` reads.

    Raises:
        ModelError: `out` holds another model, or the training diverged.
        CorpusError: A split is too short for the batch.
        DeviceError: There is no such device.
    """
    out, place = Path(out), chosen_device(device)
    hyper = preset(settings) if isinstance(settings, str) else settings
    identity = {
        "preset": settings if isinstance(settings, str) else None,
        "seed": seed,
        "corpus": fingerprint(corpus),
        **asdict(hyper),
    }
    if _is_finished(out, identity):
        delete_checkpoint(out / _CHECKPOINT)
        return out
    with randomness_kept():
        torch.manual_seed(seed)
        history = _run(corpus, hyper, out, identity, place)
    _write_record(out, identity, history)
    delete_checkpoint(out / _CHECKPOINT)
    return out


def _run(
    corpus: Corpus,
    hyper: Hyperparameters,
    out: Path,
    identity: dict[str, Any],
    device: torch.device,
) -> History:
    text = columns(corpus.train, hyper.batch).to(device)
    columns(corpus.valid, 10)  # too short a text is refused now rather than after an epoch
    model = new_model(hyper, corpus.vocabulary).to(device)
    optimizer = new_optimizer(hyper, model)
    history = History([], [], 0.0)
    if read_settings(out / _CHECKPOINT) is not None:
        history = load_checkpoint(out / _CHECKPOINT, model, optimizer)
        progress.say(f"continuing at epoch {len(history.valid) + 1} of {hyper.epochs}")
    else:
        # From here on the folder is known to be this run's, even before its first epoch ends.
        save_checkpoint(out / _CHECKPOINT, model, optimizer, identity, history)
    threads = chosen_threads(model, text, hyper)
    for epoch in range(len(history.valid), hyper.epochs):
        start = time.monotonic()
        label = f"epoch {epoch + 1}/{hyper.epochs}"
        with progress.bar(label, count_windows(text, hyper.steps)) as bar:
            history.train.append(train_epoch(model, optimizer, text, hyper, epoch, bar, threads))
        valid = perplexity(model, corpus.valid)
        if not math.isfinite(valid):
            raise ModelError(
                f"the training diverged in epoch {epoch + 1}: its validation perplexity is "
                f"{valid}; lower learning_rate = {hyper.learning_rate}"
            )
        progress.say(f"{label}: train {history.train[-1]:.2f}, valid {valid:.2f}")
        history.valid.append(valid)
        history.seconds += time.monotonic() - start
        # The model goes first: a crash between the two repeats this epoch and writes it again.
        if valid == min(history.valid):
            save_model(out, model, corpus.vocabulary)
        save_checkpoint(out / _CHECKPOINT, model, optimizer, identity, history)
    return history


def _write_record(out: Path, identity: dict[str, Any], history: History) -> None:
    best = min(history.valid)
    record = {
        "settings": identity,
        "best_epoch": history.valid.index(best) + 1,
        "valid_perplexity": best,
        "perplexities": {"train": history.train, "valid": history.valid},
        "seconds": round(history.seconds, 1),
    }
    write_whole(out / _RECORD, json.dumps(record, indent=2).encode())


def _is_finished(out: Path, identity: dict[str, Any]) -> bool:
    """Tell whether a folder holds the finished run; refuse one that holds another run."""
    record = out / _RECORD
    if record.exists():
        try:
            found = parsed_json(record.read_bytes())["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{record} is damaged ({type(error).__name__}); delete {out} to train again"
            ) from None
    else:
        found = read_settings(out / _CHECKPOINT)
    if found is None:
        if (out / WEIGHTS).exists():
            raise ModelError(
                f"{out} already holds a model of unknown training; choose another folder"
            )
        return False
    differing = [name for name in identity if found.get(name) != identity[name]]
    if differing:
        shown = ", ".join(f"{name} {found.get(name)} != {identity[name]}" for name in differing)
        raise ModelError(f"{out} holds another training ({shown}); choose another folder")
    return record.exists()
