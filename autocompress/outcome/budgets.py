"""Budgets as people say them: a size, a share of the uncompressed model, or bits per weight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from autocompress.errors import BudgetError
from autocompress.outcome.limits import Budget, format_bytes, parse_size

TIMES_SMALLER, BITS_PER_WEIGHT = "x", "bpw"
"""Units of budgets that are relative to a model."""


@dataclass(frozen=True)
class RelativeBudget:
    """A limit on the size of the file that depends on the model.

    Attributes:
        amount: With `TIMES_SMALLER` how many times smaller than the uncompressed model, stored in
            single precision, the file is to be; with `BITS_PER_WEIGHT` how many bits of the file,
            vocabulary and all, there may be for each weight.
        unit: One of the two.
    """

    amount: Fraction
    unit: str

    def of(self, uncompressed_bytes: int, n_weights: int) -> Budget:
        """Return the limit in bytes, rounded down.

        Args:
            uncompressed_bytes: Length of the uncompressed model's file in single precision.
            n_weights: How many numbers the model's weights have.

        Raises:
            BudgetError: If that is below one byte.
        """
        if self.unit == TIMES_SMALLER:
            limit = int(uncompressed_bytes / self.amount)
        else:
            limit = int(self.amount * n_weights / 8)
        if limit < 1:
            raise BudgetError(
                f"a budget of {self} is below one byte for a model of {n_weights:,} weights, "
                f"{format_bytes(uncompressed_bytes)}; ask for more"
            )
        return Budget(limit)

    def __str__(self) -> str:
        return f"{float(self.amount):g}{self.unit}"


def parse_budget(text: str | int | Budget | RelativeBudget) -> Budget | RelativeBudget:
    """Understand "2MB", "2MiB" and a number of bytes, "10x" smaller, and "3bpw", bits per weight.

    Raises:
        BudgetError: If the text is none of these, or not above zero.
    """
    if isinstance(text, Budget | RelativeBudget):
        return text
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(x|bpw)\s*", str(text), re.IGNORECASE)
    if match is None:
        try:
            return Budget(parse_size(text))
        except BudgetError as error:
            raise BudgetError(
                "a budget is a size such as 2MB, 800kB or 2MiB, times smaller such as 10x, or "
                f"bits per weight such as 3bpw, all above zero, but got '{text}'"
            ) from error
    amount = Fraction(match.group(1))
    if not amount:
        raise BudgetError(f"`budget > 0` must hold, but got '{text}'")
    return RelativeBudget(amount, match.group(2).lower())
