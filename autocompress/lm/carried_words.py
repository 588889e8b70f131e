"""The words of a language model that was compressed."""

from __future__ import annotations

from autocompress.artifact import Artifact
from autocompress.errors import ArtifactError, CorpusError, ModelError
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.vocabulary import VOCABULARY, Vocabulary


def carried_config(artifact: Artifact) -> LanguageModelConfig | None:
    """Return the shape of the model that an artifact describes, or None if that is no such model.

    Raises:
        ArtifactError: If what it says is damaged.
    """
    try:
        return LanguageModelConfig.of_artifact(artifact.model_config)
    except ModelError as error:
        raise ArtifactError(f"'{artifact.path}' describes no model: {error}") from None


def carried_vocabulary(artifact: Artifact) -> Vocabulary:
    """Return the vocabulary that an artifact carries.

    Raises:
        ArtifactError: If it holds no language model with its vocabulary, or that is damaged.
    """
    config = carried_config(artifact)
    words = artifact.assets().get(VOCABULARY)
    if words is None or config is None:
        raise ArtifactError(
            f"'{artifact.path}' holds no language model; one of your own is evaluated by "
            "`--model` and `--task`, and used in Python by `autocompress.load`"
        )
    try:
        return Vocabulary.from_bytes(words, config.unknown, config.end_of_sentence)
    except CorpusError as error:
        raise ArtifactError(f"'{artifact.path}': {error}") from None
