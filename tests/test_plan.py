"""Plans are values that survive JSON."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from strategies import PRECISIONS, STRUCTURES, mixed_plan, treat

from autocompress.errors import PlanError
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import (
    Codebook,
    EntropyStep,
    EqualSlope,
    Float32,
    Precision,
    Uniform,
)
from autocompress.structures import (
    Dense,
    GroupReduce,
    LowRank,
    Pruned,
    Structure,
    TensorTrain,
    VectorQuantized,
)

DENSE = {"kind": "dense"}
FLOAT = {"kind": "float32"}


def entry(**changes: object) -> dict[str, Any]:
    return {"treatments": {"w": {"structure": DENSE, "precision": FLOAT, **changes}}}


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.label())
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.label())
def test_every_treatment_survives_json(structure: Structure, precision: Precision) -> None:
    plan = CompressionPlan(treatments={"w": treat(structure, precision)})
    assert CompressionPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_whole_plan_survives_its_text() -> None:
    assert CompressionPlan.from_json(json.loads(mixed_plan().dumps())) == mixed_plan()


def test_the_order_of_treatments_survives_json() -> None:
    plan = CompressionPlan.from_json(mixed_plan().to_json())
    assert list(plan.treatments) == list(mixed_plan().treatments)


def test_equal_plans_have_equal_texts_whatever_their_order() -> None:
    turned = dict(reversed(mixed_plan().treatments.items()))
    assert CompressionPlan(treatments=turned).dumps() == mixed_plan().dumps()


def test_different_plans_have_different_texts() -> None:
    first, second = (
        CompressionPlan(treatments={"w": treat(Dense(), Uniform(bits=bits))}) for bits in (4, 5)
    )
    assert first.dumps() != second.dumps()


def test_labels_name_structure_and_precision() -> None:
    assert treat(LowRank(rank=6), Uniform(bits=4)).label() == "rank 6 + 4 bit per row"


@pytest.mark.parametrize(
    ("treatment", "words"),
    [
        (treat(Dense(), EqualSlope(slope=2.4e-11)), "dense + 4.0 bits, weighted by error"),
        (treat(LowRank(rank=6), EqualSlope(slope=1e-9)), "rank 6 + 4.0 bits, weighted by error"),
        (
            treat(LowRank(rank=6, fit="loss"), EntropyStep(step=0.1, frequency_exponent=0.5)),
            "rank 6, fitted to the loss + 4.0 bits, entropy-constrained, finer for frequent rows",
        ),
        (
            treat(Pruned(sparsity=0.3, of=LowRank(rank=6)), Codebook(bits=4)),
            "30% zeros, rank 6 + codebook of 16 values",
        ),
        (
            treat(TensorTrain(modes=3, rank=5), Float32()),
            "tensor train of 3 cores, rank 5 + fp32",
        ),
        (
            treat(GroupReduce(blocks=4, rank=9), Uniform(bits=8, group=64)),
            "rank 9 on average in 4 groups of rows by frequency + 8 bits, a scale per 64 numbers",
        ),
        (
            treat(VectorQuantized(dimension=3, bits=4, parts=2), Uniform(bits=4)),
            "vectors of 3, 4 bits each, 2 codebooks + 4 bits, a scale per row",
        ),
    ],
)
def test_words_tell_what_a_plan_does_without_numbers_that_say_nothing(
    treatment: Treatment, words: str
) -> None:
    assert treatment.in_words(3.98) == words


def test_words_of_how_it_runs_and_of_less_than_a_bit() -> None:
    treatment = Treatment(structure=Dense(), precision=EntropyStep(step=1.0), runtime="int8")
    assert treatment.in_words(0.384) == "dense + 0.38 bits, entropy-constrained, runs in int8"


def test_treatments_cannot_be_changed() -> None:
    treatment = Treatment(structure=Dense(), precision=Float32())
    with pytest.raises(ValidationError, match="frozen"):
        treatment.structure = LowRank(rank=2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "treatments: Field required"),
        ({"treatments": 3}, "treatments: Input should be"),
        (entry(extra=1), r"treatments\.w\.extra: Extra inputs"),
        (entry(structure={"kind": "cubic"}), r"w\.structure: .*'cubic'.*'dense'"),
        (entry(structure={"rank": 3}), r"w\.structure: Unable to extract tag"),
        (entry(structure={"kind": "low_rank"}), r"structure\.low_rank\.rank: Field required"),
        (entry(structure={"kind": "low_rank", "rank": 0}), "greater than or equal to 1"),
        (entry(precision={"kind": "uniform", "bits": 9}), r"bits: .*less than or equal to 8"),
        (entry(precision={"kind": "entropy", "step": 0}), r"step: .*greater than 0"),
        ({**entry(), "version": 2}, "version: Extra inputs"),
    ],
)
def test_what_is_no_plan_is_said_with_its_key(document: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=f"not a plan: .*{message}"):
        CompressionPlan.from_json(document)


def test_only_the_first_findings_are_shown() -> None:
    with pytest.raises(PlanError, match=r"; and 4 more$"):
        CompressionPlan.from_json({"treatments": {}, **dict.fromkeys("abcdefg", 1)})
