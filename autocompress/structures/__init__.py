"""Structures: what a weight is represented by. A new one is a file and a line below."""

from typing import Annotated

from pydantic import Field

from autocompress.structures.base import (
    Factor,
    Matrix,
    Shape,
    Structure,
    matrix_shape,
    stacked_shape,
)
from autocompress.structures.dense import Dense
from autocompress.structures.low_rank import LowRank
from autocompress.structures.pruned import Pruned

AnyStructure = Annotated[Dense | LowRank | Pruned, Field(discriminator="kind")]

__all__ = [
    "AnyStructure",
    "Dense",
    "Factor",
    "LowRank",
    "Matrix",
    "Pruned",
    "Shape",
    "Structure",
    "matrix_shape",
    "stacked_shape",
]
