"""The notebook in examples/, executed as a user would, and what it shows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_search.ipynb"


def shown(notebook: Any) -> list[dict[str, Any]]:
    """Return what the cells of a notebook show, by kinds of content."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", ()))
    return [output["data"] for output in outputs if "data" in output]


def test_the_notebook_is_kept_with_what_it_shows() -> None:
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    kinds = {kind for data in shown(kept) for kind in data}
    assert {"text/html", "image/png"} <= kinds


@pytest.mark.slow
def test_the_notebook_runs_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra `dev` brings it")
    nbclient = pytest.importorskip("nbclient", reason="the extra `dev` brings it")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("", str(NOTEBOOK.parents[1]))).strip(":"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=place).execute()
    kinds = [kind for data in shown(notebook) for kind in data]
    assert kinds.count("image/png") == 2
    assert any("<iframe" in str(data.get("text/html")) for data in shown(notebook))
    assert (tmp_path / "runs" / "digits" / "front.html").is_file()
