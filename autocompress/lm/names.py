"""The names that others give to the weights of recurrent language models.

Known are the `word_language_model` of PyTorch's examples, and AWD-LSTM (Merity et al. 2018), as
its authors and fastai save it: https://github.com/salesforce/awd-lstm-lm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from autocompress.checkpoints import Checkpoint, Renaming, renamings
from autocompress.errors import ModelError

GATES = {4: "lstm", 3: "gru", 1: "rnn"}
"""By how many gates a recurrent weight has, the kind of layer."""
_HIDDEN = "weight_hh_l0"
_RULES = [
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"(?:0\.)?(?:embedding|encoder)\.weight", "embedding.weight"),
        # fastai's embedding with dropout of words wraps that of the encoder.
        (r"(?:0\.)?encoder_dp\.emb\.weight", "embedding.weight"),
        (r"(?:1\.)?decoder\.(weight|bias)", r"decoder.\1"),
        (r"(?:lstm|gru|rnn)\.((?:weight|bias)_(?:ih|hh)_l\d+)", r"cell.\1"),
        (
            r"(?:0\.)?rnns\.(\d+)\.(?:module\.)?((?:weight|bias)_(?:ih|hh))_l0(?:_raw)?",
            r"cell.\2_l\1",
        ),
    )
]
"""Whole names, and what they are here, with `cell` for the kind of layer."""


def translated(checkpoint: Checkpoint) -> Checkpoint:
    """Bring a checkpoint of a recurrent language model into the names of `LanguageModel`.

    With a dropout of weights, the raw weight is the weight. What is not wholly known by its
    names is returned as it is.

    Raises:
        ModelError: Two weights that are to be one differ.
    """
    renaming = _known(checkpoint.tensors)
    if renaming is None:
        return checkpoint
    names = {theirs: _ours(name) or name for theirs, name in renaming.names.items()}
    of_ours: dict[str, list[str]] = {}
    for theirs, ours in names.items():
        of_ours.setdefault(ours, []).append(theirs)
    cell = _cell(checkpoint.tensors, of_ours)
    if cell is None:
        return checkpoint
    tensors = {}
    for ours, (first, *others) in of_ours.items():
        raw = [name for name in (first, *others) if name.endswith("_raw")]
        value = checkpoint.tensors[raw[0] if raw else first]
        for other in [] if raw else others:
            if not torch.equal(value, checkpoint.tensors[other]):
                raise ModelError(
                    f"{checkpoint.path} holds different values as {first} and {other}, which are "
                    "one weight; take one of them out"
                )
        tensors[_with_cell(ours, cell)] = value
    if tensors.keys() == checkpoint.tensors.keys():
        return checkpoint
    pairs = ((name, _with_cell(names[theirs], cell)) for theirs, name in renaming.names.items())
    example = next(((name, ours) for name, ours in pairs if name != ours), None)
    done = [f"{checkpoint.path.name}: {renaming.done}"] if renaming.done else []
    if example is not None:
        done.append(f"{checkpoint.path.name}: {example[0]} read as {example[1]}, and so on")
    if any(name.endswith("_raw") for name in names):
        done.append(f"{checkpoint.path.name}: of weights with dropout, the raw ones are taken")
    return checkpoint.changed(tensors, *done)


def _known(names: Iterable[str]) -> Renaming | None:
    """Return names of which all are known; None if there are none."""
    found = (
        renaming
        for renaming in renamings(names)
        if all(_ours(name) is not None for name in renaming.names.values())
    )
    return next(found, None)


def _ours(name: str) -> str | None:
    for pattern, ours in _RULES:
        match = pattern.fullmatch(name)
        if match:
            return match.expand(ours)
    return None


def _cell(tensors: Mapping[str, Tensor], of_ours: Mapping[str, list[str]]) -> str | None:
    """Tell the kind of recurrent layer by how many gates its weights have."""
    theirs = of_ours.get(f"cell.{_HIDDEN}")
    shape = tensors[theirs[0]].shape if theirs else ()
    gates = shape[0] // shape[1] if len(shape) == 2 and shape[1] else 0
    return GATES.get(gates)


def _with_cell(name: str, cell: str) -> str:
    return re.sub(r"^cell\.", f"{cell}.", name)
