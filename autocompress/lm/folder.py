"""Model folders: `model.safetensors`, `config.json` and `vocab.txt`."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save as save_tensors
from torch import Tensor

from autocompress.checkpoints import Checkpoint, fitted, read_checkpoint
from autocompress.errors import CorpusError, ModelError
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.model import LanguageModel, check_finite, outline
from autocompress.lm.names import translated
from autocompress.lm.vocabulary import VOCABULARY, Vocabulary
from autocompress.support import progress
from autocompress.support.files import parsed_json, write_whole

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_model(folder: str | Path, model: LanguageModel, vocabulary: Vocabulary) -> None:
    """Write a model folder; each file appears whole or not at all.

    Args:
        folder: Made where it does not exist.
        model: A tied weight is stored once, as `embedding.weight`.
        vocabulary: As many words as the model has.

    Raises:
        ModelError: The vocabulary is of another length, or a weight is not finite.
    """
    folder = Path(folder)
    _check_length(folder, model.config, vocabulary)
    check_finite(model)
    write_whole(folder / WEIGHTS, save_tensors(_weights(model)))
    write_whole(folder / CONFIG, json.dumps(model.config.to_json(), indent=2).encode())
    write_whole(folder / VOCABULARY, vocabulary.to_bytes())


def load_model(folder: str | Path) -> tuple[LanguageModel, Vocabulary]:
    """Read a model folder as it lies.

    The weights may be in half precision, sharded, in `pytorch_model.bin`, or under other names;
    what is done about that is said on stderr, in one line each.

    Returns:
        The model, in evaluation mode, and its words.

    Raises:
        ModelError: The folder or a file in it is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"a model is a folder, but there is none at {folder}; check the path")
    config = _read_config(folder / CONFIG)
    vocabulary = read_vocabulary(folder / VOCABULARY, config)
    model, done = fit(translated(read_checkpoint(folder)), config)
    for line in done:
        progress.say(line)
    return model, vocabulary


def load_vocabulary(folder: str | Path) -> Vocabulary:
    """Read the words of a model folder, and no weights.

    Raises:
        ModelError: The folder or a file in it is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"a model is a folder, but there is none at {folder}; check the path")
    return read_vocabulary(folder / VOCABULARY, _read_config(folder / CONFIG))


def fit(
    checkpoint: Checkpoint, config: LanguageModelConfig
) -> tuple[LanguageModel, tuple[str, ...]]:
    """Build a model and fill it with a checkpoint.

    Returns:
        The model, in evaluation mode, and what was done to the checkpoint, in one line each.

    Raises:
        ModelError: The checkpoint does not fit, or holds a weight that is not finite.
    """
    # Absurd sizes are refused before anything is allocated.
    model = outline(config)
    fitting = fitted(checkpoint, model.state_dict(keep_vars=True))
    model.load_state_dict(fitting.tensors, assign=True)
    if config.tied:
        model.decoder.weight = model.embedding.weight
    check_finite(model)
    return model.eval(), fitting.done


def _weights(model: LanguageModel) -> dict[str, Tensor]:
    # named_parameters() gives a tied weight once, under the name that comes first.
    return {name: weight.detach().contiguous() for name, weight in model.named_parameters()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"a model folder holds {WEIGHTS}, {CONFIG} and {VOCABULARY}, but {path} cannot "
            f"be read ({error.strerror}); copy the folder again"
        ) from None


def _read_config(path: Path) -> LanguageModelConfig:
    try:
        values = parsed_json(_read(path))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); correct it") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(values).__name__}")
    try:
        return LanguageModelConfig.from_json(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def read_vocabulary(path: Path, config: LanguageModelConfig) -> Vocabulary:
    """Read the words of a model.

    Raises:
        ModelError: The file is missing or damaged, or holds another number of words.
    """
    try:
        data = _read(path)
        vocabulary = Vocabulary.from_bytes(data, config.unknown, config.end_of_sentence)
    except CorpusError as error:
        raise ModelError(f"{path}: {error}") from None
    _check_length(path.parent, config, vocabulary)
    return vocabulary


def _check_length(folder: Path, config: LanguageModelConfig, vocabulary: Vocabulary) -> None:
    if len(vocabulary) != config.vocab_size:
        raise ModelError(
            f"the vocabulary must have vocab_size = {config.vocab_size} words, that of {folder} "
            f"has {len(vocabulary)}; use the vocabulary that the model was trained with"
        )
