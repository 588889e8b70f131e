"""Runtimes: from an artifact to something that runs."""

from autocompress.runtime.torch import fill, load

__all__ = ["fill", "load"]
