"""Predicting each next token, by any module that maps ids to logits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autocompress.errors import TaskError
from autocompress.knowledge.task import Task
from autocompress.outcome.about import DataDescription
from autocompress.outcome.objectives import Split
from autocompress.support.device import device_of

Ids = Sequence[int] | NDArray[Any] | Tensor
"""Token ids of a text, in order."""


class NextToken(Task):
    """Language modelling with a module of one's own, scored by perplexity.

    The module maps ids, int64 of shape (batch, time), to logits (batch, time, tokens), or to a
    tuple that begins with them. Texts are cut into windows of equal length, each of which is
    read from its beginning: a state is not carried from one to the next.

        task = NextToken.of_text("book.txt", tokenizer.encode)
        result = autocompress.search(model, task, budget="10x")
    """

    metric = "perplexity"

    def __init__(
        self,
        train: Ids,
        valid: Ids,
        test: Ids,
        *,
        length: int = 64,
        batch: int = 16,
        batch_first: bool = True,
        model_factory: str | None = None,
    ) -> None:
        """Take three texts as token ids.

        Args:
            train: To calibrate and to fine-tune with.
            valid: By which plans are chosen.
            test: Read once, at the end.
            length: Tokens that a window predicts.
            batch: Windows that are read at once.
            batch_first: Whether ids are (batch, time), or else (time, batch); logits alike.
            model_factory: Import path, "package.module:factory", of what makes the model, by
                which the best of a search is served as an MLflow model.

        Raises:
            TaskError: If a text is shorter than a window, or is no sequence of ids.
        """
        if length < 1 or batch < 1:
            raise TaskError(
                f"`length >= 1` and `batch >= 1` must hold, got length {length}, batch {batch}"
            )
        self._length, self._batch, self._batch_first = length, batch, batch_first
        texts = {"train": train, "valid": valid, "test": test}
        self._windows = {name: _windows(name, text, length) for name, text in texts.items()}
        self.model_factory = model_factory

    @classmethod
    def of_text(cls, path: str | Path, encode: Callable[[str], Ids], **settings: Any) -> Self:
        """Read a text file, whose lines are split 90/5/5 into train, valid and test.

        Args:
            path: The file, in UTF-8.
            encode: Turns a text into token ids, such as a tokenizer's `encode`.
            settings: Those of `NextToken`.

        Raises:
            TaskError: If the file cannot be read, or is too short.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"'{path}' cannot be read as UTF-8 text: {error}") from error
        first, second = len(lines) * 90 // 100, len(lines) * 95 // 100
        parts = (lines[:first], lines[first:second], lines[second:])
        return cls(*(encode("".join(part)) for part in parts), **settings)

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """Measure the perplexity over a whole split."""
        total = count = 0.0
        for losses in self._losses(model, split):
            total += losses.sum(dtype=torch.float64).item()
            count += losses.numel()
        mean = total / count
        return math.exp(mean) if mean < 709 else math.inf

    def part_losses(self, model: nn.Module, split: Split) -> Iterator[float]:
        """Yield the mean loss per token, nats, of one batch of windows after another."""
        for losses in self._losses(model, split):
            yield losses.mean(dtype=torch.float64).item()

    def calibration_batches(self) -> Iterator[Tensor]:
        """Yield training ids as the module takes them, of `batch` windows each."""
        for windows in self._batches("train"):
            yield self._turned(windows[:, :-1])

    def forward(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Compute the logits of a batch."""
        outputs = model(batch.to(device_of(model)))
        logits: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        return logits

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[Tensor]:
        """Yield cross-entropy per token, mixed with the divergence from the teacher's prediction.

        One pass over the training windows, in an order that the seed decides.
        """
        windows = self._windows["train"]
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(windows)))
        for chosen in torch.split(order, self._batch):
            ids = self._turned(windows[chosen])
            logits = self._logits(model, ids)
            loss = functional.cross_entropy(logits, self._targets(ids).to(logits.device))
            if distillation:
                with torch.no_grad():
                    wanted = self._logits(teacher, ids)
                divergence = functional.kl_div(
                    logits.log_softmax(-1),
                    wanted.log_softmax(-1),
                    log_target=True,
                    reduction="batchmean",
                )
                loss = (1 - distillation) * loss + distillation * divergence
            yield loss

    def row_frequencies(self, model: nn.Module) -> Mapping[str, NDArray[np.float64]]:
        """Count the training tokens, whose ids are the rows of the module's embeddings."""
        ids = self._windows["train"].flatten().numpy()
        found = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) and module.num_embeddings > ids.max():
                counts = np.bincount(ids, minlength=module.num_embeddings)
                found[f"{name}.weight" if name else "weight"] = counts.astype(np.float64)
        return found

    def fingerprint(self) -> str:
        """Hash the windows of all splits with SHA-256."""
        digest = hashlib.sha256(f"{self._length} {self._batch}".encode())
        for windows in self._windows.values():
            digest.update(str(tuple(windows.shape)).encode())
            digest.update(windows.numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def describe_data(self) -> DataDescription:
        """Tell how many tokens each split has."""
        tokens = {f"{n} tokens": float(w[:, 1:].numel()) for n, w in self._windows.items()}
        return DataDescription("tokens", self.fingerprint(), tokens)

    def _losses(self, model: nn.Module, split: Split) -> Iterator[Tensor]:
        for windows in self._batches(split):
            ids = self._turned(windows)
            with torch.inference_mode():
                logits = self._logits(model, ids)
                targets = self._targets(ids).to(logits.device)
                yield functional.cross_entropy(logits, targets, reduction="none").cpu()

    def _batches(self, split: Split | Literal["train"]) -> tuple[Tensor, ...]:
        return torch.split(self._windows[split], self._batch)

    def _logits(self, model: nn.Module, ids: Tensor) -> Tensor:
        """Return the logits (predictions, tokens) of all but the last ids of windows."""
        inputs = ids[:, :-1] if self._batch_first else ids[:-1]
        return self.forward(model, inputs).flatten(0, 1)

    def _targets(self, ids: Tensor) -> Tensor:
        return (ids[:, 1:] if self._batch_first else ids[1:]).flatten()

    def _turned(self, windows: Tensor) -> Tensor:
        return windows if self._batch_first else windows.t().contiguous()


def _windows(name: str, text: Ids, length: int) -> Tensor:
    """Cut a text into windows of (number, length + 1) ids, each beginning where one ends.

    Raises:
        TaskError: If it is shorter than one, or is no sequence of ids.
    """
    ids = text if isinstance(text, Tensor) else torch.as_tensor(np.asarray(text))
    if ids.dim() != 1 or ids.is_floating_point() or ids.dtype is torch.bool:
        raise TaskError(
            f"`{name}` must be token ids, whole numbers in one row, but got {ids.dtype} of shape "
            f"{tuple(ids.shape)}"
        )
    if len(ids) <= length:
        raise TaskError(
            f"`{name}` must have more than {length} tokens, the length of a window, but has "
            f"{len(ids)}; give a longer text or a smaller `length`"
        )
    return ids.to(torch.int64).unfold(0, length + 1, length).contiguous()
