"""Any single flipped bit of a file is an error, or changes nothing at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.stored import Encoder, load_factors, load_source
from strategies import write_mixed

from autocompress.artifact import Artifact, open_artifact
from autocompress.artifact.container import parse_container
from autocompress.errors import ArtifactError

GOLDEN = Path(__file__).parents[1] / "golden" / "version1"
CASES = sorted(path.stem for path in GOLDEN.glob("*.acz"))
FLIPS = 100_000
NAME = Path("flipped.acz")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of files of all kinds, as they are written today."""
    folder = tmp_path_factory.mktemp("files")
    return {name: path.read_bytes() for name, path in _written(folder)}


def _written(folder: Path) -> Iterator[tuple[str, Path]]:
    yield "mixed", write_mixed(folder / "mixed.acz")
    for name in CASES:
        golden, path = open_artifact(GOLDEN / f"{name}.acz"), folder / f"{name}.acz"
        factors = GOLDEN / "factors" / f"{name}.safetensors"
        Encoder(_source(golden)).write(
            golden.plan, path, load_factors(factors) if factors.exists() else None
        )
        yield name, path


def _source(golden: Artifact) -> Any:
    found = [
        path.with_suffix("")
        for path in (GOLDEN / "sources").glob("*.json")
        if golden.source_sha256 in path.read_text(encoding="utf-8")
    ]
    return load_source(found[0])


def content(data: bytes) -> str:
    """Return a checksum of all that a file says, from its bytes."""
    return content_of(Artifact(NAME, parse_container(NAME, data)))


def content_of(artifact: Artifact) -> str:
    """Return a checksum of all that an artifact says."""
    digest = hashlib.sha256(artifact.plan.dumps().encode())
    for text in (artifact.model_config, artifact.source_sha256, artifact.report()):
        digest.update(repr(text).encode())
    for name, file in artifact.assets().items():
        digest.update(repr((name, file)).encode())
    for name, array in artifact.state_dict().items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def is_error(data: bytes, bit: int, whole: str) -> bool:
    """Flip a bit; say whether that is an error, and check that else nothing changes."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        found = content(bytes(damaged))
    except ArtifactError:
        return True
    assert found == whole, f"bit {bit} changes what is read"
    return False


def test_flipped_bits_are_errors(files: dict[str, bytes]) -> None:
    generator = np.random.default_rng(0)
    whole = {name: content(data) for name, data in files.items()}
    names, errors = list(files), 0
    for number in range(FLIPS):
        name = names[number % len(names)]
        bit = int(generator.integers(8 * len(files[name])))
        errors += is_error(files[name], bit, whole[name])
    assert errors == FLIPS


@pytest.mark.slow
def test_every_flipped_bit_is_an_error(files: dict[str, bytes]) -> None:
    for data in files.values():
        whole = content(data)
        assert all(is_error(data, bit, whole) for bit in range(8 * len(data)))


def test_a_damaged_file_says_so_on_one_line(files: dict[str, bytes]) -> None:
    data = files["tied"]
    end = 8 + int.from_bytes(data[:8], "little")
    for bit in range(8 * end):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtifactError) as caught:
            parse_container(NAME, bytes(damaged))
        assert len(str(caught.value).splitlines()) == 1


def test_all_that_a_file_says_is_compared(files: dict[str, bytes]) -> None:
    assert len({content(data) for data in files.values()}) == len(files)
    artifact = Artifact(NAME, parse_container(NAME, files["tied"]))
    other = replace(artifact.contents, buffers={":buffer:flag": np.array(False)})
    assert content_of(Artifact(NAME, other)) != content_of(artifact)
