"""The artifact: one file that holds a compressed model. Opens with numpy alone, without torch."""

from autocompress.artifact.opened import Artifact, WeightReport, open_artifact

__all__ = ["Artifact", "WeightReport", "open_artifact"]
