"""docs/format.md is true: its example, and a reader written from it alone."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifact.independent_reader import read
from strategies import write_mixed

from autocompress.artifact import open_artifact
from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights, Weight
from autocompress.plan import CompressionPlan

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
CASES = sorted((ROOT / "tests" / "golden").rglob("*.acz"))
_OWN_PRODUCTS = {"low_rank", "group_reduce", "tensor_train"}


def block(name: str) -> str:
    """Return the text of a fenced block of the document."""
    found = re.findall(rf"^```\w+ {name}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def example() -> bytes:
    """Return the bytes of the hexadecimal dump, whose lines say where they begin."""
    data = b""
    for line in block("file").splitlines():
        offset, digits = line.split("  ")
        assert int(offset) == len(data)
        data += bytes.fromhex(digits)
    return data


def annotated() -> list[tuple[int, int, str, str]]:
    """Return offset, length, bytes and text of each annotated field."""
    pattern = r"^\| (\d+) \| (\d+) \| (?:`([0-9a-f ]+)`)? *\| (.*) \|$"
    found = re.findall(pattern, DOCUMENT.split("| offset |")[1], re.MULTILINE)
    return [(int(first), int(size), digits, text) for first, size, digits, text in found]


def made_from() -> tuple[Source, CompressionPlan]:
    """Return what the document says the example was made from."""
    made = json.loads(block("made-from"))
    weights = {
        name: Weight(name, (), "other", np.array(values, dtype=np.float32))
        for name, values in made["weights"].items()
    }
    buffers = {name: np.array(values, np.int16) for name, values in made["buffers"].items()}
    assets = {name: text.encode() for name, text in made["assets"].items()}
    source = Source(
        ModelWeights(weights, buffers, made["source_sha256"]),
        Calibration({}, (), {}),
        made["model"],
        assets,
    )
    return source, CompressionPlan.from_json({"treatments": made["plan"]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "example.acz"
    path.write_bytes(example())
    return path


def test_the_example_is_an_artifact_of_what_the_document_says(path: Path) -> None:
    artifact, (source, plan) = open_artifact(path), made_from()
    assert artifact.plan == plan
    assert artifact.assets() == source.assets
    assert artifact.model_config == source.model_config
    decoded = {name: array.tolist() for name, array in artifact.state_dict().items()}
    assert decoded == json.loads(block("decoded"))


def test_the_example_is_what_is_written(path: Path) -> None:
    source, plan = made_from()
    Encoder(source).write(plan, path)
    assert path.read_bytes() == example()


def test_annotations_are_true_and_cover_the_file() -> None:
    data, end = example(), 0
    for first, size, digits, _ in annotated():
        assert first == end
        end = first + size
        if digits:
            assert bytes.fromhex(digits) == data[first:end]
    assert end == len(data)
    assert sum(bool(digits) for _, _, digits, _ in annotated()) >= 18


def test_annotated_tensors_lie_where_the_table_says() -> None:
    data = example()
    start = 8 + int.from_bytes(data[:8], "little")
    assert data[8:start].decode().rstrip(" ") == block("table").strip()
    fields = annotated()
    for name, entry in json.loads(block("table")).items():
        if name == "__metadata__":
            assert f"the checksum, {entry['autocompress'][2:]}, in ASCII" == fields[2][3]
            continue
        first = start + entry["data_offsets"][0]
        assert any(first == field[0] and f"`{name}`" in field[3] for field in fields)


def test_the_header_is_what_the_document_says(path: Path) -> None:
    packed = open_artifact(path).contents
    table = json.loads(block("table"))
    first, last = table[":header"]["data_offsets"]
    start = 8 + int.from_bytes(example()[:8], "little")
    text = zlib.decompress(example()[start + first : start + last]).decode()
    assert text == block("header").strip()
    assert packed.header.model_dump_json() == text


def test_annotated_streams_lie_where_the_header_says() -> None:
    start = 8 + int.from_bytes(example()[:8], "little")
    table, fields = json.loads(block("table")), annotated()
    for item in json.loads(block("header"))["items"]:
        offset = start + table[item["name"]]["data_offsets"][0]
        for record in item["factors"]["weight"]:
            texts = [text for first, _, _, text in fields if first == offset]
            assert len(texts) == 1
            assert f"stream `{record['name']}`" in texts[0]
            offset += record["length"]


def test_the_steps_of_decoding_are_true() -> None:
    bounds = [int(text) for text in re.findall(r"c = (\d+), (\d+), (\d+) and", DOCUMENT)[0]]
    bounds.append(2**24)
    steps = re.findall(r"^\| (\d{9,}) \| (\d+) \| (-?\d) \| (\d+) \|$", DOCUMENT, re.MULTILINE)
    assert len(steps) == 4
    x = 72 * 2**32 + 544432692
    for before, quantile, integer, after in (map(int, step) for step in steps):
        assert (before, quantile) == (x, x % 2**24)
        symbol = integer + 1
        assert bounds[symbol] <= quantile < bounds[symbol + 1]
        x = (x >> 24) * (bounds[symbol + 1] - bounds[symbol]) + quantile - bounds[symbol]
        assert x == after


def assert_reads_alike(path: Path) -> None:
    """Compare what the independent reader reads with what the package does."""
    state, assets, header = read(path.read_bytes())
    artifact = open_artifact(path)
    assert assets == artifact.assets()
    assert header["model"] == artifact.model_config
    ours = artifact.state_dict()
    assert state.keys() == ours.keys()
    products = {
        name
        for item in artifact.contents.header.items
        if item.treatment.structure.base.kind in _OWN_PRODUCTS
        for member in item.members
        for name in (member.name, *member.aliases)
    }
    for name, array in ours.items():
        theirs: Any = state[name]
        assert (theirs.dtype, theirs.shape) == (array.dtype, array.shape)
        if name in products:
            scale = float(np.abs(array).max())
            np.testing.assert_allclose(theirs, array, rtol=0, atol=1e-5 * scale)
        else:
            np.testing.assert_array_equal(theirs, array)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_reader_written_from_the_document_reads_the_same(path: Path) -> None:
    assert_reads_alike(path)


def test_such_a_reader_reads_what_is_written_today(tmp_path: Path) -> None:
    assert_reads_alike(write_mixed(tmp_path / "mixed.acz"))
