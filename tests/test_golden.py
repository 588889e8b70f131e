"""Files of every released format version keep loading, to the very same numbers."""

import json
from pathlib import Path

import pytest
from golden.make import describe, make

from autocompress.artifact import open_artifact
from autocompress.artifact.container import FORMAT_VERSION
from autocompress.plan import CompressionPlan

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = range(1, FORMAT_VERSION + 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_files_load_to_the_recorded_checksums(version: int) -> None:
    recorded = json.loads((GOLDEN / f"version{version}.json").read_text(encoding="utf-8"))
    # Fields that came later have their defaults.
    recorded["plan"] = CompressionPlan.from_json(recorded["plan"]).to_json()
    assert describe(open_artifact(GOLDEN / f"version{version}.acz")) == recorded


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_files_are_small(version: int) -> None:
    assert (GOLDEN / f"version{version}.acz").stat().st_size < 20_000


def test_the_golden_file_uses_everything_that_version_1_has() -> None:
    header = open_artifact(GOLDEN / "version1.acz").contents.header
    treatments = [item.treatment for item in header.items]
    streams = [s for item in header.items for factor in item.factors.values() for s in factor]
    assert {t.structure.kind for t in treatments} == {"dense", "low_rank", "pruned"}
    assert {t.precision.kind for t in treatments} == {"float32", "float16", "uniform", "entropy"}
    assert {s.coder for s in streams} == {"packed", "entropy", "f2", "f4"}
    assert {"mask", "row_exponents", "offset"} <= {s.name for s in streams}
    assert max(len(item.members) for item in header.items) == 2
    assert any(member.aliases for item in header.items for member in item.members)


def test_a_golden_file_is_never_made_again() -> None:
    before = (GOLDEN / f"version{FORMAT_VERSION}.acz").read_bytes()
    with pytest.raises(FileExistsError, match="never made again"):
        make(GOLDEN)
    assert (GOLDEN / f"version{FORMAT_VERSION}.acz").read_bytes() == before


def test_a_new_golden_file_describes_itself(tmp_path: Path) -> None:
    make(tmp_path)
    name = f"version{FORMAT_VERSION}"
    document = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert document == describe(open_artifact(tmp_path / f"{name}.acz"))
