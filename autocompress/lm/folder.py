"""Model folders: `model.safetensors`, `config.json` and `vocab.txt`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autocompress.errors import CorpusError, ModelError
from autocompress.lm.model import LanguageModel, LanguageModelConfig, check_finite
from autocompress.lm.vocabulary import Vocabulary
from autocompress.support.files import write_whole

WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocab.txt"


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
    """Read a model folder.

    Returns:
        The model, in evaluation mode, and its words.

    Raises:
        ModelError: The folder or a file in it is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"a model is a folder, but there is none at {folder}; check the path")
    config = _read_config(folder / CONFIG)
    vocabulary = _read_vocabulary(folder / VOCABULARY, config)
    _check_length(folder, config, vocabulary)
    path = folder / WEIGHTS
    try:
        tensors = load_tensors(_read(path))
    except SafetensorError as error:
        raise ModelError(
            f"{path} is damaged or no safetensors file ({error}); copy it again from its source"
        ) from None
    # Built on the meta device, so that a config of absurd sizes is refused before it is allocated.
    with torch.device("meta"):
        model = LanguageModel(config)
    _check_tensors(path, _weights(model), tensors)
    if config.tied:
        tensors["decoder.weight"] = tensors["embedding.weight"]
    model = model.to_empty(device="cpu")
    if config.tied:
        model.decoder.weight = model.embedding.weight
    model.load_state_dict(tensors)
    check_finite(model)
    return model.eval(), vocabulary


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
        values = json.loads(_read(path))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); correct it") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(values).__name__}")
    try:
        return LanguageModelConfig.from_json(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _read_vocabulary(path: Path, config: LanguageModelConfig) -> Vocabulary:
    try:
        return Vocabulary.from_bytes(_read(path), config.unknown, config.end_of_sentence)
    except CorpusError as error:
        raise ModelError(f"{path}: {error}") from None


def _check_length(folder: Path, config: LanguageModelConfig, vocabulary: Vocabulary) -> None:
    if len(vocabulary) != config.vocab_size:
        raise ModelError(
            f"the vocabulary must have vocab_size = {config.vocab_size} words, that of {folder} "
            f"has {len(vocabulary)}; use the vocabulary that the model was trained with"
        )


def _check_tensors(path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        raise ModelError(
            f"{path} must hold the weights that its {CONFIG} describes; missing: "
            f"{', '.join(missing) or 'none'}; not expected: {', '.join(extra) or 'none'}"
        )
    for name, tensor in wanted.items():
        expected, got = (tensor.shape, tensor.dtype), (found[name].shape, found[name].dtype)
        if expected != got:
            raise ModelError(
                f"{name} in {path} must be {tensor.dtype} of shape {tuple(tensor.shape)}, got "
                f"{got[1]} of shape {tuple(got[0])}; correct {CONFIG} or convert the weight"
            )
