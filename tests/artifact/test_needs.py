"""What a file needs: it is listed, and a reader who lacks it says who has it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import safetensors.numpy
from strategies import tiny_source, treat, write_mixed

from autocompress.artifact import open_artifact
from autocompress.artifact.needs import needs_of
from autocompress.artifact.records import Needs
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import ArtifactError
from autocompress.plan import CompressionPlan
from autocompress.precisions import Codebook, Float32
from autocompress.structures import STRUCTURES, Dense, LowRank, Pruned, VectorQuantized

Document = dict[str, Any]
TRELLIS: Needs = {"autocompress 0.4.0": {"structure": ("lattice",)}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.acz"


def with_plan(path: Path, **treatments: Any) -> Path:
    plan = {**uncompressed_plan(tiny_source()).treatments, **treatments}
    Encoder(tiny_source()).write(CompressionPlan(treatments=plan), path)
    return path


def changed(path: Path, change: Callable[[Document], object]) -> Path:
    """Write a file with another header, and the checksum to match."""
    tensors = dict(safetensors.numpy.load(write_mixed(path).read_bytes()))
    document: Document = json.loads(zlib.decompress(tensors[":header"].tobytes()))
    change(document)
    packed = zlib.compress(json.dumps(document).encode())
    tensors[":header"] = np.frombuffer(packed, dtype=np.uint8)
    data = safetensors.numpy.save(tensors, metadata={"autocompress": "2 00000000"})
    path.write_bytes(data[:43] + f"{zlib.crc32(data):08x}".encode() + data[51:])
    return path


def message(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_a_file_lists_what_it_needs(path: Path) -> None:
    assert open_artifact(write_mixed(path)).contents.header.needs == {
        "autocompress 0.1.0": {
            "coder": ("entropy", "packed"),
            "precision": ("entropy", "float16", "float32", "uniform"),
            "structure": ("dense", "low_rank", "pruned"),
        }
    }


def test_what_is_pruned_is_listed_too(path: Path) -> None:
    pruned = treat(Pruned(sparsity=0.5, of=LowRank(rank=2)), Float32())
    needs = open_artifact(with_plan(path, **{"embedding.weight": pruned})).contents.header.needs
    assert needs["autocompress 0.1.0"]["structure"] == ("dense", "low_rank", "pruned")


def test_floats_need_no_coder(path: Path) -> None:
    assert open_artifact(with_plan(path)).contents.header.needs == {
        "autocompress 0.1.0": {"precision": ("float32",), "structure": ("dense",)}
    }


def test_whole_numbers_need_their_coder(path: Path) -> None:
    vectors = treat(VectorQuantized(dimension=2, bits=2), Codebook(bits=2))
    needs = open_artifact(with_plan(path, **{"embedding.weight": vectors})).contents.header.needs
    assert set(needs["autocompress 0.1.0"]) == {"coder", "precision", "structure"}


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        pytest.param(
            TRELLIS,
            "structure 'lattice', which autocompress 0.4.0 has, but this is 0.1.0; "
            "upgrade autocompress",
            id="later version",
        ),
        pytest.param(
            {"autocompress 0.1.0": {"structure": ["dense"]}, "acme-codes 1.2": {"coder": ["z"]}},
            "coder 'z', which package 'acme-codes' 1.2 has; install it",
            id="other package",
        ),
        pytest.param(
            {"my_script": {"precision": ["ternary"]}},
            "precision 'ternary', which a module 'my_script' registered; import it first",
            id="no package",
        ),
        pytest.param(
            {"autocompress 0.5.0": {"transform": ["hadamard"]}},
            "transform 'hadamard', which autocompress 0.5.0 has, but this is 0.1.0; "
            "upgrade autocompress",
            id="something new altogether",
        ),
    ],
)
def test_a_reader_who_lacks_a_kind_says_who_has_it(path: Path, needs: Needs, reason: str) -> None:
    changed(path, lambda document: document.update(needs=needs))
    assert message(path) == f"'{path}' needs {reason}"


@pytest.mark.parametrize("key", ["structure", "precision"])
def test_that_is_said_although_the_plan_cannot_be_read(path: Path, key: str) -> None:
    def change(document: Document) -> None:
        document["needs"] = {"autocompress 0.4.0": {key: ["lattice"]}}
        document["items"][0]["treatment"][key] = {"kind": "lattice", "states": 256}
        document["rotations"] = []

    changed(path, change)
    assert message(path).startswith(f"'{path}' needs {key} 'lattice', which autocompress 0.4.0")


def test_of_a_kind_that_is_not_listed_the_name_is_said(path: Path) -> None:
    def change(document: Document) -> None:
        document["items"][0]["treatment"]["structure"] = {"kind": "lattice"}

    changed(path, change)
    assert "its header is invalid" in message(path)
    assert "'lattice'" in message(path)


@pytest.mark.parametrize(
    "needs",
    [
        None,
        [],
        1,
        {"a": []},
        {"a": {"coder": "x"}},
        {"a": {"coder": [1]}},
        {"a": {"coder": ["x\ny"]}},
        {"a\n": {"coder": ["x"]}},
        {"a": {"coder": [0] * 10**5}},
        {"": {"coder": ["x"]}},
    ],
    ids=str,
)
def test_strange_needs_are_refused(path: Path, needs: object) -> None:
    changed(path, lambda document: document.update(needs=needs))
    assert "is damaged: its header is invalid: needs" in message(path)


@pytest.fixture
def strange() -> Iterator[type[Dense]]:
    """A structure that is not of this package."""

    class Strange(Dense):
        kind: Literal["strange"] = "strange"  # type: ignore[assignment]
        since: ClassVar[str] = "9.9"

    STRUCTURES.register("strange")(Strange)
    yield Strange
    items: dict[str, Any] = STRUCTURES._items
    del items["strange"]


def test_a_kind_of_no_package_is_listed_by_its_module(
    path: Path, strange: type[Dense], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strange, "__module__", "notebook.cells")
    source = tiny_source()
    encoded = Encoder(source).encode("head.bias", treat(Dense(), Float32()))[0]
    treatment = encoded.treatment.model_copy(update={"structure": strange()})
    assert needs_of([encoded.model_copy(update={"treatment": treatment})]) == {
        "autocompress 0.1.0": {"precision": ("float32",)},
        "notebook": {"structure": ("strange",)},
    }


def test_a_kind_of_a_package_is_listed_by_its_name_and_version(
    strange: type[Dense], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*, group: str, name: str) -> list[Any]:
        assert (group, name) == ("autocompress.structures", "strange")
        return [SimpleNamespace(dist=SimpleNamespace(name="acme-codes", version="1.2"))]

    monkeypatch.setattr(strange, "__module__", "acme.codes")
    monkeypatch.setattr("autocompress.artifact.needs.entry_points", found)
    encoded = Encoder(tiny_source()).encode("head.bias", treat(Dense(), Float32()))[0]
    treatment = encoded.treatment.model_copy(update={"structure": strange()})
    needs = needs_of([encoded.model_copy(update={"treatment": treatment})])
    assert needs["acme-codes 1.2"] == {"structure": ("strange",)}


def test_files_of_version_1_say_nothing_of_it() -> None:
    golden = Path(__file__).parents[1] / "golden" / "version1.acz"
    assert open_artifact(golden).contents.header.needs == {}
    recorded = json.loads(golden.with_suffix(".json").read_text(encoding="utf-8"))["plan"]
    assert open_artifact(golden).plan.dumps() == CompressionPlan.from_json(recorded).dumps()
