"""Menus and what is chosen from them."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from toys import Classification, teacher

from autocompress.encoding.encoder import Encoder
from autocompress.encoding.estimates import Estimate, Estimator
from autocompress.knowledge.source import Source
from autocompress.plan import Treatment
from autocompress.precisions import EqualSlope, Float16
from autocompress.searching.openings.allocation import (
    allocate,
    allocated,
    allocated_to_budget,
    price_of_loss_rise,
    price_of_size,
    total_bytes,
    total_loss_rise,
)
from autocompress.searching.openings.menus import Candidate, Menu, Option, hull, menus
from autocompress.searching.openings.uniform import file_size, first_below
from autocompress.searching.space.language import Space, load_space
from autocompress.structures import Dense

TREATMENT = Treatment(structure=Dense(), precision=Float16())


def candidate(size: float, rise: float) -> Candidate:
    return Candidate({}, TREATMENT, Estimate(size, rise))


def random_menus(seed: int, weights: int = 3, candidates: int = 6) -> dict[str, Menu]:
    generator = np.random.default_rng(seed)
    pairs = generator.uniform(0.1, 10, size=(weights, candidates, 2)).tolist()
    return {
        f"w{number}": [Option((candidate(*pair),)) for pair in menu]
        for number, menu in enumerate(pairs)
    }


def everything(offered: dict[str, Menu]) -> Sequence[tuple[float, float]]:
    """Return bytes and rise of every plan that there is."""
    plans = itertools.product(
        *([option.candidates[0] for option in menu] for menu in offered.values())
    )
    return [
        (sum(c.estimate.size_bytes for c in plan), sum(c.estimate.loss_rise for c in plan))
        for plan in plans
    ]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("price", [0.01, 0.1, 1.0])
def test_no_plan_is_better_at_the_price(seed: int, price: float) -> None:
    offered = random_menus(seed)
    chosen = allocate(offered, price)
    least = min(rise + price * 8 * size for size, rise in everything(offered))
    assert total_loss_rise(chosen) + price * 8 * total_bytes(chosen) == pytest.approx(least)


@pytest.mark.parametrize("seed", range(10))
def test_no_plan_of_no_more_bytes_has_a_lower_rise(seed: int) -> None:
    offered = random_menus(seed)
    plans = everything(offered)
    for limit in np.linspace(min(size for size, _ in plans) + 0.01, 25, 7):
        chosen = allocate(offered, price_of_size(offered, limit))
        size, rise = total_bytes(chosen), total_loss_rise(chosen)
        assert size <= limit
        assert not any(s <= size + 1e-9 and r < rise - 1e-9 for s, r in plans)


@pytest.mark.parametrize("seed", range(5))
def test_the_rise_that_was_asked_for_is_kept(seed: int) -> None:
    offered = random_menus(seed)
    rises = [rise for _, rise in everything(offered)]
    for asked in np.linspace(min(rises) + 0.01, max(rises), 5):
        price = price_of_loss_rise(offered, asked) * 0.999
        assert total_loss_rise(allocate(offered, price)) <= asked


@pytest.mark.parametrize("seed", range(10))
def test_the_hull_has_what_is_best_at_some_price(seed: int) -> None:
    (menu,) = random_menus(seed, weights=1, candidates=12).values()
    offered = [option.candidates[0] for option in menu]
    corners = hull(offered)
    best = {
        id(min(offered, key=lambda c: c.estimate.loss_rise + price * c.estimate.size_bytes))
        for price in np.logspace(-4, 4, 2000).tolist()
    }
    assert best <= {id(corner) for corner in corners}
    sizes = [corner.estimate.size_bytes for corner in corners]
    assert sizes == sorted(sizes)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.of(teacher(), Classification())


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("size")


@pytest.fixture(scope="module")
def offered(space: Space, source: Source) -> dict[str, Menu]:
    return menus(space, Encoder(source))


def test_every_weight_has_a_menu(offered: dict[str, Menu], source: Source) -> None:
    assert list(offered) == list(source.weights.weights)
    assert min(len(menu) for menu in offered.values()) > 1


def test_steeper_prices_take_fewer_bytes_and_cost_more(offered: dict[str, Menu]) -> None:
    dense = [
        option
        for option in offered["lstm.weight_hh_l1"]
        if option.slope is not None and isinstance(option.candidates[0].treatment.structure, Dense)
    ]
    kinds = [option.candidates[0].treatment.precision.kind for option in dense]
    assert kinds == ["equal_slope", "trellis"]
    option = dense[0]
    assert len(option.candidates) > 3
    found = [option.at(price).estimate for price in np.logspace(-12, 0, 60).tolist()]
    sizes, rises = [one.size_bytes for one in found], [one.loss_rise for one in found]
    assert sizes == sorted(sizes, reverse=True)
    assert rises == sorted(rises)


def test_between_slopes_estimates_are_near_the_truth(
    offered: dict[str, Menu], source: Source
) -> None:
    name = "lstm.weight_ih_l1"
    estimator = Estimator(Encoder(source), 10**6)
    for option in offered[name]:
        if option.slope is not None:
            low, high = (float(option.candidates[i].answers[option.slope]) for i in (2, 3))
            found = option.at(option.sensitivity * math.sqrt(low * high))
            slope = float(found.answers[option.slope])
            precision = EqualSlope(slope=slope)
            treatment = found.treatment.model_copy(update={"precision": precision})
            truth = estimator.estimate(name, treatment)
            assert found.estimate.size_bytes == pytest.approx(truth.size_bytes, rel=0.2)
            assert found.estimate.loss_rise == pytest.approx(truth.loss_rise, rel=0.4)


def test_the_answers_lead_to_the_candidates(
    offered: dict[str, Menu], space: Space, source: Source
) -> None:
    price = price_of_size(offered, 12_000)
    chosen = allocate(offered, price)
    plan = allocated(offered, price, space, source).at(1.0, space, source).plan
    for name, one in chosen.items():
        assert plan.treatments[name].structure == one.treatment.structure
        assert plan.treatments[name].precision.kind == one.treatment.precision.kind


@pytest.mark.parametrize("limit", [9_000, 15_000])
def test_an_allocation_is_fitted_to_the_budget(
    offered: dict[str, Menu], space: Space, source: Source, limit: int
) -> None:
    opening = allocated_to_budget(offered, space, Encoder(source), limit)
    assert 0.97 * limit < file_size(Encoder(source), opening.plan) <= limit


def test_what_no_option_takes_of_a_budget_goes_to_finer_steps(
    offered: dict[str, Menu], space: Space, source: Source
) -> None:
    few = {name: menu[:1] for name, menu in offered.items()}
    finest = allocated(few, 1e-30, space, source).at(1.0, space, source).plan
    limit = 6 * file_size(Encoder(source), finest) // 5
    opening = allocated_to_budget(few, space, Encoder(source), limit)
    assert 0.97 * limit < file_size(Encoder(source), opening.plan) <= limit


@pytest.mark.parametrize("limit", [6.0, 40.0, 300.0])
@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_the_finest_scale_is_found_in_few_looks(limit: float, power: float) -> None:
    looks = []

    def size(octaves: float) -> float:
        looks.append(octaves)
        return float(60.0 * 2.0 ** (-power * octaves) + 1)

    found = first_below(size, limit)
    assert size(found) <= limit
    assert size(found - 2**-5) > limit
    assert len(looks) <= 12


def test_where_nothing_fits_the_coarsest_scale_is_taken() -> None:
    assert first_below(lambda octaves: 10.0, 5.0) == 8.0
