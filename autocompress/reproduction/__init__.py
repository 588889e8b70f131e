"""The papers' methods on a model at hand, beside what the papers report and this tool's plans."""

from autocompress.reproduction.reproduce import reproduce
from autocompress.reproduction.table import Reproduction

__all__ = ["Reproduction", "reproduce"]
