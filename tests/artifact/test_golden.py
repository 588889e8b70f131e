"""Files of every released format version keep loading, to the very same numbers.

Factors are compared exactly, and so are weights, but for products of factors: in which order a
machine adds up decides on their last bits.

And they are written again, byte for byte, from what they were made of. Dense and pruned weights
are written from the weights themselves. Whatever is decomposed (eigenvectors, k-means) or was
trained in torch may differ in its last bits on another machine, and with it bytes of the file; it
is written from the stored factors instead, and apart from that the decompositions are compared
with the stored factors up to rounding. What precisions and coders do beyond is compared exactly
everywhere: the linear algebra of the error feedback only decides on codes, and for these to change
by its last bits, a number would have to lie within about 1e-13 steps of a threshold.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.make import make, make_added, make_cases
from golden.stored import (
    FORMAT_VERSION,
    Artifact,
    Encoder,
    Factor,
    Source,
    compared,
    describe,
    describe_case,
    home,
    kinds_of_the_package,
    load_factors,
    load_source,
    needs_factors,
    open_artifact,
    parts,
    recorded,
)
from numpy.typing import NDArray

from autocompress.artifact.assets import ASSET_KINDS
from autocompress.coders import CODERS
from autocompress.precisions import PRECISIONS
from autocompress.registry import Registry
from autocompress.structures import STRUCTURES

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = range(1, FORMAT_VERSION + 1)
CASES = sorted(GOLDEN.glob("version*/*.acz"))
FACTORS = {path: home(path).parent / "factors" / f"{path.stem}.safetensors" for path in CASES}
DECOMPOSED = [path for path in CASES if FACTORS[path].exists()]


def label(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


each_case = pytest.mark.parametrize("path", CASES, ids=label)


def source_of(path: Path) -> Source:
    return load_source(home(path).parent / "sources" / recorded(path)["source"])


def factors_of(path: Path) -> dict[str, dict[str, Factor]]:
    return load_factors(FACTORS[path])


def written_again(path: Path, source: Source, file: Path) -> Artifact:
    """Write the plan of a golden file by the code of today."""
    factors = factors_of(path) if path in DECOMPOSED else None
    Encoder(source).write(open_artifact(path).plan, file, factors)
    return open_artifact(file)


def assert_close(found: Factor, stored: Factor) -> None:
    """Compare up to rounding; whole numbers, masks and what is only passed on exactly."""
    assert (found.integers, found.nearest) == (stored.integers, stored.nearest)
    for name in ("mask", "row_frequencies", *(["values"] if stored.integers else [])):
        np.testing.assert_array_equal(getattr(found, name), getattr(stored, name))
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = [(found.values, stored.values)]
    assert (found.curvature is None) == (stored.curvature is None)
    if found.curvature is not None and stored.curvature is not None:
        pairs.append((found.curvature.rows, stored.curvature.rows))
        pairs.append((found.curvature.moment, stored.curvature.moment))
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * float(np.abs(theirs).max()))


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_files_load_to_the_recorded_checksums(version: int) -> None:
    path = GOLDEN / f"version{version}.acz"
    assert describe(open_artifact(path)) == recorded(path)


@each_case
def test_golden_cases_load_to_the_recorded_checksums(path: Path) -> None:
    document, found = recorded(path), describe_case(open_artifact(path))
    del document["source"], document["trained"]
    ours, theirs = found.pop("products"), document.pop("products")
    assert ours.keys() == theirs.keys()
    for name, (norm, *projections) in theirs.items():
        assert ours[name] == pytest.approx([norm, *projections], rel=0, abs=1e-5 * norm)
        # The last bits of a product depend on the machine, and so does its checksum.
        assert found["arrays"][name][:2] == document["arrays"][name][:2]
        del found["arrays"][name], document["arrays"][name]
    assert found == document


@each_case
def test_golden_cases_are_written_again_to_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again, golden = (
        written_again(path, source_of(path), tmp_path / "again.acz"),
        open_artifact(path),
    )
    assert parts(again) == parts(golden)
    if path.parent.name != "version1":
        # Beyond that, only how zlib packs the header is not ours to say.
        assert again.contents.header == golden.contents.header


@pytest.mark.parametrize(
    "path",
    [path for path in DECOMPOSED if home(path) == path and not recorded(path)["trained"]],
    ids=label,
)
def test_weights_are_decomposed_to_the_stored_factors(path: Path) -> None:
    source = source_of(path)
    for name, factors in factors_of(path).items():
        found = Encoder(source).factorize(name, open_artifact(path).plan.treatments[name])
        assert list(found) == list(factors)
        for factor_name, factor in factors.items():
            assert_close(found[factor_name], factor)


def test_only_what_is_decomposed_or_trained_is_written_from_stored_factors() -> None:
    for path in CASES:
        trained = recorded(path)["trained"]
        needed = trained or needs_factors(open_artifact(path).plan)
        assert (path in DECOMPOSED) == needed


def test_another_weight_makes_other_bytes_and_other_factors(tmp_path: Path) -> None:
    path = GOLDEN / "version1" / "dense.acz"
    source = source_of(path)
    weights = dict(source.weights.weights)
    first = weights["float32"]
    weights["float32"] = replace(first, values=first.values * np.float32(1.001))
    other = replace(source, weights=replace(source.weights, weights=weights))
    again = parts(written_again(path, other, tmp_path / "again.acz"))
    golden = parts(open_artifact(path))
    changed = [n for n, data in golden["entries"].items() if again["entries"][n] != data]
    assert changed == ["float32"]
    low_rank = GOLDEN / "version1" / "low_rank.acz"
    treatment = open_artifact(low_rank).plan.treatments["float32"]
    factors = Encoder(other).factorize("float32", treatment)
    with pytest.raises(AssertionError):
        assert_close(factors["left"], factors_of(low_rank)["float32"]["left"])


def test_another_factor_makes_other_bytes(tmp_path: Path) -> None:
    path = GOLDEN / "version1" / "recovered_equal_slope.acz"
    factors = factors_of(path)
    (weight,) = factors["embedding.weight"].values()
    assert weight.nearest
    factors["embedding.weight"] = {"weight": replace(weight, nearest=False)}
    Encoder(source_of(path)).write(open_artifact(path).plan, tmp_path / "other.acz", factors)
    golden, other = parts(open_artifact(path)), parts(open_artifact(tmp_path / "other.acz"))
    changed = [n for n, data in golden["entries"].items() if other["entries"][n] != data]
    assert changed == ["embedding.weight"]


NEWEST = [path for path in CASES if path.parent.name.split("_")[0] == f"version{FORMAT_VERSION}"]


@pytest.mark.parametrize("kind", ["structures", "precisions", "coders", "runtimes"])
def test_golden_cases_use_every_kind_that_there_is(kind: str) -> None:
    used = {value for path in NEWEST for value in recorded(path)["kinds"][kind]}
    assert used == kinds_of_the_package()[kind]


@pytest.mark.parametrize("registry", [STRUCTURES, PRECISIONS, CODERS], ids=lambda r: r.what)
def test_a_kind_without_a_golden_file_is_noticed(registry: Registry[Any]) -> None:
    new = type("New", (), {"__module__": "autocompress.new", "prunable": True})
    kind = f"{registry.what}s"
    before = kinds_of_the_package()[kind]
    registry.register("new")(new)
    try:
        found = kinds_of_the_package()[kind]
    finally:
        del registry.registered["new"]  # type: ignore[attr-defined]
    assert found - before == {"new"} | ({"pruned of new"} if kind == "structures" else set())


def test_golden_cases_combine_every_structure_with_every_precision() -> None:
    used = {value for path in NEWEST for value in recorded(path)["kinds"]["combinations"]}
    kinds = kinds_of_the_package()
    every = {f"{s} + {p}" for s in kinds["structures"] for p in kinds["precisions"]}
    assert used == every


def test_golden_cases_use_what_precisions_and_structures_store() -> None:
    kinds = [recorded(path)["kinds"] for path in NEWEST]
    used = {kind: {value for k in kinds for value in k[kind]} for kind in kinds[0]}
    assert used["streams"] == {
        "codes",
        "column_exponents",
        "levels",
        "mask",
        "offset",
        "row_exponents",
        "spacing",
        "step",
        "values",
    }
    whole_numbers = {"assignment", "ranks", "shape", "indices", "padding"}
    assert whole_numbers | {"weight", "left", "right", "core4", "codebook"} <= used["factors"]
    assert 1 in used["entropy_classes"]
    assert max(used["entropy_classes"]) > 2


@pytest.mark.parametrize(
    "path",
    [GOLDEN / f"version{version}.acz" for version in VERSIONS] + CASES,
    ids=label,
)
def test_golden_files_are_small(path: Path) -> None:
    assert path.stat().st_size < 20_000


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


def test_golden_cases_have_rows_of_zeros_where_nothing_else_keeps_them() -> None:
    items = open_artifact(GOLDEN / "version2_added" / "zero_rows.acz").contents.header.items
    assert {item.name: item.zero_rows for item in items} == {
        "first": (0, 1),
        "within": (3, 2),
        "last": (11, 1),
        "several": (0, 2, 3, 1, 5, 1),
        "train": (0, 1, 1, 1),
        "kept": (),
        "site": (11, 2, 6, 1),
    }


def test_golden_cases_have_files_of_every_kind() -> None:
    contents = open_artifact(GOLDEN / "version2_lines" / "lines.acz").contents
    assert sorted(contents.assets) == [":asset:notes.txt", ":asset:wide.txt", ":lines:vocab.txt"]
    assert contents.header.needs["autocompress 0.1.0"]["asset"] == tuple(ASSET_KINDS)


def test_a_golden_file_is_never_made_again() -> None:
    before = (GOLDEN / f"version{FORMAT_VERSION}.acz").read_bytes()
    with pytest.raises(FileExistsError, match="never made again"):
        make(GOLDEN)
    assert (GOLDEN / f"version{FORMAT_VERSION}.acz").read_bytes() == before


def test_golden_cases_are_never_made_again() -> None:
    before = sorted(path.stat().st_mtime_ns for path in GOLDEN.rglob("*.*"))
    for made_once in (make_cases, make_added):
        with pytest.raises(FileExistsError, match="never made again"):
            made_once(GOLDEN)
    assert sorted(path.stat().st_mtime_ns for path in GOLDEN.rglob("*.*")) == before


def test_what_is_as_in_an_earlier_version_is_stored_once() -> None:
    for path in CASES:
        assert (home(path) == path) == (path.parent.name != f"version{FORMAT_VERSION}")
    assert not (GOLDEN / f"version{FORMAT_VERSION}" / "sources").exists()


def test_a_version_adds_less_than_a_hundred_bytes() -> None:
    for path in NEWEST:
        assert path.stat().st_size <= home(path).stat().st_size + 100


def test_a_file_that_holds_something_else_is_not_described_as_alike(tmp_path: Path) -> None:
    document = describe_case(open_artifact(GOLDEN / "version1" / "dense.acz"))
    with pytest.raises(ValueError, match="holds something else"):
        compared(document, GOLDEN / "version1" / "pruned.acz", tmp_path / "x.acz")


def test_a_new_golden_file_describes_itself(tmp_path: Path) -> None:
    make(tmp_path)
    name = f"version{FORMAT_VERSION}"
    document = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert document == describe(open_artifact(tmp_path / f"{name}.acz"))
