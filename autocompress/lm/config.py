"""The shape of a language model, as its files tell it; read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autocompress.errors import ModelError
from autocompress.lm.vocabulary import END_OF_SENTENCE, UNKNOWN

ARCHITECTURE = "recurrent_lm"
"""What artifacts call the models of this package."""

CELLS = ("lstm", "gru", "rnn")
_SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_layers")
_MOST_LAYERS = 1000
"""Each one takes time before it is known whether there are weights for it."""
_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
}


@dataclass(frozen=True)
class LanguageModelConfig:
    """The shape of a language model: the keys of its `config.json`.

    Attributes:
        cell: "lstm", "gru" or "rnn" (with tanh).
        vocab_size: Words.
        embedding_size: Length of an embedding vector.
        hidden_size: Length of the state of each layer.
        num_layers: Recurrent layers.
        dropout: Probability, in [0, 1), of dropping what enters and leaves each layer.
        tied: Whether the decoder uses the weight of the embedding.
        bias: Whether the recurrent layers and the decoder have biases.
        end_of_sentence: The word that ends a sentence.
        unknown: The word that stands for words outside the vocabulary.
    """

    cell: str
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int = 2
    dropout: float = 0.0
    tied: bool = False
    bias: bool = True
    end_of_sentence: str = END_OF_SENTENCE
    unknown: str = UNKNOWN

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, str(field.type), getattr(self, field.name))
        if self.cell not in CELLS:
            raise ModelError(f"cell must be one of {', '.join(CELLS)}, got {self.cell!r}")
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.num_layers > _MOST_LAYERS:
            raise ModelError(f"num_layers must be at most {_MOST_LAYERS}, got {self.num_layers}")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"dropout must be at least 0 and less than 1, got {self.dropout}")
        if self.tied and self.embedding_size != self.hidden_size:
            raise ModelError(
                "a tied model needs embedding_size and hidden_size to be equal, got "
                f"{self.embedding_size} and {self.hidden_size}; change one, or set tied to false"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LanguageModelConfig:
        """Read the object of a `config.json`, which has each key and no other.

        Raises:
            ModelError: A key is missing or unknown, or a value is of a wrong type or range.
        """
        names = {field.name for field in fields(cls)}
        missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
        if missing or unknown:
            raise ModelError(
                f"a model's config has the keys {', '.join(sorted(names))}; missing: "
                f"{', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
        return cls(**values)

    @classmethod
    def of_artifact(cls, description: Mapping[str, Any] | None) -> LanguageModelConfig | None:
        """Read what an artifact says of its model; None if that is of another architecture.

        Raises:
            ModelError: As `from_json`.
        """
        values = dict(description or {})
        return cls.from_json(values) if values.pop("architecture", None) == ARCHITECTURE else None

    def for_artifact(self) -> dict[str, Any]:
        """Return what `of_artifact` reads."""
        return {"architecture": ARCHITECTURE, **self.to_json()}

    def to_json(self) -> dict[str, Any]:
        """Return the object that `from_json` reads."""
        return asdict(self)


def _check_type(name: str, type_name: str, value: object) -> None:
    # bool is a subclass of int, yet `"num_layers": true` is a mistake.
    is_bool = isinstance(value, bool)
    if not isinstance(value, _TYPES[type_name]) or (is_bool and type_name != "bool"):
        raise ModelError(f"{name} must be of type {type_name}, got {value!r}")
