"""The folder of a search: durable, read from outside, and that of earlier versions as well."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from strategies import mixed_plan, write_mixed

from autocompress.errors import SearchError
from autocompress.outcome.limits import Limit
from autocompress.outcome.origin import Aim
from autocompress.outcome.results import TrialResult
from autocompress.searching.folder import SearchFolder
from autocompress.searching.settings import LAYOUT, Settings
from autocompress.searching.summary import summary

SETTINGS = Settings(
    name="toy",
    metric="accuracy",
    directions={"size_bytes": "minimize", "accuracy": "maximize", "latency": "minimize"},
    budget_bytes=2_000_000,
    sampler="tpe",
    seed=0,
    model="hash",
    data="data",
    space="space",
    max_rise=0.01,
    limits={},
    latency_budget="0.1ms",
    layout=LAYOUT,
)
BASELINE = {"size_bytes": 4e6, "accuracy": 0.8, "latency": 1.0, "latency_ms": 0.5}


def trial(number: int, folder: SearchFolder, accuracy: float = 0.8) -> TrialResult:
    size = write_mixed(folder.artifact(number)).stat().st_size
    values = {"size_bytes": float(size), "accuracy": accuracy, "latency": 0.1, "latency_ms": 0.05}
    result = TrialResult(number, mixed_plan(), values, True, 0.0, 1.0, 1.0)
    folder.save_trial(result)
    return result


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    folder = SearchFolder(tmp_path)
    folder.adopt(SETTINGS)
    folder.artifact(None).parent.mkdir()
    folder.artifact(0).parent.mkdir()
    write_mixed(folder.artifact(None))
    folder.save_baseline(BASELINE)
    return folder


def as_written_before(folder: SearchFolder) -> None:
    """Take out of the files what earlier versions did not write."""
    for path, keys in (
        (folder.path / "search.json", ["layout"]),
        (
            folder.artifact(0).with_name("trial.json"),
            ["family", "aim"],
        ),
    ):
        document = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            del document[key]
        path.write_text(json.dumps(document), encoding="utf-8")


def test_a_trial_keeps_where_it_is_from(folder: SearchFolder) -> None:
    aim = Aim("rise", 0.1 + 0.01, 3)
    result = replace(trial(0, folder), origin="wide, aim 3", family="wide", aim=aim)
    folder.save_trial(result)
    assert folder.trials() == [result]


def test_limits_are_asked_for_as_they_were_written(folder: SearchFolder) -> None:
    assert folder.settings().asked == {
        "size_bytes": Limit(2_000_000, unit="B"),
        "accuracy": Limit(0.01, "maximize", "rise"),
        "latency": Limit(0.1, unit="ms"),
    }


def test_the_summary_has_absolute_limits(folder: SearchFolder) -> None:
    trial(0, folder)
    found = summary(folder, 1.0)
    assert found.limits == {"latency": pytest.approx(0.2)}
    assert found.bounds["accuracy"].bound == pytest.approx(0.792)
    assert found.best is not None
    assert found.best.trial == 0


def test_a_search_of_an_earlier_version_is_shown(folder: SearchFolder) -> None:
    before = trial(0, folder)
    found = summary(folder, 1.0).to_json()
    as_written_before(folder)
    assert folder.trials() == [before]
    assert summary(folder, 1.0).to_json() == found


def test_a_search_of_an_earlier_version_is_not_continued(folder: SearchFolder) -> None:
    trial(0, folder)
    as_written_before(folder)
    with pytest.raises(
        SearchError, match=r"layout 1, but this .*layout 2.* another --out"
    ) as error:
        folder.adopt(SETTINGS)
    assert "\n" not in str(error.value)


def test_equal_settings_are_adopted_again(folder: SearchFolder) -> None:
    folder.adopt(SETTINGS)
    with pytest.raises(SearchError, match="seed is 0 there and 1 here"):
        folder.adopt(SETTINGS.model_copy(update={"seed": 1}))


def test_nothing_half_written_is_a_trial(folder: SearchFolder) -> None:
    trial(0, folder)
    (folder.path / "trials" / "0001").mkdir()
    (folder.path / "trials" / "0001" / ".trial.json.1.0.tmp").write_text("{", encoding="utf-8")
    assert [one.number for one in folder.trials()] == [0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("baseline.json", b""),
        ("baseline.json", b"[]"),
        ("baseline.json", b'{"accuracy": NaN}'),
        ("test.json", b"\xff"),
        ("trials/0000/trial.json", b'{"size'),
        ("trials/0000/trial.json", b'{"plan": {"treatments": {}}}'),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, folder: SearchFolder) -> None:
    trial(0, folder)
    folder.save_test_scores({folder.artifact(0): 0.8})
    (folder.path / name).write_bytes(content)
    with pytest.raises(SearchError, match=rf"{name}' is damaged \(.*search again makes") as error:
        summary(folder, 1.0)
    assert "\n" not in str(error.value)


def test_settings_have_a_copy(folder: SearchFolder) -> None:
    for name in ("search.json", "trials/search.json"):
        for content in (None, b"", b'{"size', b"[]"):
            if content is None:
                (folder.path / name).unlink()
            else:
                (folder.path / name).write_bytes(content)
            assert folder.settings() == SETTINGS
            folder.adopt(SETTINGS)
            assert json.loads((folder.path / name).read_text()) == SETTINGS.model_dump()


def test_trials_of_nobody_knows_what_search_are_not_adopted(folder: SearchFolder) -> None:
    trial(0, folder)
    for name in ("search.json", "trials/search.json"):
        (folder.path / name).unlink()
    with pytest.raises(SearchError, match=r"'search.json'.* is lost; .*another --out"):
        folder.adopt(SETTINGS)


@pytest.mark.parametrize("name", ["thesis.txt", "model.safetensors", "other/file"])
def test_a_folder_of_other_files_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with (
        pytest.raises(SearchError, match=rf"holds no search, but.*{name.split('/')[0]}"),
        SearchFolder(tmp_path).claimed(),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [name.split("/")[0]]


def test_what_a_killed_process_was_writing_is_removed(folder: SearchFolder) -> None:
    leftovers = [
        ".mlflow.db.1.0.tmp-journal",
        ".test.json.1.0.tmp",
        "trials/0000/.model.acz.1.tmp",
    ]
    for name in leftovers:
        (folder.path / name).touch()
    with folder.claimed():
        assert not [name for name in leftovers if (folder.path / name).exists()]


def test_a_plan_of_a_method_that_is_not_there_is_told(folder: SearchFolder) -> None:
    trial(0, folder)
    path = folder.artifact(0).with_name("trial.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"low_rank"', '"unheard_of"'))
    with pytest.raises(SearchError, match=r"trial.json' holds a plan.*'unheard_of'.*import what"):
        folder.trials()
