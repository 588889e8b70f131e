"""Language modelling: corpora, recurrent models, their training and their perplexity."""

from autocompress.lm.carried_words import carried_vocabulary
from autocompress.lm.corpus import Corpus, read_corpus, read_split, write_corpus
from autocompress.lm.evaluate import perplexity
from autocompress.lm.folder import load_model, save_model
from autocompress.lm.importing import Imported, import_checkpoint
from autocompress.lm.model import LanguageModel, LanguageModelConfig, detach_state
from autocompress.lm.presets import PRESETS, Hyperparameters, preset
from autocompress.lm.python_docs import python_docs_corpus
from autocompress.lm.task import LanguageModeling
from autocompress.lm.training import train
from autocompress.lm.vocabulary import Vocabulary, build_vocabulary

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
    "perplexity",
    "preset",
    "python_docs_corpus",
    "read_corpus",
    "read_split",
    "save_model",
    "train",
    "write_corpus",
]
