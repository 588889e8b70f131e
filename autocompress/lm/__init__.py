"""Language modelling: corpora, recurrent models, their training and their perplexity.

Names load what they need when first used: predicting from a file needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocompress.lm.carried_words import carried_vocabulary
    from autocompress.lm.config import LanguageModelConfig
    from autocompress.lm.corpus import (
        Corpus,
        read_corpus,
        read_split,
        words_as_they_appear,
        write_corpus,
    )
    from autocompress.lm.evaluate import perplexity
    from autocompress.lm.folder import load_model, load_vocabulary, save_model
    from autocompress.lm.importing import Imported, import_checkpoint
    from autocompress.lm.model import LanguageModel, detach_state
    from autocompress.lm.presets import PRESETS, Hyperparameters, preset
    from autocompress.lm.python_docs import python_docs_corpus
    from autocompress.lm.task import LanguageModeling
    from autocompress.lm.training import train
    from autocompress.lm.vocabulary import Vocabulary, build_vocabulary

_HOMES = {
    "PRESETS": "presets",
    "Corpus": "corpus",
    "Hyperparameters": "presets",
    "Imported": "importing",
    "LanguageModel": "model",
    "LanguageModelConfig": "config",
    "LanguageModeling": "task",
    "Vocabulary": "vocabulary",
    "build_vocabulary": "vocabulary",
    "carried_vocabulary": "carried_words",
    "detach_state": "model",
    "import_checkpoint": "importing",
    "load_model": "folder",
    "load_vocabulary": "folder",
    "perplexity": "evaluate",
    "preset": "presets",
    "python_docs_corpus": "python_docs",
    "read_corpus": "corpus",
    "read_split": "corpus",
    "save_model": "folder",
    "train": "training",
    "words_as_they_appear": "corpus",
    "write_corpus": "corpus",
}

__all__ = [
    "PRESETS",
    "Corpus",
    "Hyperparameters",
    "Imported",
    "LanguageModel",
    "LanguageModelConfig",
    "LanguageModeling",
    "Vocabulary",
    "build_vocabulary",
    "carried_vocabulary",
    "detach_state",
    "import_checkpoint",
    "load_model",
    "load_vocabulary",
    "perplexity",
    "preset",
    "python_docs_corpus",
    "read_corpus",
    "read_split",
    "save_model",
    "train",
    "words_as_they_appear",
    "write_corpus",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autocompress.lm' has no attribute '{name}'")
    value = getattr(import_module(f"autocompress.lm.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
