"""Training settings by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autocompress.errors import ModelError


@dataclass(frozen=True)
class Hyperparameters:
    """What a training run is made of.

    Attributes:
        hidden_size: Length of embeddings and of the state of each layer.
        epochs: Passes over the training split.
        initial_epochs: Passes before the learning rate begins to decay.
        decay: Factor on the learning rate for each further pass.
        dropout: Probability of dropping, which is 1 - the papers' probability of keeping.
        init_scale: Weights begin uniform in [-init_scale, init_scale].
        max_gradient_norm: Gradients longer than this are shortened to it.
        steps: Words that gradients flow back through.
        batch: Columns of text that are read side by side.
        learning_rate: Of the first passes. The loss is summed over the steps and averaged over
            the batch, as in the papers.
        optimizer: "sgd" without momentum, or "adam".
        num_layers: Recurrent layers.
        cell: "lstm", "gru" or "rnn".
        tied: Whether decoder and embedding share their weight.
    """

    hidden_size: int
    epochs: int
    initial_epochs: int
    decay: float
    dropout: float
    init_scale: float
    max_gradient_norm: float
    steps: int = 35
    batch: int = 20
    learning_rate: float = 1.0
    optimizer: Literal["sgd", "adam"] = "sgd"
    num_layers: int = 2
    cell: str = "lstm"
    tied: bool = False

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of a pass; passes count from 0."""
        return float(self.learning_rate * self.decay ** max(epoch + 1 - self.initial_epochs, 0))


PRESETS = {
    # The small, medium and large model of Zaremba et al. (2014).
    "small": Hyperparameters(
        hidden_size=200,
        epochs=13,
        initial_epochs=4,
        decay=0.5,
        dropout=0.0,
        init_scale=0.1,
        max_gradient_norm=5.0,
        steps=20,
    ),
    "medium": Hyperparameters(
        hidden_size=650,
        epochs=39,
        initial_epochs=6,
        decay=0.8,
        dropout=0.5,
        init_scale=0.05,
        max_gradient_norm=5.0,
    ),
    "large": Hyperparameters(
        hidden_size=1500,
        epochs=55,
        initial_epochs=14,
        decay=0.87,
        dropout=0.65,
        init_scale=0.04,
        max_gradient_norm=10.0,
    ),
    # About a minute and a half on two cores with the text of `python_docs`: valid perplexity 105.
    "demo": Hyperparameters(
        hidden_size=128,
        epochs=3,
        initial_epochs=2,
        decay=0.3,
        dropout=0.1,
        init_scale=0.05,
        max_gradient_norm=5.0,
        learning_rate=0.004,
        optimizer="adam",
    ),
}


def preset(name: str) -> Hyperparameters:
    """Look up training settings.

    Raises:
        ModelError: There are none of this name.
    """
    if name not in PRESETS:
        raise ModelError(f"a preset is one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
