"""Structures: what a weight is represented by. A new one is a file, imported below."""

from autocompress.structures.base import (
    STRUCTURES,
    Structure,
    matrix_shape,
    method_name,
    stacked_shape,
)
from autocompress.structures.dense import Dense
from autocompress.structures.factors import Curvature, Factor, Matrix, Shape, row_blocks
from autocompress.structures.group_reduce import GroupReduce
from autocompress.structures.low_rank import LowRank
from autocompress.structures.markers import Priced, Scaled, Share, marker
from autocompress.structures.pruned import Pruned, global_sparsities
from autocompress.structures.tensor_train import TensorTrain
from autocompress.structures.thin import Thin
from autocompress.structures.vector_quantized import VectorQuantized

__all__ = [
    "STRUCTURES",
    "Curvature",
    "Dense",
    "Factor",
    "GroupReduce",
    "LowRank",
    "Matrix",
    "Priced",
    "Pruned",
    "Scaled",
    "Shape",
    "Share",
    "Structure",
    "TensorTrain",
    "Thin",
    "VectorQuantized",
    "global_sparsities",
    "marker",
    "matrix_shape",
    "method_name",
    "row_blocks",
    "stacked_shape",
]
