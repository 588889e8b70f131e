"""Tasks for the common cases: what they need is the data, and any module of one's own."""

from autocompress.tasks.labels import Classification, Regression
from autocompress.tasks.tokens import NextToken

__all__ = ["Classification", "NextToken", "Regression"]
