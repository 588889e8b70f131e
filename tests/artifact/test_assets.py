"""Files in artifacts: each in the kind that takes fewer bytes, and refused where damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from strategies import tiny_source

from autocompress.artifact import assets as module
from autocompress.artifact import open_artifact
from autocompress.artifact.assets import kinds_of, pack_asset, pack_assets, unpack_assets
from autocompress.artifact.needs import lacking
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import ArtifactError

WORDS = "".join(f"{a}{b}{c}\n" for a in ("un", "re", "") for b in "mnprst" for c in range(60))
FILES = {
    "vocab.txt": WORDS.encode(),
    "short.txt": b"a\nb\n",
    "binary": bytes(range(256)) * 9,
    "nothing": b"",
    "again": b"the same line\n" * 300,
}


def test_files_come_back_and_lines_take_fewer_bytes() -> None:
    stored = pack_assets(FILES)
    assert kinds_of(stored) == {"lines"}
    assert list(stored) == [":lines:vocab.txt", *(f":asset:{name}" for name in [*FILES][1:])]
    assert unpack_assets(stored) == FILES
    assert stored[":lines:vocab.txt"].size + 64 < len(pack_asset(FILES["vocab.txt"]))


def test_lines_that_would_save_little_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing that is kept of other files may answer.
    module._smallest.cache_clear()
    monkeypatch.setattr(module, "_WORTH", len(FILES["vocab.txt"]))
    assert list(pack_assets({"vocab.txt": FILES["vocab.txt"]})) == [":asset:vocab.txt"]
    module._smallest.cache_clear()


def test_what_a_file_takes_says_what_it_needs(tmp_path: Path) -> None:
    source = replace(tiny_source(), assets=FILES)
    path = tmp_path / "x.acz"
    Encoder(source).write(uncompressed_plan(source), path)
    artifact = open_artifact(path)
    assert artifact.assets() == FILES
    assert artifact.contents.header.needs["autocompress 0.1.0"]["asset"] == ("lines",)
    stored = sum(tensor.nbytes for tensor in artifact.contents.assets.values())
    assert artifact.accounting()["assets"] == stored


def test_a_reader_that_lacks_a_kind_of_file_says_who_has_it() -> None:
    assert lacking({"autocompress 0.1.0": {"asset": ("lines",)}}) is None
    missing = lacking({"autocompress 0.9.0": {"asset": ("lines", "pictures")}})
    assert missing is not None
    assert missing.startswith("needs asset 'pictures', which autocompress 0.9.0 has")


def test_a_file_that_is_there_twice_is_refused() -> None:
    stored = pack_assets({"vocab.txt": FILES["vocab.txt"]})
    stored[":asset:vocab.txt"] = np.frombuffer(pack_asset(b"a\n"), np.uint8)
    with pytest.raises(ArtifactError, match=r"asset 'vocab\.txt' is there twice"):
        unpack_assets(stored)


@pytest.mark.parametrize("data", [b"", b"\xff" * 99, b"\0" * 99])
def test_damaged_lines_are_named(data: bytes) -> None:
    with pytest.raises(
        ArtifactError, match=r"^asset 'a\.txt' is damaged: .*; copy the file again$"
    ):
        unpack_assets({":lines:a.txt": np.frombuffer(data, np.uint8)})


def test_files_of_lines_are_few_bytes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    data = FILES["vocab.txt"]
    stored = pack_assets({"vocab.txt": data})[":lines:vocab.txt"]
    monkeypatch.setattr(module, "MAX_LINES_BYTES", 2 * len(data))
    three = {":lines:1": stored, ":lines:2": stored, ":lines:3": stored}
    with pytest.raises(ArtifactError, match="asset '3' is damaged: it claims to become"):
        unpack_assets(three)
    packed = pack_assets(dict.fromkeys("123", data))
    assert list(packed) == [":lines:1", ":lines:2", ":asset:3"]
    assert unpack_assets(packed) == dict.fromkeys("123", data)
