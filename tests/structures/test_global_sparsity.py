"""One threshold over several weights."""

import numpy as np
import pytest

from autocompress.errors import PlanError
from autocompress.structures import Pruned, global_sparsities

WEIGHTS = {
    "large": np.random.default_rng(0).standard_normal((31, 17)).astype(np.float32),
    "small": 0.3 * np.random.default_rng(1).standard_normal((23, 11)).astype(np.float32),
    "mixed": np.random.default_rng(2).standard_cauchy((19, 13)).astype(np.float32),
}
TOTAL = sum(weight.size for weight in WEIGHTS.values())


@pytest.mark.parametrize("sparsity", [0.1, 0.37, 0.5, 0.65])
def test_one_threshold_parts_what_stays_from_what_goes(sparsity: float) -> None:
    kept, gone = [], []
    for name, share in global_sparsities(WEIGHTS, sparsity).items():
        structure = Pruned(sparsity=share)
        assert structure.misfit((WEIGHTS[name].shape[0], WEIGHTS[name].shape[1])) is None
        mask = structure.factorize(WEIGHTS[name], None)["weight"].mask
        assert mask is not None
        kept.append(np.abs(WEIGHTS[name][mask]))
        gone.append(np.abs(WEIGHTS[name][~mask]))
    assert np.concatenate(gone).size == round(sparsity * TOTAL)
    assert np.concatenate(gone).max() <= np.concatenate(kept).min()


def test_weights_of_small_elements_lose_more() -> None:
    sparsities = global_sparsities(WEIGHTS, 0.5)
    assert sparsities["small"] > 0.5 > sparsities["large"]


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.1, float("nan")])
def test_sparsities_out_of_range_are_refused(sparsity: float) -> None:
    with pytest.raises(PlanError, match="0 < sparsity < 1"):
        global_sparsities(WEIGHTS, sparsity)


def test_weights_that_would_vanish_are_named() -> None:
    weights = {**WEIGHTS, "tiny": np.full((4, 4), 1e-6, np.float32)}
    with pytest.raises(PlanError, match="prunes 16 of the 16 elements of 'tiny'"):
        global_sparsities(weights, 0.3)
