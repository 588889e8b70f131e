"""Tuning without labels, recovery on labels, and a teacher: three tracks, never mixed."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from torch import nn
from toys import Classification, Classifier, teacher

import autocompress
from autocompress import SearchResult
from autocompress.errors import BudgetError, ModelError, SearchError, TaskError
from autocompress.knowledge.guarded import guarded
from autocompress.knowledge.teaching import Taught, check_teacher, follows_teacher, teacher_key
from autocompress.outcome.tracks import METHOD
from autocompress.recovery import RecoveryBudget, RecoverySettings
from autocompress.reporting.answer import summary_lines
from autocompress.searching.folder import SearchFolder
from autocompress.searching.request import fine_tuning, label_free_tuning

TITLES = ["without retraining", "tuned without labels", "with recovery on labels"]
STEPS = RecoveryBudget(steps=8)
TUNING = replace(RecoverySettings.label_free(STEPS), dropout=0.0, segments=2)
RECOVERY = RecoverySettings(STEPS, segments=2)


class Labelled(Classification):
    """Trains on the classes that the defining network gives; counts how often it is asked."""

    asked: list[float]

    def __init__(self) -> None:
        super().__init__()
        self.asked = []

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        self.asked.append(distillation)
        for batch in torch.split(self.tokens, 50):
            outputs = model(batch)
            loss = nn.functional.cross_entropy(outputs, DEFINING(batch).argmax(1))
            if distillation:
                with torch.no_grad():
                    wanted = teacher(batch)
                distance = nn.functional.mse_loss(outputs, wanted)
                loss = (1 - distillation) * loss + distillation * distance
            yield loss


class Deaf(Classification):
    """Trains on labels whatever it is asked for."""

    def training_losses(
        self, model: nn.Module, teacher: nn.Module, distillation: float, seed: int
    ) -> Iterator[torch.Tensor]:
        del teacher, distillation, seed
        yield nn.functional.cross_entropy(model(self.tokens), DEFINING(self.tokens).argmax(1))


DEFINING = teacher()


def larger(width: int = 40, n_classes: int = 3) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = Classifier(width=width)
        model.head = nn.Linear(width, n_classes)
        return model


def find(out: Path, **asked: Any) -> autocompress.OpenedSearch:
    return autocompress.search(
        teacher(), Labelled(), budget=9000, space="quick", trials=1, out=out, seed=0, **asked
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    folder = tmp_path_factory.mktemp("tracks")
    shutil.copy(empty_database, folder)
    return folder


@pytest.fixture(scope="module")
def found(out: Path) -> autocompress.OpenedSearch:
    return find(out, tuning=TUNING, recovery=RECOVERY)


def test_each_track_has_its_own_results(found: SearchResult, out: Path) -> None:
    (tuned,), (recovered,) = found.tuned, found.recovered
    assert (tuned.track, recovered.track) == ("tuned", "recovered")
    assert {one.track for one in found.front} == {"plain"}
    assert tuned.artifact.parent.name == f"tuned-{TUNING.key}"
    assert recovered.artifact.parent.name == f"recovered-{RECOVERY.key}"
    assert tuned.artifact.stat().st_size == tuned.size_bytes <= 9000
    assert found.title(tuned) == f"trial {tuned.trial}, tuned without labels"
    assert tuned.how == TUNING.label()
    assert None not in (tuned.test, recovered.test)
    assert found.tracks == ("plain", "tuned", "recovered")
    for one in (tuned, recovered):
        assert found.best_of_track(one.track) == (one if found.keeps_limits(one) else None)


def test_without_noise_the_model_is_its_own_control(found: SearchResult) -> None:
    (control,) = found.controls_of("tuned")
    assert control.artifact == found.baseline.artifact
    assert control.values == found.baseline.values
    assert "nothing to learn" in control.label
    (trained,) = found.controls_of("recovered")
    assert trained.artifact.parent.name == f"control-{RECOVERY.key}"


def test_json_says_which_track_each_result_is_of(found: SearchResult, out: Path) -> None:
    document = json.loads((out / "result.json").read_text(encoding="utf-8"))
    for name, track in (("front", "plain"), ("tuned", "tuned"), ("recovered", "recovered")):
        assert {one["track"] for one in document[name]} == {track}
        best = document["best_of_tracks"][track]
        assert best is None or best in document[name]
    assert sorted(one["track"] for one in document["controls"]) == ["recovered", "tuned"]
    assert SearchResult.from_json(document) == found
    for one in (*document["recovered"], *document["front"], *document["controls"]):
        one.pop("track"), one.pop("how")
    del document["tuned"], document["best_of_tracks"]
    document["best"] = document["recovered"][0]
    old = SearchResult.from_json(document)  # as an earlier version wrote it
    assert (old.tuned, old.recovered[0].track) == ((), "recovered")
    assert old.best == old.recovered[0]


def test_people_read_one_table_for_each_track(found: autocompress.OpenedSearch, out: Path) -> None:
    lines = summary_lines(found)
    assert [line for line in lines if line in [f"{title}:" for title in TITLES]] == [
        f"{title}:" for title in TITLES[1:]
    ]
    page, report = (
        (out / name).read_text(encoding="utf-8") for name in ("front.html", "report.md")
    )
    for title in TITLES[1:]:
        assert page.count(f"<h2>{title.capitalize()}</h2>") == 1
        assert report.count(f"### {title.capitalize()}\n") == 1
    for title in TITLES:
        assert any(line.startswith(f"best {title}: ") for line in lines)
        assert f"best {title}: " in page
        assert f"- best {title}: " in report
    for css in ("tuned", "recovered"):
        assert page.count(f'class="point {css}"') == 1
    frame = found.to_dataframe()
    assert sorted(frame["track"].unique()) == sorted(TITLES)
    assert set(frame[frame["kind"] == "trial"]["track"]) == {TITLES[0]}


def test_mlflow_says_which_track_a_run_is_of(found: SearchResult, out: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    runs = client.search_runs(["1"])
    tracks = {run.info.run_name: run.data.tags.get("track") for run in runs}
    number = found.tuned[0].trial
    assert tracks[f"trial-{number:04d}, tuned without labels"] == TITLES[1]
    assert tracks[f"trial-{number:04d}, fine-tuned on labels"] == TITLES[2]
    assert tracks["uncompressed, fine-tuned on labels"] == TITLES[2]
    assert tracks[f"trial-{found.front[0].trial:04d}"] == TITLES[0]
    assert "uncompressed, tuned without labels" not in tracks  # it is the model as it is
    (parent,) = (run for run in runs if "autocompress.search" in run.data.tags)
    assert parent.data.params["tune"] == TUNING.label()
    assert parent.data.params["recover"] == "8 steps segments=2"
    note = parent.data.tags["mlflow.note.content"]
    tables = note.split("**Tuned without labels**")
    assert len(tables) == 2
    assert "tuned without labels" not in tables[0].partition("\n")[2]
    assert "**With recovery on labels**" in tables[1]


def test_a_rerun_keeps_what_is_there_and_another_teacher_adds_to_it(
    found: SearchResult, out: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(out, tmp_path / "copy"))
    found = autocompress.open_search(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("recovered/*/model.acz")}
    assert len(before) == 3
    assert find(out, tuning=TUNING, recovery=RECOVERY).tuned == found.tuned
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = larger()
    taught = find(out, tuning=TUNING, teacher=other)
    assert found.tuned[0] in taught.tuned
    (added,) = (one for one in taught.tuned if one not in found.tuned)
    assert added.artifact.parent.name == f"tuned-{replace(TUNING, teacher=teacher_key(other)).key}"
    assert added.artifact.read_bytes() != found.tuned[0].artifact.read_bytes()
    assert added.how.startswith(f"{TUNING.label()} teacher=")
    controls = taught.controls_of("tuned")  # which has much to learn of another model
    assert [one.artifact.parent.name.split("-")[0] for one in controls] == ["baseline", "control"]
    assert other.training  # it is not changed


@pytest.mark.slow
def test_what_earlier_versions_tuned_is_not_done_again(
    found: SearchResult, out: Path, tmp_path: Path
) -> None:
    """They called everything "recovered", and said nothing of how it was made."""
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    for path in copy.glob(f"recovered/tuned-{TUNING.key}"):
        (path / METHOD).unlink()
        path.rename(path.with_name(f"recovered-{TUNING.key}"))
    old = autocompress.open_search(copy)
    assert {one.track for one in old.recovered} == {"recovered"}
    again = find(copy, tuning=TUNING)
    (known,) = (one for one in again.tuned if one.how == found.tuned[0].how)
    assert known.artifact.parent.name == f"recovered-{TUNING.key}"
    assert known.artifact.read_bytes() == found.tuned[0].artifact.read_bytes()


def test_no_label_is_looked_at() -> None:
    task = Labelled()
    settings = replace(TUNING, budget=RecoveryBudget(steps=2), segments=1)
    assert settings.distillation == 1
    losses = list(task.training_losses(teacher(), teacher(), settings.distillation, 0))
    assert max(loss.item() for loss in losses) < 1e-9  # whatever the labels are


def test_a_task_that_does_not_listen_to_the_teacher_is_refused(out: Path, tmp_path: Path) -> None:
    assert follows_teacher(teacher(), guarded(Labelled()))
    assert not follows_teacher(teacher(), guarded(Deaf()))
    with pytest.raises(TaskError, match=r"^tuning without labels needs [^\n]* leave tuning"):
        autocompress.search(
            teacher(), Deaf(), budget=9000, trials=1, out=tmp_path / "o", tuning="2steps"
        )
    assert not list((tmp_path / "o").glob("trials/0*"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (larger(n_classes=4), r"it gives \(20, 4\), and the model \(20, 3\); choose"),
        (Classifier(n_tokens=3), r"must take the task's batches, but raised IndexError"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(other: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message) as info:
        check_teacher(other, teacher(), guarded(Labelled()))
    assert "\n" not in str(info.value)
    check_teacher(larger(), teacher(), guarded(Labelled()))


def test_a_teacher_is_told_from_others_by_all_of_it() -> None:
    one = larger()
    assert teacher_key(one) == teacher_key(larger()) != teacher_key(larger(41))
    with torch.no_grad():
        one.head.bias[0] += 1
    assert teacher_key(one) != teacher_key(larger())
    with pytest.raises(ModelError, match=r"must be an nn\.Module, but got an object of type str"):
        teacher_key("ptb-medium")  # type: ignore[arg-type]


def test_another_teacher_stands_in_for_the_model() -> None:
    task, other = guarded(Labelled()), larger()
    (loss, *_) = task.training_losses(teacher(), other, 1.0, 0)
    (same, *_) = Taught(task, other).training_losses(teacher(), teacher(), 1.0, 0)
    assert loss.item() == same.item() > 0


def test_settings_say_their_track() -> None:
    plain = RecoverySettings(STEPS)
    assert plain.track == replace(plain, distillation=0.5).track == "recovered"
    assert TUNING.track == replace(plain, distillation=1).track == "tuned"
    assert not plain.control_stays
    assert TUNING.control_stays
    assert not replace(TUNING, dropout=0.1).control_stays
    assert not replace(TUNING, teacher="abc").control_stays
    assert RecoverySettings(STEPS, teacher=None).key == "8steps-55296539"  # as it always was
    keys = {replace(TUNING, teacher=name).key for name in (None, "a", "b")}
    assert len(keys) == 3


def test_what_is_asked_for_is_understood() -> None:
    assert label_free_tuning(None, 3) is None
    tuned = label_free_tuning("2m", 3)
    assert tuned == RecoverySettings.label_free(RecoveryBudget(seconds=120), 3)
    assert label_free_tuning(TUNING, 3, "abc") == replace(TUNING, teacher="abc")
    with pytest.raises(BudgetError, match=r"needs `distillation == 1`, but got distillation=0.5"):
        label_free_tuning(replace(TUNING, distillation=0.5), 0)
    taught = fine_tuning("10m", 0, "abc")
    assert taught is not None
    assert (taught.distillation, taught.teacher) == (0.5, "abc")
    with pytest.raises(BudgetError, match="with a teacher, recovery needs"):
        fine_tuning(RECOVERY, 0, "abc")


def test_a_teacher_needs_somebody_to_teach(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="a teacher needs `tuning`"):
        find(tmp_path / "out", teacher=larger())


def test_an_interrupted_tuning_goes_on(found: SearchResult, out: Path, tmp_path: Path) -> None:
    """What is written of it before it ends says of which track it will be."""
    method = SearchFolder(out).method(found.tuned[0].artifact)
    assert (method.track, method.control_stays) == ("tuned", True)
    (tmp_path / METHOD).write_text("{", encoding="utf-8")
    damaged = SearchFolder(out).method(tmp_path / "tuned-1steps" / "model.acz")
    assert damaged.track == "tuned"
