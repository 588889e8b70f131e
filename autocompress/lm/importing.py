"""A checkpoint of another project becomes a model folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from autocompress.checkpoints import Checkpoint, read_checkpoint
from autocompress.errors import CorpusError, ModelError
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.folder import WEIGHTS, fit, read_vocabulary, save_model
from autocompress.lm.model import LanguageModel
from autocompress.lm.names import GATES, translated
from autocompress.lm.vocabulary import END_OF_SENTENCE, UNKNOWN, Vocabulary
from autocompress.support import progress

_EMBEDDING, _DECODER, _BIAS = "embedding.weight", "decoder.weight", "decoder.bias"
_OF_LAYER = re.compile(r"_[ih]h_l(\d+)$")
_SHOWN = 6
_OWN_CLASS = (
    "a class of your own is searched by `autocompress search --model package.module:factory "
    "--weights FILE --task package.module:factory`, or by `autocompress.search` in Python"
)


@dataclass(frozen=True)
class Imported:
    """What was made of a checkpoint.

    Attributes:
        folder: The model folder.
        model: The model, in evaluation mode.
        done: What was done, in one line each.
    """

    folder: Path
    model: LanguageModel
    done: tuple[str, ...]


def import_checkpoint(
    checkpoint: str | Path,
    vocabulary: str | Path | Vocabulary,
    out: str | Path,
    *,
    end_of_sentence: str = END_OF_SENTENCE,
    unknown: str = UNKNOWN,
    nonlinearity: Literal["tanh", "relu"] | None = None,
) -> Imported:
    """Make a model folder of a checkpoint; sizes, kind of layer and ties are read off its weights.

    Known are the names of `LanguageModel`, of the `word_language_model` of PyTorch's examples,
    and of AWD-LSTM, with any prefix that all share. What is done is said on stderr.

    Args:
        checkpoint: What `autocompress.load_checkpoint` reads.
        vocabulary: The words in the order of the rows of the embedding, or a text file with one
            of them a line.
        out: The model folder, which must not hold another model.
        end_of_sentence: The word of the vocabulary that ends a line of a text.
        unknown: The word that stands for others, if there is one.
        nonlinearity: Of plain RNN layers, whose weights do not tell it.

    Raises:
        ModelError: If the checkpoint cannot be read or is no such model, the vocabulary is of
            another length or lacks the end of sentence, or `out` holds another model.
    """
    out = Path(out)
    if (out / WEIGHTS).exists():
        raise ModelError(
            f"{out} holds a model already, which is not overwritten; choose another --out, or "
            "delete it"
        )
    read = translated(read_checkpoint(checkpoint))
    config, read = _config_of(read, end_of_sentence, unknown)
    if config.cell == "rnn" and nonlinearity != "tanh":
        raise ModelError(_of_plain_layers(read, nonlinearity))
    words = _words_of(vocabulary, config, read)
    if end_of_sentence not in words.ids:
        source = "the vocabulary" if isinstance(vocabulary, Vocabulary) else vocabulary
        raise CorpusError(
            f"{source} lacks the word {end_of_sentence!r}, which ends each line of a text; "
            "name the word that does, by --end-of-sentence"
        )
    model, done = fit(read, config)
    for line in done:
        progress.say(line)
    save_model(out, model, words)
    return Imported(out, model, done)


def _words_of(
    vocabulary: str | Path | Vocabulary, config: LanguageModelConfig, read: Checkpoint
) -> Vocabulary:
    if not isinstance(vocabulary, Vocabulary):
        return read_vocabulary(Path(vocabulary), config)
    if len(vocabulary) != config.vocab_size:
        raise ModelError(
            f"{read.path} has embeddings of {config.vocab_size:,} words, but the text has "
            f"{len(vocabulary):,} different ones; name the text that the model was trained on, "
            "or the file of its words by --vocab"
        )
    return vocabulary


def _of_plain_layers(read: Checkpoint, nonlinearity: str | None) -> str:
    if nonlinearity is None:
        return (
            f"{read.path} has plain RNN layers, whose weights do not tell whether they apply tanh "
            "or ReLU; say so by --nonlinearity"
        )
    return f"the plain RNN layers of a model folder apply tanh, not {nonlinearity}; {_OWN_CLASS}"


def _config_of(
    checkpoint: Checkpoint, end_of_sentence: str, unknown: str
) -> tuple[LanguageModelConfig, Checkpoint]:
    """Read the shape off the weights; add biases of zeros where only some layers have any."""
    tensors = checkpoint.tensors
    cell, layers = _layers(checkpoint)
    embedding = tensors.get(_EMBEDDING, tensors.get(_DECODER))
    if embedding is None or embedding.dim() != 2:
        raise ModelError(f"{checkpoint.path} holds no matrix of embeddings; {_OWN_CLASS}")
    words, size = embedding.shape
    width = _width(checkpoint, cell, layers, size)
    decoder = tensors.get(_DECODER, embedding)
    is_one = decoder is embedding or (
        _EMBEDDING in tensors and decoder.shape == embedding.shape and decoder.equal(embedding)
    )
    biases = {f"{cell}.bias_{kind}_l{k}" for k in range(layers) for kind in ("ih", "hh")}
    lacking = sorted(({_BIAS} | biases) - tensors.keys())
    config = LanguageModelConfig(
        cell=cell,
        vocab_size=words,
        embedding_size=size,
        hidden_size=width,
        num_layers=layers,
        tied=is_one and width == size,
        bias=len(lacking) <= len(biases),
        end_of_sentence=end_of_sentence,
        unknown=unknown,
    )
    if not config.bias or not lacking:
        return config, checkpoint
    gates = next(count for count, kind in GATES.items() if kind == cell)
    zeros = {name: torch.zeros(words if name == _BIAS else gates * width) for name in lacking}
    line = f"{checkpoint.path.name}: zeros for what has no bias: {_listed(lacking)}"
    return config, checkpoint.changed({**tensors, **zeros}, line)


def _layers(checkpoint: Checkpoint) -> tuple[str, int]:
    """Return the kind and the number of the recurrent layers, and refuse all that is neither.

    Raises:
        ModelError: If there are none, or weights of a strange name.
    """
    names = set(checkpoint.tensors)
    cell = next((kind for kind in GATES.values() if f"{kind}.weight_hh_l0" in names), None)
    layers = len({match[1] for match in map(_OF_LAYER.search, names) if match})
    parts = [f"{kind}_{of}" for kind in ("weight", "bias") for of in ("ih", "hh")]
    known = {f"{cell}.{part}_l{k}" for k in range(layers) for part in parts}
    strange = sorted(names - known - {_EMBEDDING, _DECODER, _BIAS})
    if cell is None or strange:
        raise ModelError(
            f"{checkpoint.path} is, by the names of its weights, no recurrent language model of "
            "an embedding, LSTM, GRU or RNN layers and a decoder (not known: "
            f"{_listed(strange) or 'none'}); {_OWN_CLASS}"
        )
    return cell, layers


def _width(checkpoint: Checkpoint, cell: str, layers: int, embedding_size: int) -> int:
    """Return the length of the state of all layers, which must be one.

    Raises:
        ModelError: If layers are of different widths, or what enters one does not fit.
    """
    entering, widths = (
        [_columns(checkpoint, f"{cell}.weight_{of}_l{k}") for k in range(layers)]
        for of in ("ih", "hh")
    )
    if len(set(widths)) > 1 or entering != [embedding_size, *widths[:-1]]:
        raise ModelError(
            f"{checkpoint.path} has layers of widths {', '.join(map(str, widths))} on embeddings "
            f"of {embedding_size}, but a model folder describes layers of one width; {_OWN_CLASS}"
        )
    return widths[0]


def _columns(checkpoint: Checkpoint, name: str) -> int:
    tensor = checkpoint.tensors.get(name)
    if tensor is None or tensor.dim() != 2:
        raise ModelError(
            f"{checkpoint.path} lacks {name}, a matrix; copy it again from its source"
        )
    return tensor.shape[1]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
