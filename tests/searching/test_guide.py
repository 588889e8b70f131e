"""The order of the openings, and how they go on after an interruption."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import Classification, teacher

from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.source import Source
from autocompress.outcome.origin import SAMPLED, Aim, Origin
from autocompress.outcome.results import TrialResult
from autocompress.searching.openings.guide import Guide
from autocompress.searching.openings.planning import Goals
from autocompress.searching.openings.uniform import Opening, file_size
from autocompress.searching.space.language import Space, load_space

GOALS = Goals(12_000, (0.02, 0.12))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(Source.of(teacher(), Classification()))


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("size")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, space: Space, encoder: Encoder) -> Path:
    """What was planned for a limit on size and two rises."""
    path = tmp_path_factory.mktemp("guide") / "openings.json"
    Guide(space, encoder, GOALS, path)
    return path


@pytest.fixture
def guide(space: Space, encoder: Encoder, kept: Path) -> Guide:
    return Guide(space, encoder, Goals(None), kept)


def result(number: int, opening: Opening, rise: float) -> TrialResult:
    label, family, aim = opening.origin
    return TrialResult(
        number, opening.plan, {"rise": rise}, True, 0, 0, 0, origin=label, family=family, aim=aim
    )


def rise_of(one: TrialResult) -> float:
    return one.values["rise"]


def never(_: TrialResult) -> bool:
    return False


def followed(
    guide: Guide,
    rise_at: Callable[[Opening], float],
    results: list[TrialResult] | None = None,
    is_slow: Callable[[TrialResult], bool] = never,
) -> list[Opening]:
    """Make all openings, one after the other."""
    results, begun, made = results or [], {SAMPLED}, []
    begun |= {Origin(one.origin, one.family, one.aim) for one in results}
    while (opening := guide.next(begun, results, rise_of, is_slow)) is not None:
        made.append(opening)
        begun.add(opening.origin)
        results = [*results, result(len(results), opening, rise_at(opening))]
        assert len(made) < 60
    return made


def fixed_rise(opening: Opening) -> float:
    aim = opening.origin.aim
    return 0.01 * (aim.attempt if aim is not None and aim.of == "rise" else 5)


def test_what_chases_a_rise_comes_first_then_what_was_planned(guide: Guide) -> None:
    aims = [opening.origin.aim for opening in followed(guide, fixed_rise)]
    kinds = [aim.of for aim in aims if aim is not None]
    assert len(kinds) == len(aims)
    first = kinds.index("price")
    assert set(kinds[:first]) == {"rise"}
    assert set(kinds[first:]) == {"price", "size", "scale"}
    rises = [aim.value for aim in aims[:first] if aim is not None]
    assert rises == sorted(rises)


def test_each_opening_comes_once(guide: Guide) -> None:
    keys = [(opening.origin.family, opening.origin.aim) for opening in followed(guide, fixed_rise)]
    assert len(set(keys)) == len(keys)
    known = list(guide.known())
    assert len({opening.plan.dumps() for opening in known}) == len(known)


@pytest.mark.parametrize("done", [1, 4, 9])
def test_an_interrupted_search_goes_on_with_the_next(
    done: int, guide: Guide, space: Space, encoder: Encoder, kept: Path
) -> None:
    whole = followed(guide, fixed_rise)
    results = [result(n, one, fixed_rise(one)) for n, one in enumerate(whole[:done])]
    documents = [json.loads(json.dumps(one.to_json())) for one in results]
    again = Guide(space, encoder, Goals(None), kept)
    rest = followed(again, fixed_rise, [TrialResult.from_json(one) for one in documents])
    assert [one.plan for one in rest] == [one.plan for one in whole[done:]]
    assert [one.origin for one in rest] == [one.origin for one in whole[done:]]


def test_labels_tell_nothing_apart(guide: Guide) -> None:
    whole = followed(guide, fixed_rise)
    begun = {one.origin._replace(label="anything") for one in whole}
    results = [result(n, one, fixed_rise(one)) for n, one in enumerate(whole)]
    assert guide.next(begun, results, rise_of, never) is None


def test_where_one_aim_is_slow_the_family_is_left(guide: Guide) -> None:
    made = followed(guide, fixed_rise, is_slow=lambda one: one.family == "allocation")
    chased = [one.origin for one in made if one.origin.aim and one.origin.aim.of == "rise"]
    own = [origin.aim for origin in chased if origin.family == "allocation"]
    assert own == [Aim("rise", 0.02, 1), Aim("rise", 0.12, 1)]
    assert len(chased) > len(own) + 1


def test_what_is_under_way_is_not_begun_again(guide: Guide) -> None:
    first = guide.next(set(), [], rise_of, never)
    assert first is not None
    second = guide.next({first.origin}, [], rise_of, never)
    assert second is not None
    assert second.origin.family != first.origin.family


def test_where_finer_steps_do_not_help_structures_become_finer(guide: Guide) -> None:
    def families_at(rise_of_allocation: float) -> list[str | None]:
        def rise(opening: Opening) -> float:
            return rise_of_allocation if opening.origin.family == "allocation" else 0.001

        made = [opening.origin for opening in followed(guide, rise)]
        return [origin.family for origin in made if origin.aim and origin.aim.of == "rise"]

    kept, missed = families_at(0.001), families_at(0.2)
    assert "finer allocation" not in kept
    assert missed.index("finer allocation") == 2


def test_a_rise_that_was_not_measured_makes_steps_finer(guide: Guide) -> None:
    first = guide.next(set(), [], rise_of, never)
    assert first is not None
    rejected = result(0, first, math.inf)
    second = guide.next({first.origin}, [rejected], rise_of, never)
    assert second is not None
    assert (second.origin.family, second.origin.aim) == (first.origin.family, Aim("rise", 0.02, 2))


def test_with_a_limit_on_the_size_the_first_openings_fill_it(guide: Guide) -> None:
    opening = next(one for one in guide.known() if one.origin.aim and one.origin.aim.of == "size")
    assert opening.origin == Origin("allocation for 12 kB", "allocation", Aim("size", 12_000))
    encoder = Encoder(Source.of(teacher(), Classification()))
    assert 0.97 * 12_000 < file_size(encoder, opening.plan) <= 12_000


def test_without_limits_a_front_is_drawn(space: Space, encoder: Encoder, tmp_path: Path) -> None:
    guide = Guide(space, encoder, Goals(None), tmp_path / "openings.json")
    aims = [opening.origin.aim for opening in guide.known()]
    prices = [aim.value for aim in aims if aim is not None and aim.of == "price"]
    assert len(prices) > 5
    assert prices == sorted(prices)
    assert {aim.of for aim in aims if aim is not None} == {"price", "scale"}


def test_what_was_kept_and_damaged_is_planned_again(
    guide: Guide, space: Space, encoder: Encoder, kept: Path
) -> None:
    damaged = kept.with_name("damaged.json")
    damaged.write_bytes(kept.read_bytes()[:-9])
    again = Guide(space, encoder, GOALS, damaged)
    assert list(again.known()) == list(guide.known())
