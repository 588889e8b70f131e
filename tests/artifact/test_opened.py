"""Artifacts: what an opened file tells, and that it opens with numpy alone."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from strategies import TinyTask, mixed_plan, tiny_source, write_mixed

from autocompress.artifact import Artifact, WeightReport, open_artifact, opened
from autocompress.artifact.decoding import decode_factors
from autocompress.artifact.records import ItemRecord
from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.structures import Matrix

READ_ALONE = """
import hashlib, json, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "optuna", "mlflow", "pandas", "matplotlib"):
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Block())
from autocompress import open_artifact
state = open_artifact(sys.argv[1]).state_dict()
sums = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in state.items()}
print(json.dumps(sums))
"""

WRITE_ALONE = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from strategies import write_mixed
write_mixed(pathlib.Path(sys.argv[1]))
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return open_artifact(write_mixed(tmp_path / "model.acz"))


def report_of(artifact: Artifact) -> dict[str, WeightReport]:
    return {line.name: line for line in artifact.report()}


def run_alone(program: str, *arguments: str, **environment: str) -> str:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), **environment}
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_size_is_that_of_the_file_on_disk(artifact: Artifact) -> None:
    assert artifact.size_bytes == artifact.path.stat().st_size


def test_the_accounting_adds_up_to_the_file(artifact: Artifact) -> None:
    assert sum(artifact.accounting().values()) == artifact.path.stat().st_size


def test_the_accounting_names_all_parts(artifact: Artifact) -> None:
    account = artifact.accounting()
    assert list(account) == ["weights", "assets", "buffers", "header"]
    assert account["buffers"] == 5 * 4 + 4 + 8 + 2 * 6 * 4
    assert min(account.values()) > 0


def test_the_report_adds_up_to_the_bytes_of_the_weights(artifact: Artifact) -> None:
    total = sum(line.size_bytes for line in artifact.report())
    assert total == pytest.approx(artifact.accounting()["weights"])


def test_the_report_covers_every_weight(artifact: Artifact) -> None:
    assert set(report_of(artifact)) == set(tiny_source().weights.weights)


def test_the_report_tells_shapes_and_aliases(artifact: Artifact) -> None:
    weights = tiny_source().weights.weights
    for name, line in report_of(artifact).items():
        assert (line.shape, line.aliases) == (weights[name].values.shape, weights[name].aliases)


def test_the_report_counts_bits_per_weight(artifact: Artifact) -> None:
    for line in artifact.report():
        assert line.bits_per_weight == pytest.approx(8 * line.size_bytes / np.prod(line.shape))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "embedding.weight",
            (
                None,
                "dense",
                "bits, entropy-constrained, finer for frequent rows",
                {"packed", "entropy"},
            ),
        ),
        ("lstm.weight_ih_l1", ("h:lstm.l0", "rank 2", "fp16", {"raw"})),
        ("convolution.weight", (None, "30% zeros", "fp16", {"packed", "entropy"})),
        ("head.bias", (None, "dense", "fp32", {"raw"})),
    ],
)
def test_the_report_names_the_treatment(
    artifact: Artifact, name: str, expected: tuple[str | None, str, str, set[str]]
) -> None:
    line = report_of(artifact)[name]
    assert (line.site, line.structure) == expected[:2]
    assert line.precision.removeprefix(f"{line.bits_per_weight:.1f} ") == expected[2]
    assert set(line.coder.split("+")) <= expected[3]


def test_members_of_a_site_share_its_bytes_by_rows(artifact: Artifact) -> None:
    report = report_of(artifact)
    sizes = [report[name].size_bytes for name in ("lstm.weight_hh_l0", "lstm.weight_ih_l1")]
    assert sizes == [2 * (48 * 2 + 2 * 6) / 2] * 2


def test_weights_stored_raw_take_four_bytes_each(tmp_path: Path) -> None:
    source = tiny_source()
    Encoder(source).write(uncompressed_plan(source), tmp_path / "model.acz")
    report = open_artifact(tmp_path / "model.acz").report()
    assert {line.bits_per_weight for line in report} == {32}


def test_the_plan_comes_back_from_the_file(artifact: Artifact) -> None:
    assert artifact.plan.dumps() == mixed_plan().dumps()


def test_the_description_of_the_model_comes_back(artifact: Artifact) -> None:
    assert artifact.model_config == {"architecture": "tiny", "sizes": [6, 17]}


def test_assets_come_back(artifact: Artifact) -> None:
    assert artifact.assets() == TinyTask().assets()


def test_the_source_is_identified(artifact: Artifact) -> None:
    assert artifact.source_sha256 == tiny_source().weights.sha256


def test_decoding_twice_gives_equal_arrays(artifact: Artifact) -> None:
    first, second = artifact.state_dict(), artifact.state_dict()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_decoded_weights_may_be_written_to(artifact: Artifact) -> None:
    assert all(array.flags.writeable for array in artifact.state_dict().values())


def test_what_is_done_to_decoded_weights_does_not_reach_the_artifact(artifact: Artifact) -> None:
    before = {name: array.tobytes() for name, array in artifact.state_dict().items()}
    for array in artifact.state_dict().values():
        array[...] = 0
    assert {name: array.tobytes() for name, array in artifact.state_dict().items()} == before


def test_tied_names_share_an_array(artifact: Artifact) -> None:
    state = artifact.state_dict()
    assert state["decoder.weight"] is state["embedding.weight"]


def test_every_entry_is_decoded_once(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def counting(item: ItemRecord, data: memoryview) -> dict[str, Matrix]:
        decoded.append(item.name)
        return decode_factors(item, data)

    monkeypatch.setattr(opened, "decode_factors", counting)
    for _ in range(3):
        artifact.factors()
        artifact.state_dict()
    assert decoded == list(artifact.plan.treatments)


def test_factors_are_those_of_the_plan_and_cannot_be_changed(artifact: Artifact) -> None:
    factors = {item.name: found for item, found in artifact.factors()}
    assert list(factors) == list(artifact.plan.treatments)
    assert {name: array.shape for name, array in factors["h:lstm.l0"].items()} == {
        "left": (48, 2),
        "right": (2, 6),
    }
    for found in factors.values():
        for array in found.values():
            with pytest.raises(ValueError, match="read-only"):
                array[0, 0] = 1


def test_a_path_may_be_text(artifact: Artifact) -> None:
    assert open_artifact(str(artifact.path)).size_bytes == artifact.size_bytes


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    files = {write_mixed(tmp_path / f"{number}.acz").read_bytes() for number in range(12)}
    assert len(files) == 1


def test_another_process_writes_equal_bytes(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "other.acz"
    run_alone(WRITE_ALONE, str(path), str(Path(__file__).parents[1]), PYTHONHASHSEED="77")
    assert path.read_bytes() == artifact.path.read_bytes()


def test_a_file_opens_where_torch_optuna_and_mlflow_are_missing(artifact: Artifact) -> None:
    alone = json.loads(run_alone(READ_ALONE, str(artifact.path)))
    assert alone == {
        name: hashlib.sha256(array.tobytes()).hexdigest()
        for name, array in artifact.state_dict().items()
    }
