"""Has the site show files that lie elsewhere in the repository, by the links that work there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
SHOWN = (
    "benchmarks/*.py",
    "benchmarks/results/*.*",
    "examples/*.py",
    "examples/cluster/*.py",
    "examples/*.ipynb",
    "tests/plugins/*.py",
)


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages link to, under their paths in the repository."""
    for pattern in SHOWN:
        for path in sorted(ROOT.glob(pattern)):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links out of `docs/` to what was added."""
    markdown = re.sub(r"\]\(\.\./CONTRIBUTING\.md", "](own-methods.md", markdown)
    markdown = re.sub(r"\]\(\.\./tests/plugins\)", "](tests/plugins/journey.py)", markdown)
    return re.sub(r"\]\(\.\./(benchmarks|examples|tests)/", r"](\1/", markdown)
