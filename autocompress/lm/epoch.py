"""One pass over the training split."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from autocompress.lm.batches import windows
from autocompress.lm.config import LanguageModelConfig
from autocompress.lm.model import LanguageModel, State, detach_state
from autocompress.lm.presets import Hyperparameters
from autocompress.lm.recurrence import recurrence_on_one_thread
from autocompress.lm.vocabulary import Vocabulary
from autocompress.support.device import device_of, has_fused
from autocompress.support.progress import Bar
from autocompress.support.threads import Threads, clip_gradients


def new_model(hyper: Hyperparameters, vocabulary: Vocabulary) -> LanguageModel:
    """Build a model with random weights, drawn from torch's global generator."""
    model = LanguageModel(
        LanguageModelConfig(
            cell=hyper.cell,
            vocab_size=len(vocabulary),
            embedding_size=hyper.hidden_size,
            hidden_size=hyper.hidden_size,
            num_layers=hyper.num_layers,
            dropout=hyper.dropout,
            tied=hyper.tied,
            end_of_sentence=vocabulary.end_of_sentence,
            unknown=vocabulary.unknown,
        )
    )
    for weight in model.parameters():
        nn.init.uniform_(weight, -hyper.init_scale, hyper.init_scale)
    return model


def new_optimizer(hyper: Hyperparameters, model: LanguageModel) -> torch.optim.Optimizer:
    """Build the optimizer that the settings name."""
    if hyper.optimizer == "adam":
        fused = has_fused(device_of(model))
        return torch.optim.Adam(model.parameters(), lr=hyper.learning_rate, fused=fused)
    return torch.optim.SGD(model.parameters(), lr=hyper.learning_rate)


def chosen_threads(model: LanguageModel, text: Tensor, hyper: Hyperparameters) -> Threads:
    """Return what chooses the threads of a training, which gives the same model on any number.

    Args:
        model: Not changed.
        text: Word ids, int64 of shape (time, batch).
        hyper: Settings.
    """
    inputs, targets = next(windows(text, hyper.steps))

    def gradients() -> tuple[Tensor, ...]:
        logits, _ = model.train()(inputs)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return torch.autograd.grad(loss, list(model.parameters()))

    with recurrence_on_one_thread(model):
        return Threads.exact(gradients)


def train_epoch(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    text: Tensor,
    hyper: Hyperparameters,
    epoch: int,
    progress: Bar,
    threads: Threads,
) -> float:
    """Pass over the text once, the state carried from window to window.

    Args:
        model: Trained in place.
        optimizer: Of the model's weights.
        text: Word ids, int64 of shape (time, batch).
        hyper: Settings.
        epoch: Which pass this is, from 0.
        progress: Advanced by one for each window.
        threads: Chooses those of each window.

    Returns:
        The perplexity over the pass, of the model as it was at each window.
    """
    for group in optimizer.param_groups:
        group["lr"] = hyper.learning_rate_at(epoch)
    model.train()
    total, words = 0.0, 0
    state: State | None = None
    with recurrence_on_one_thread(model):
        for inputs, targets in windows(text, hyper.steps):
            with threads.step():
                logits, state = model(inputs, None if state is None else detach_state(state))
                loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
                optimizer.zero_grad()
                torch.autograd.backward(loss * len(inputs))
                clip_gradients(model.parameters(), hyper.max_gradient_norm)
                optimizer.step()
            total += loss.item() * targets.numel()
            words += targets.numel()
            progress.advance(note=f"perplexity {math.exp(min(total / words, 700)):.1f}")
    return math.exp(min(total / words, 700))
