"""Recurrent language models: embedding, recurrent layers, decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from autocompress.errors import ModelError
from autocompress.knowledge.tensors import n_not_finite
from autocompress.lm.config import LanguageModelConfig

State: TypeAlias = Tensor | tuple[Tensor, Tensor]
_AnyState = TypeVar("_AnyState", Tensor, tuple[Tensor, Tensor], State)
_CELLS: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
}


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
    """Build the model that an artifact describes, its weights still to be filled.

    Args:
        description: What `LanguageModelConfig.for_artifact` returned.

    Raises:
        ModelError: A key is missing or unknown, or a value is of a wrong type or range.
    """
    values = {key: value for key, value in description.items() if key != "architecture"}
    return allocated(outline(LanguageModelConfig.from_json(values)))


def outline(config: LanguageModelConfig) -> LanguageModel:
    """Make a model on the meta device, where nothing takes memory.

    Raises:
        ModelError: If no model can have these sizes.
    """
    try:
        with torch.device("meta"):
            return LanguageModel(config)
    except (RuntimeError, OverflowError, TypeError):  # whatever torch raises for absurd sizes
        raise _too_large(config) from None


def allocated(model: LanguageModel) -> LanguageModel:
    """Give an outline room for its weights, which takes no memory until they are filled.

    Raises:
        ModelError: If there is not enough.
    """
    try:
        for layer in model.modules():
            for name, weight in list(layer.named_parameters(recurse=False)):
                setattr(layer, name, nn.Parameter(torch.empty(weight.shape)))
    except RuntimeError:
        raise _too_large(model.config) from None
    if model.config.tied:
        model.decoder.weight = model.embedding.weight
    return model


def _too_large(config: LanguageModelConfig) -> ModelError:
    return ModelError(
        f"no model can be as large as vocab_size = {config.vocab_size}, embedding_size = "
        f"{config.embedding_size} and hidden_size = {config.hidden_size}; correct them"
    )


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
        bad = n_not_finite(weight)
        if bad:
            raise ModelError(
                f"weights must be finite, but {bad} of the {weight.numel()} numbers of {name} are "
                "NaN or infinite; train the model again with a lower learning rate"
            )
