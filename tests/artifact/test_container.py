"""Hostile and damaged files: an error that says so, or a decoding of the right shapes.

Both format versions are tried. Files are rewritten by the safetensors library, not by ours.
"""

from __future__ import annotations

import copy
import json
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from platforms import needs_posix
from strategies import tiny_source, write_mixed

from autocompress.artifact import Artifact, assets, open_artifact
from autocompress.artifact.assets import pack_asset
from autocompress.artifact.buffers import unpack_buffers
from autocompress.artifact.container import Contents, read_container, write_container
from autocompress.errors import ArtifactError
from autocompress.precisions import Float32
from autocompress.structures import Dense

Document = dict[str, Any]
Tensors = dict[str, NDArray[Any]]
FILE_NAME = "model.acz"
SHAPES = {
    name: array.shape
    for name, array in [
        *((n, w.values) for n, w in tiny_source().weights.weights.items()),
        *tiny_source().weights.buffers.items(),
    ]
}


GOLDEN = Path(__file__).parents[1] / "golden" / "version1.acz"
BLANK = "00000000"


@pytest.fixture(scope="module", params=[1, 2], ids=["version1", "version2"])
def valid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a file that uses everything, in either version."""
    if request.param == 1:
        return GOLDEN.read_bytes()
    return write_mixed(tmp_path_factory.mktemp("valid") / FILE_NAME).read_bytes()


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a file that uses everything, as it is written today."""
    return write_mixed(tmp_path_factory.mktemp("newest") / FILE_NAME).read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def use(artifact: Artifact) -> dict[str, NDArray[Any]]:
    """Ask an artifact for everything that it can tell."""
    artifact.report()
    artifact.accounting()
    artifact.plan.dumps()
    artifact.assets()
    return artifact.state_dict()


def assert_refused_or_right(path: Path) -> None:
    """Only an ArtifactError, or arrays of the shapes of the model, may come of a damaged file."""
    try:
        state = use(open_artifact(path))
    except ArtifactError:
        return
    for name, array in state.items():
        if name in SHAPES:
            assert array.shape == SHAPES[name]


def header_of(tensors: Tensors) -> Document:
    document: Document = json.loads(zlib.decompress(tensors[":header"].tobytes()))
    return document


def as_bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def version_of(data: bytes) -> str:
    """What the metadata of a valid file say, without a checksum."""
    return "1" if b'{"autocompress":"1"}' in data[:80] else f"2 {BLANK}"


def sealed(data: bytes) -> bytes:
    """Return a file of version 2 with a checksum that matches; others as they are."""
    place = data.find(f'"2 {BLANK}"'.encode(), 0, 80) + 3
    checksum = f"{zlib.crc32(data):08x}".encode()
    return data if place < 3 else data[:place] + checksum + data[place + 8 :]


def save(path: Path, tensors: Tensors, version: str) -> Path:
    path.write_bytes(sealed(safetensors.numpy.save(tensors, metadata={"autocompress": version})))
    return path


def rewrite(path: Path, valid: bytes, change: Callable[[Document, Tensors], object]) -> Path:
    """Write a valid file whose header or tensors were changed."""
    tensors: Tensors = dict(safetensors.numpy.load(valid))
    document = header_of(tensors)
    change(document, tensors)
    if ":header" in tensors:
        tensors[":header"] = as_bytes(zlib.compress(json.dumps(document).encode()))
    return save(path, tensors, version_of(valid))


def set_data(document: Document, tensors: Tensors, name: str, data: bytes) -> None:
    """Give an item other bytes and, where it has one, the checksum to match."""
    tensors[name] = as_bytes(data)
    if "crc32" in item(document, name):
        item(document, name)["crc32"] = zlib.crc32(data)


def item(document: Document, name: str) -> Document:
    found: Document = next(entry for entry in document["items"] if entry["name"] == name)
    return found


# Files that are no artifact at all


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0", id="one byte"),
        pytest.param(bytes(8), id="no header"),
        pytest.param(b"\xff" * 64, id="endless header"),
        pytest.param(b"PK\3\4" + bytes(100), id="zip"),
        pytest.param(np.random.default_rng(0).bytes(5000), id="random"),
        pytest.param(struct.pack("<Q", 2) + b"{}", id="no tensors"),
        pytest.param(struct.pack("<Q", 4) + b"null", id="null"),
    ],
)
def test_other_files_are_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.acz' is not an artifact|but not an auto"):
        open_artifact(path)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read artifact .*model\.acz': No such file"):
        open_artifact(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read artifact"):
        open_artifact(tmp_path)


@needs_posix
@pytest.mark.parametrize("name", ["/dev/null", "/dev/zero", "pipe"])
def test_what_is_no_ordinary_file_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match=r"cannot read artifact .*: it is no ordinary file"):
        open_artifact(tmp_path / name)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"cannot read artifact 'a\\x00b': embedded null byte"):
        open_artifact("a\0b")


def test_a_foreign_safetensors_file_is_said_to_be_one(path: Path) -> None:
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(3)}, metadata={"format": "pt"}))
    with pytest.raises(ArtifactError, match="is a safetensors file, but not an autocompress"):
        open_artifact(path)


OTHER_VERSIONS = ["3", "3 00000000", "0", "x", "", "-1", "1.0", "٣", "9" * 5000, "1 ", "20", "22 "]


@pytest.mark.parametrize("version", OTHER_VERSIONS)
def test_other_versions_are_refused_with_a_remedy(path: Path, valid: bytes, version: str) -> None:
    save(path, dict(safetensors.numpy.load(valid)), version)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path)
    message = str(caught.value)
    assert message.startswith(f"'{path}' has format version '{version}'")
    assert message.endswith("this package reads versions 1 to 2; upgrade autocompress")


@pytest.mark.parametrize("version", ["2", "2 ", "2 0", "2 000000000", "2 x"])
def test_version_2_without_a_checksum_is_refused(path: Path, newest: bytes, version: str) -> None:
    save(path, dict(safetensors.numpy.load(newest)), version)
    with pytest.raises(ArtifactError, match=r"its checksum (is not in its place|does not match)"):
        open_artifact(path)


@pytest.mark.parametrize("other", [b"XXXXXXXX", b"0x123456", b"        ", BLANK.encode()])
def test_a_checksum_is_compared_as_text(path: Path, newest: bytes, other: bytes) -> None:
    assert newest[8:43] == b'{"__metadata__":{"autocompress":"2 '
    path.write_bytes(newest[:43] + other + newest[51:])
    with pytest.raises(ArtifactError, match="its checksum does not match; copy it again"):
        open_artifact(path)
    path.write_bytes(newest[:43] + newest[43:51].upper() + newest[51:])
    if newest[43:51].isdigit():
        open_artifact(path)
        return
    with pytest.raises(ArtifactError, match="its checksum does not match"):
        open_artifact(path)


def test_a_checksum_elsewhere_is_refused(path: Path, newest: bytes) -> None:
    path.write_bytes(newest.replace(b'{"__metadata__"', b' {"__metadata__"', 1)[:-1])
    with pytest.raises(ArtifactError):
        open_artifact(path)
    table = json.dumps({"__metadata__": {"autocompress": "2 00000000"}}).encode()
    path.write_bytes(sealed(struct.pack("<Q", len(table)) + table))
    with pytest.raises(ArtifactError, match="its checksum is not in its place"):
        open_artifact(path)


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_types_that_numpy_lacks_are_refused(path: Path, dtype: str, taught: bool) -> None:
    if taught:
        import_module("onnx")  # brings types of its own for numpy
    header: Document = {
        "__metadata__": {"autocompress": "1"},
        ":buffer:a": {"dtype": dtype, "shape": [], "data_offsets": [0, 1 + (dtype == "BF16")]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(1 + (dtype == "BF16")))
    with pytest.raises(ArtifactError, match="is not an artifact"):
        open_artifact(path)


# Headers


def test_a_missing_header_is_said(path: Path, valid: bytes) -> None:
    rewrite(path, valid, lambda _, tensors: tensors.pop(":header"))
    with pytest.raises(ArtifactError, match="its header is missing"):
        open_artifact(path)


def bomb(size: int) -> bytes:
    return zlib.compress(b" " * size, 9)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"not zlib", "cannot be read", id="not zlib"),
        pytest.param(b"", "cannot be read", id="empty"),
        pytest.param(zlib.compress(b"{}" * 999)[:-6], "cannot be read", id="truncated"),
        pytest.param(bomb(2**27), "cannot be read: incomplete, or longer than", id="bomb"),
        pytest.param(zlib.compress(b"{"), "invalid", id="not JSON"),
        pytest.param(zlib.compress(b"\xff\xfe"), "invalid", id="not UTF-8"),
        pytest.param(zlib.compress(b"[]"), "invalid", id="list"),
        pytest.param(zlib.compress(b"{}"), "source_sha256: Field required", id="no keys"),
        pytest.param(zlib.compress(b"[" * 10**6), "invalid", id="deep"),
        pytest.param(
            zlib.compress(b'{"source_sha256":"","model":{},"items":[' + b"0," * 10**6 + b"0]}"),
            "items.0",
            id="many wrong items",
        ),
        pytest.param(
            zlib.compress(b'{"items":[{"factors":{"a":[' + b"0," * 10**6 + b"0]}}]}"),
            "and [0-9] more",
            id="many wrong streams",
        ),
    ],
)
def test_a_broken_header_is_said(path: Path, valid: bytes, data: bytes, reason: str) -> None:
    tensors: Tensors = dict(safetensors.numpy.load(valid))
    save(path, {**tensors, ":header": as_bytes(data)}, version_of(valid))
    with pytest.raises(ArtifactError, match=f"is damaged: its header .*{reason}"):
        open_artifact(path)


def test_a_deep_description_of_the_model_is_refused(path: Path, valid: bytes) -> None:
    tensors: Tensors = dict(safetensors.numpy.load(valid))
    nested = b'{"a":' * 10**5 + b"1" + b"}" * 10**5
    text = b'{"source_sha256":"","items":[],"model":' + nested + b"}"
    save(path, {**tensors, ":header": as_bytes(zlib.compress(text))}, version_of(valid))
    with pytest.raises(ArtifactError, match="header is invalid"):
        open_artifact(path)


def set_stream(**values: object) -> Callable[[Document, Tensors], None]:
    """Return a change of the codes of the embedding."""

    def change(document: Document, tensors: Tensors) -> None:
        del tensors
        item(document, "embedding.weight")["factors"]["weight"][0].update(values)

    return change


def set_item(name: str, /, **values: object) -> Callable[[Document, Tensors], None]:
    def change(document: Document, tensors: Tensors) -> None:
        del tensors
        item(document, name).update(values)

    return change


def set_shape(*shape: int) -> Callable[[Document, Tensors], None]:
    def change(document: Document, tensors: Tensors) -> None:
        del tensors
        item(document, "embedding.weight")["members"][0]["shape"] = list(shape)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(set_stream(length=10**6), "streams add up to", id="length"),
        pytest.param(set_stream(length=-1), "greater than or equal to 0", id="negative length"),
        pytest.param(set_stream(shape=[-3, 6]), "greater than or equal to 1", id="negative shape"),
        pytest.param(set_stream(shape=[0, 6]), "greater than or equal to 1", id="zero shape"),
        pytest.param(set_stream(shape=[2**39, 2**39]), "claim to hold", id="huge stream"),
        pytest.param(set_stream(shape=[2**22, 1]), "claim to hold", id="tall stream"),
        pytest.param(set_stream(shape=[1, 2**22]), "claim to hold", id="wide stream"),
        pytest.param(set_stream(shape=[2**40, 1]), "less than", id="huger stream"),
        pytest.param(set_stream(shape=[10**400, 1]), "header", id="hugest stream"),
        pytest.param(set_stream(shape=[17, 6, 1]), "header is invalid", id="three axes"),
        pytest.param(set_stream(hue=1), "hue: Extra inputs", id="unknown key"),
        pytest.param(set_shape(2**39, 2**39, 2**39), "claim to hold", id="huge weight"),
        pytest.param(set_shape(2**14, 2**13), "claim to hold", id="large weight"),
        pytest.param(set_shape(0, 6), "greater than or equal to 1", id="empty weight"),
        pytest.param(set_shape(*[1] * 65), "at most 64", id="too many axes"),
        pytest.param(set_item("head.bias", members=[]), "at least 1 item", id="no members"),
        pytest.param(set_item("head.bias", name="x"), "item 'x' is missing", id="missing item"),
        pytest.param(set_item("head.bias", name=":header"), "is missing", id="header as item"),
        pytest.param(
            set_item("head.bias", crc32="x"),
            "crc32: (Input should be|Extra inputs)",
            id="checksum of no number",
        ),
        pytest.param(
            set_item("head.bias", crc32=1),
            "(the checksum of item 'head.bias' does not match|crc32: Extra inputs)",
            id="checksum",
        ),
        pytest.param(set_item("head.bias", treatment={}), "structure: Field required", id="none"),
        pytest.param(lambda document, _: document.pop("items"), "items: Field", id="no items"),
    ],
)
def test_promises_that_the_file_cannot_keep_are_refused_on_opening(
    path: Path, valid: bytes, change: Callable[[Document, Tensors], object], reason: str
) -> None:
    rewrite(path, valid, change)
    with pytest.raises(ArtifactError, match=f"model.acz' is damaged: .*{reason}"):
        open_artifact(path)


def test_an_item_of_another_type_is_refused(path: Path, valid: bytes) -> None:
    def change(document: Document, tensors: Tensors) -> None:
        del document
        tensors["head.bias"] = tensors["head.bias"].view(np.float32)

    rewrite(path, valid, change)
    with pytest.raises(ArtifactError, match=r"item 'head\.bias' is missing"):
        open_artifact(path)


# Items


def drop_factor(document: Document, tensors: Tensors) -> None:
    site = item(document, "h:lstm.l0")
    lost = sum(stream["length"] for stream in site["factors"].pop("right"))
    set_data(document, tensors, "h:lstm.l0", tensors["h:lstm.l0"][:-lost].tobytes())


def set_structure(**values: object) -> Callable[[Document, Tensors], None]:
    def change(document: Document, tensors: Tensors) -> None:
        del tensors
        item(document, "embedding.weight")["treatment"]["structure"] = values

    return change


def set_precision(name: str, /, **values: object) -> Callable[[Document, Tensors], None]:
    def change(document: Document, tensors: Tensors) -> None:
        del tensors
        item(document, name)["treatment"]["precision"] = values

    return change


def widen_member(document: Document, tensors: Tensors) -> None:
    del tensors
    item(document, "h:lstm.l0")["members"][1]["shape"] = [24, 7]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(set_stream(coder="zip"), "unknown coder 'zip'", id="unknown coder"),
        pytest.param(set_stream(coder="f4"), "cannot be decoded", id="floats for integers"),
        pytest.param(set_stream(name="numbers"), "cannot be decoded: .*codes", id="no codes"),
        pytest.param(set_stream(name="mask"), "cannot be decoded", id="mask for codes"),
        pytest.param(set_stream(shape=[1, 101]), "cannot be decoded", id="too few codes"),
        pytest.param(set_stream(shape=[17, 7]), "cannot be decoded", id="too many codes"),
        pytest.param(set_shape(18, 6), "cannot be decoded", id="more rows"),
        pytest.param(set_structure(kind="low_rank", rank=7), "rank=7", id="rank"),
        pytest.param(set_structure(kind="low_rank", rank=2), "'left'", id="factor missing"),
        pytest.param(set_structure(kind="pruned", sparsity=1e-9), "prunes 0", id="prunes nothing"),
        pytest.param(drop_factor, "'right'", id="factor dropped"),
        pytest.param(widen_member, "equal widths", id="members of different widths"),
        pytest.param(
            set_precision("head.bias", kind="uniform", bits=4), "'codes'", id="stream missing"
        ),
        pytest.param(
            set_precision("lstm.bias_ih_l0", kind="uniform", bits=4, group=2),
            r"groups of shape \(1, 12\) are needed",
            id="other groups",
        ),
        pytest.param(
            set_precision("embedding.weight", kind="float16"), "'values'", id="other precision"
        ),
    ],
)
def test_items_that_do_not_decode_are_named(
    path: Path, valid: bytes, change: Callable[[Document, Tensors], object], reason: str
) -> None:
    rewrite(path, valid, change)
    artifact = open_artifact(path)
    with pytest.raises(ArtifactError, match=f"item '.*{reason}"):
        artifact.state_dict()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_items_that_decode_to_no_numbers_are_refused(
    path: Path, valid: bytes, value: float
) -> None:
    def change(document: Document, tensors: Tensors) -> None:
        set_data(document, tensors, "head.bias", np.full(4, value, dtype="<f4").tobytes())

    rewrite(path, valid, change)
    with pytest.raises(ArtifactError, match=r"'head\.bias' is damaged: it decodes to NaN or inf"):
        open_artifact(path).state_dict()


def test_integers_in_place_of_floats_become_floats(path: Path, valid: bytes) -> None:
    def change(document: Document, tensors: Tensors) -> None:
        data = bytes(8) + b"\2" + b"\xe4"  # 0, 1, 2, 3 in two bits
        set_data(document, tensors, "head.bias", data)
        stream = item(document, "head.bias")["factors"]["weight"][0]
        stream.update(coder="packed", length=len(data))

    state = open_artifact(rewrite(path, valid, change)).state_dict()
    assert state["head.bias"].dtype == np.float32


# Assets


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, b"\x01", pack_asset(b"abc" * 99)[:-1]])
def test_damaged_assets_are_named(path: Path, valid: bytes, data: bytes) -> None:
    rewrite(path, valid, lambda _, tensors: tensors.update({":asset:vocab.txt": as_bytes(data)}))
    artifact = open_artifact(path)
    with pytest.raises(ArtifactError, match=r"asset 'vocab\.txt' is damaged"):
        artifact.assets()


@pytest.mark.parametrize("sizes", [[2**21], [2**19, 2**19, 2**19]], ids=["one", "several"])
def test_assets_that_swell_beyond_the_limit_are_refused(
    path: Path, valid: bytes, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "MAX_ASSET_BYTES", 2**20)
    bombs = {
        f":asset:{number}": as_bytes(pack_asset(bytes(size))) for number, size in enumerate(sizes)
    }
    rewrite(path, valid, lambda _, tensors: tensors.update(bombs))
    with pytest.raises(ArtifactError, match="beyond 1048576 bytes"):
        open_artifact(path).assets()


def test_assets_of_another_compression_are_refused(path: Path, valid: bytes) -> None:
    data = as_bytes(lzma.compress(b"abc" * 99))
    rewrite(path, valid, lambda _, tensors: tensors.update({":asset:vocab.txt": data}))
    with pytest.raises(ArtifactError, match=r"asset 'vocab\.txt' is damaged"):
        open_artifact(path).assets()


# Damage at random


def test_a_file_cut_anywhere_is_refused(path: Path, valid: bytes) -> None:
    for length in range(0, len(valid), 13):
        path.write_bytes(valid[:length])
        with pytest.raises(ArtifactError):
            use(open_artifact(path))


def test_a_file_with_something_appended_is_refused(path: Path, valid: bytes) -> None:
    path.write_bytes(valid + b"more")
    with pytest.raises(ArtifactError):
        open_artifact(path)


@pytest.mark.parametrize("seed", range(4))
def test_changed_bytes_are_refused_or_harmless(path: Path, valid: bytes, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for place in generator.integers(len(valid), size=500):
        damaged = bytearray(valid)
        damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        assert_refused_or_right(path)


@pytest.mark.parametrize("seed", range(4))
def test_damage_under_a_checksum_that_matches_is_refused_or_harmless(
    path: Path, newest: bytes, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    whole = newest[:43] + BLANK.encode() + newest[51:]
    for place in generator.integers(51, len(whole), size=500):
        damaged = bytearray(whole)
        damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(sealed(bytes(damaged)))
        assert_refused_or_right(path)


def leaves(node: Any, trail: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value of a JSON document, objects and lists included."""
    yield trail
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*trail, key))


STRANGE: tuple[Any, ...] = (
    None,
    -1,
    0,
    1,
    2,
    2**20,
    2**39,
    10**30,
    0.5,
    1e308,
    "",
    "f4",
    "packed",
    [],
    {},
    True,
)


def test_strange_values_in_the_header_are_refused_or_harmless(path: Path, valid: bytes) -> None:
    tensors: Tensors = dict(safetensors.numpy.load(valid))
    original = header_of(tensors)
    generator = np.random.default_rng(6)
    ways = [way for way in leaves(original) if way]
    for way in ways:
        document = copy.deepcopy(original)
        parent = document
        for key in way[:-1]:
            parent = parent[key]
        for strange in generator.choice(len(STRANGE), size=2, replace=False):
            parent[way[-1]] = STRANGE[strange]
            text = json.dumps(document).encode()
            packed = as_bytes(zlib.compress(text, 1))
            save(path, {**tensors, ":header": packed}, version_of(valid))
            try:
                use(open_artifact(path))
            except ArtifactError:
                continue


def forged(contents: Contents, name: str, data: bytes) -> Artifact:
    """Return an artifact with other bytes in an item, as if its checksum matched."""
    changed = replace(contents, items={**contents.items, name: as_bytes(data)})
    return Artifact(Path("forged"), changed)


NAMES = [
    "embedding.weight",
    "h:lstm.l0",
    "lstm.weight_ih_l0",
    "lstm.weight_hh_l1",
    "convolution.weight",
    "decoder.bias",
    "lstm.bias_ih_l0",
    "norm.weight",
]


@pytest.mark.parametrize("name", NAMES)
def test_forged_bytes_are_refused_or_decode_to_the_shape(
    path: Path, newest: bytes, name: str
) -> None:
    path.write_bytes(newest)
    contents = read_container(path)
    data = contents.items[name].tobytes()
    only = replace(
        contents,
        header=contents.header.model_copy(
            update={"items": tuple(i for i in contents.header.items if i.name == name)}
        ),
    )
    for place in range(len(data)):
        for value in (data[place] ^ 1, data[place] ^ 128, 255 - data[place]):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                state = forged(only, name, damaged).state_dict()
            except ArtifactError:
                continue
            assert all(array.shape == SHAPES.get(key, array.shape) for key, array in state.items())
            assert all(np.isfinite(array).all() for array in state.values())


# Writing


def test_a_failed_write_leaves_the_old_file(path: Path, valid: bytes) -> None:
    path.write_bytes(valid)
    contents = read_container(path)
    with pytest.raises(TypeError):
        write_container(path, contents.header, {"a": None}, {}, {})  # type: ignore[dict-item]
    assert path.read_bytes() == valid


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_read_is_written_again_as_version_2(
    path: Path, version: int, tmp_path: Path
) -> None:
    newest = GOLDEN.with_name("version2.acz").read_bytes()
    path.write_bytes(GOLDEN.with_name(f"version{version}.acz").read_bytes())
    contents = read_container(path)
    items = {name: array.tobytes() for name, array in contents.items.items()}
    files = assets.unpack_assets(contents.assets)
    buffers = unpack_buffers(contents.buffers)
    write_container(tmp_path / "again", contents.header, items, files, buffers)
    assert (tmp_path / "again").read_bytes() == newest


def test_the_treatment_in_the_file_is_the_treatment(path: Path, valid: bytes) -> None:
    path.write_bytes(valid)
    treatments = {entry.name: entry.treatment for entry in read_container(path).header.items}
    assert (treatments["head.bias"].structure, treatments["head.bias"].precision) == (
        Dense(),
        Float32(),
    )
