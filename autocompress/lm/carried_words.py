"""The words of a language model that was compressed."""

from __future__ import annotations

from autocompress.artifact import Artifact
from autocompress.errors import ArtifactError
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.vocabulary import VOCABULARY, Vocabulary


def carried_vocabulary(artifact: Artifact) -> Vocabulary:
    """Return the vocabulary that an artifact carries.

    Raises:
        ArtifactError: If it holds no language model with its vocabulary.
    """
    config = LanguageModelConfig.of_artifact(artifact.model_config)
    words = artifact.assets().get(VOCABULARY)
    if words is None or config is None:
        raise ArtifactError(
            f"'{artifact.path}' holds no language model; one of your own is evaluated by "
            "`--model` and `--task`, and used in Python by `autocompress.load`"
        )
    return Vocabulary.from_bytes(words, config.unknown, config.end_of_sentence)
