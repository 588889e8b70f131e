"""The artifact: one file that holds a compressed model. Opens with numpy alone, without torch."""

from autocompress.artifact.opened import Artifact, open_artifact
from autocompress.artifact.report import WeightReport

__all__ = ["Artifact", "WeightReport", "open_artifact"]
