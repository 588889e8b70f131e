"""Makes the golden file of the present format version, once: `python tests/golden/make.py`.

A golden file is never made again. If it stops loading, the code is at fault, not the file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from strategies import write_mixed

from autocompress.artifact import Artifact, open_artifact
from autocompress.artifact.container import FORMAT_VERSION


def describe(artifact: Artifact) -> dict[str, Any]:
    """Return all that a file says, arrays and assets by their checksums."""
    arrays = {
        name: [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in artifact.state_dict().items()
    }
    assets = {name: hashlib.sha256(data).hexdigest() for name, data in artifact.assets().items()}
    return {
        "size_bytes": artifact.size_bytes,
        "source_sha256": artifact.source_sha256,
        "model_config": artifact.model_config,
        "plan": artifact.plan.to_json(),
        "arrays": arrays,
        "assets": assets,
    }


def make(folder: Path) -> None:
    """Write the golden file and what it holds.

    Raises:
        FileExistsError: If there is one of this version.
    """
    path = folder / f"version{FORMAT_VERSION}.acz"
    if path.exists():
        raise FileExistsError(f"'{path}' exists; a golden file is never made again")
    write_mixed(path)
    document = json.dumps(describe(open_artifact(path)), indent=1)
    path.with_suffix(".json").write_text(document + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(__file__).parent)
