"""Precisions: how the numbers of a factor are stored. A new one is a file, imported below."""

from autocompress.precisions.base import PRECISIONS, Precision, Runtime, Stream
from autocompress.precisions.codebook import Codebook
from autocompress.precisions.entropy import EntropyStep
from autocompress.precisions.equal_slope import EqualSlope
from autocompress.precisions.float import Float16, Float32
from autocompress.precisions.trellis import Trellis
from autocompress.precisions.uniform import Uniform

__all__ = [
    "PRECISIONS",
    "Codebook",
    "EntropyStep",
    "EqualSlope",
    "Float16",
    "Float32",
    "Precision",
    "Runtime",
    "Stream",
    "Trellis",
    "Uniform",
]
