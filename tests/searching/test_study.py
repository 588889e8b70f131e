from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from autocompress.outcome.limits import Limit
from autocompress.outcome.metric import Direction
from autocompress.outcome.names import SIZE
from autocompress.outcome.origin import Aim, Origin
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan
from autocompress.searching.ledger import LEDGER, Ledger
from autocompress.searching.settings import SamplerName
from autocompress.searching.space.tables import Range
from autocompress.searching.study import Asking, Study

DIRECTIONS: Mapping[str, Direction] = {SIZE: "minimize", "loss": "minimize"}
LIMIT = Limit(150)
ONE = Origin("one", "a family", Aim("scale", 0.1))
TWO = Origin("two", "a family", Aim("scale", 0.1, 2))
FIRST: dict[Origin, dict[str, int | float | str]] = {
    ONE: {"kind": "b", "x": 3.0},
    TWO: {"kind": "a", "x": 1.0},
}


def open_study(folder: Path, seed: int = 0, sampler: SamplerName = "tpe") -> Study:
    return Study(folder / "journal", DIRECTIONS, sampler, seed, {SIZE: LIMIT})


def ask(study: Study) -> Asking:
    begun = study.begun()
    return study.ask(next((item for item in FIRST.items() if item[0] not in begun), None))


def answer(asking: Asking) -> tuple[str, float]:
    kind = str(asking.pick("kind", ("a", "b", "c")))
    return kind, float(asking.pick_number("x", Range(low=0.5, high=4.0, log=True)))


def result(number: int, kind: str, x: float) -> TrialResult:
    size = 100 * x * (1 + "abc".index(kind) / 2)
    rejected = None if LIMIT.excess(size) <= 0 else "too large"
    values = {SIZE: size, "loss": 1 / x} if rejected is None else {SIZE: size}
    plan = CompressionPlan(treatments={})
    return TrialResult(number, plan, values, rejected is None, 0.0, 0.0, 0.0, rejected)


def advance(study: Study, count: int) -> list[tuple[str, float]]:
    answers = []
    for _ in range(count):
        asking = ask(study)
        answers.append(answer(asking))
        study.tell(result(asking.number, *answers[-1]))
    return answers


def test_first_answers_come_first(tmp_path: Path) -> None:
    assert advance(open_study(tmp_path), 2) == [("b", 3.0), ("a", 1.0)]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_the_seed_decides(sampler: SamplerName, tmp_path: Path) -> None:
    runs = []
    for seed, name in [(1, "one"), (1, "two"), (2, "three")]:
        (tmp_path / name).mkdir()
        runs.append(advance(open_study(tmp_path / name, seed, sampler), 25))
    assert runs[0] == runs[1]
    assert runs[0][2:] != runs[2][2:]


@pytest.mark.parametrize("stop", [1, 2, 9])
def test_an_interrupted_study_makes_the_same_plans(stop: int, tmp_path: Path) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = advance(open_study(tmp_path / "whole"), 20)
    first = open_study(tmp_path / "broken")
    begun = advance(first, stop)
    answer(ask(first))  # in flight when the process dies
    second = open_study(tmp_path / "broken")
    for number in second.unfinished():
        second.abandon(number)
    assert begun + advance(second, 20 - stop) == whole


def test_a_trial_between_queue_and_start_is_not_repeated(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    aim = {"of": "scale", "value": 0.1, "attempt": 1}
    attributes = {"origin": "one", "family": "a family", "aim": aim}
    study._study.enqueue_trial(FIRST[ONE], user_attrs=attributes)  # killed right after this
    assert advance(open_study(tmp_path), 3)[:2] == [("b", 3.0), ("a", 1.0)]


def test_too_large_files_are_constrained_and_without_values(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    advance(study, 1)  # kind b at x = 3: 450 bytes
    trial = study._study.trials[0]
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert trial.constraints == {SIZE: 2.0, "rejected": 1.0}


def test_a_failure_counts_and_keeps_its_error(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    study.fail(ask(study).number, ValueError("no luck"))
    again = open_study(tmp_path)
    assert again.n_finished == 1
    assert again._study.trials[0].user_attrs["error"] == "ValueError: no luck"


def test_a_misfit_is_no_trial_and_another_plan_follows(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    advance(study, 2)
    asking = ask(study)
    before = answer(asking)
    study.misfit(asking.number, "does not fit")
    assert study.n_finished == 2
    after = answer(ask(study))
    assert after != before
    again = open_study(tmp_path)  # the process dies with the last one in flight
    again.abandon(3)
    assert (again.n_finished, again.n_misfits) == (2, 1)
    assert answer(ask(again)) == after


@pytest.mark.parametrize("lost", [1, 40])
def test_a_line_that_a_power_cut_broke_off_is_forgotten(lost: int, tmp_path: Path) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = advance(open_study(tmp_path / "whole"), 4)
    broken = tmp_path / "broken"
    assert advance(open_study(broken), 2) == whole[:2]
    ask(open_study(broken))
    journal = broken / "journal"
    journal.write_bytes(journal.read_bytes()[:-lost])
    again = open_study(broken)
    for number in again.unfinished():
        again.abandon(number)
    assert advance(again, 2) == whole[2:]
    assert open_study(broken).n_finished == 4


def cut_front(content: bytes) -> bytes:
    return content[30:]


def cut_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def tear(content: bytes) -> bytes:
    """A line that a full disk cut short, and others behind it."""
    lines = content.splitlines(keepends=True)
    middle = len(lines) // 2
    return b"".join([*lines[:middle], lines[middle][:9], *lines[middle + 1 :]])


DAMAGES: Mapping[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda content: None,
    "empty": lambda content: b"",
    "half": cut_half,
    "without a beginning": cut_front,
    "torn": tear,
    "garbage": lambda content: b"\xff\x00" * 99 + b"\n" + content,
    "of another kind": lambda content: b"[]\n{}\n" + content,
}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_lost_journal_is_made_anew(damage: str, sampler: SamplerName, tmp_path: Path) -> None:
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    for folder in (whole, hurt):
        folder.mkdir()
        study = open_study(folder, sampler=sampler)
        advance(study, 4)
        study.fail(ask(study).number, ValueError("no luck"))
        study.misfit(ask(study).number, "does not fit")
        study.abandon(ask(study).number)
        study.reject(ask(study).number, {SIZE: 0.3}, "hopeless")
    journal = hurt / "journal"
    content = DAMAGES[damage](journal.read_bytes())
    if content is None:
        journal.unlink()
    else:
        journal.write_bytes(content)
    before, after = open_study(whole, sampler=sampler), open_study(hurt, sampler=sampler)
    assert (after.n_finished, after.n_misfits) == (before.n_finished, before.n_misfits) == (6, 1)
    assert after.begun() == before.begun()
    assert advance(after, 3) == advance(before, 3)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_lost_ledger_is_made_anew(damage: str, tmp_path: Path) -> None:
    advance(open_study(tmp_path), 4)
    ledger = tmp_path / LEDGER
    whole = ledger.read_bytes()
    content = DAMAGES[damage](whole)
    if content is None:
        ledger.unlink()
    else:
        ledger.write_bytes(content)
    open_study(tmp_path)
    assert set(Ledger(ledger).entries()) == {0, 1, 2, 3}
    (tmp_path / "journal").unlink()
    assert open_study(tmp_path).n_finished == 4


def test_what_only_the_folder_knows_is_not_begun_again(tmp_path: Path) -> None:
    known = [replace(result(n, "b", 1.0), origin="one", family="a family") for n in (0, 2)]
    study = Study(tmp_path / "journal", DIRECTIONS, "tpe", 0, {SIZE: LIMIT}, results=known)
    assert study.n_finished == 2
    assert ask(study).number == 3
    assert "one" in {origin.label for origin in study.begun()}
