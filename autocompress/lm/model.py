"""Recurrent language models: embedding, recurrent layers, decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from autocompress.errors import ModelError
from autocompress.lm.vocabulary import END_OF_SENTENCE, UNKNOWN

ARCHITECTURE = "recurrent_lm"
"""What artifacts call the models of this package."""

State: TypeAlias = Tensor | tuple[Tensor, Tensor]
_AnyState = TypeVar("_AnyState", Tensor, tuple[Tensor, Tensor], State)
_CELLS: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
}
_SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_layers")
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
        if self.cell not in _CELLS:
            raise ModelError(f"cell must be one of {', '.join(_CELLS)}, got {self.cell!r}")
        for name in _SIZES:
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be 1 or more, got {getattr(self, name)}")
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


class LanguageModel(nn.Module):
    """Predicts each next word of a text.

    The recurrent layers are the attribute that is named like the cell: `lstm`, `gru` or `rnn`.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        # `nn.Embedding` draws on the meta device too, for which PyTorch imports for a second.
        embedding = torch.empty(config.vocab_size, config.embedding_size)
        if not embedding.is_meta:
            nn.init.normal_(embedding)
        self.embedding: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            embedding, freeze=False
        )
        recurrent = _CELLS[config.cell](
            input_size=config.embedding_size,
            hidden_size=config.hidden_size,
            num_layers=config.num_layers,
            bias=config.bias,
            # PyTorch warns of dropout between the layers where there is only one.
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.add_module(config.cell, recurrent)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.bias)
        if config.tied:
            self.decoder.weight = self.embedding.weight
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Score the next word after each word.

        Args:
            tokens: Word ids, int64 of shape (time, batch).
            state: What the previous call returned; None begins with zeros.

        Returns:
            The logits of shape (time, batch, vocab_size), and the state: (layers, batch,
            hidden), for an LSTM a pair of them.
        """
        hidden, state = self.recur(tokens, state)
        return self.score(hidden), state

    def recur(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the output of the last recurrent layer, (time, batch, hidden), and the state."""
        embedded = self.dropout(self.embedding(tokens))
        hidden, state = self.get_submodule(self.config.cell)(embedded, state)
        return hidden, state

    def score(self, hidden: Tensor) -> Tensor:
        """Return the logits (time, batch, vocab_size) of outputs of the last recurrent layer."""
        logits: Tensor = self.decoder(self.dropout(hidden))
        return logits


def build(description: Mapping[str, Any]) -> LanguageModel:
    """Build the model that an artifact describes, its weights still random.

    Args:
        description: What `LanguageModelConfig.for_artifact` returned.

    Raises:
        ModelError: A key is missing or unknown, or a value is of a wrong type or range.
    """
    values = {key: value for key, value in description.items() if key != "architecture"}
    return LanguageModel(LanguageModelConfig.from_json(values))


def detach_state(state: _AnyState) -> _AnyState:
    """Cut a state off from the graph that made it, so that gradients stop there."""
    if isinstance(state, tuple):
        return tuple(part.detach() for part in state)  # type: ignore[return-value]
    return state.detach()


def check_finite(model: nn.Module) -> None:
    """Refuse a model with numbers that are not finite.

    Raises:
        ModelError: A weight holds NaN or infinity.
    """
    for name, weight in model.named_parameters():
        bad = int((~torch.isfinite(weight)).sum())
        if bad:
            raise ModelError(
                f"weights must be finite, but {bad} of the {weight.numel()} numbers of {name} are "
                "NaN or infinite; train the model again with a lower learning rate"
            )
