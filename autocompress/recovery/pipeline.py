"""The papers' pipeline: hidden layers, then the outer ones, then pruning, then quantization."""

from __future__ import annotations

from autocompress.knowledge.source import Source
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float32
from autocompress.structures import Dense

_SHARE_BEFORE_LAST = 0.6


def pipeline_stages(plan: CompressionPlan, source: Source) -> list[CompressionPlan]:
    """Return the plans through which a model goes, the last of which is the plan itself.

    1. Recurrent layers, and sites with any of their weights, are decomposed.
    2. So are all other weights.
    3. What is to be pruned is pruned.
    4. Numbers get their precision.

    Up to the last, all numbers are in single precision. Steps that change nothing are left out.

    References:
        A. Grachev, D. Ignatov, A. Savchenko. Compression of Recurrent Neural Networks for
        Efficient Language Modeling. Applied Soft Computing 2019, arXiv 1902.02380, sec. 4.4.
    """
    exact = Float32()

    def hidden(name: str, treatment: Treatment) -> Treatment:
        roles = {weight.role for weight in source.members(name)}
        recurrent = bool(roles & {"input", "recurrent"})
        structure = treatment.structure.base if recurrent else Dense()
        return Treatment(structure=structure, precision=exact)

    def outer(name: str, treatment: Treatment) -> Treatment:
        del name
        return Treatment(structure=treatment.structure.base, precision=exact)

    def pruned(name: str, treatment: Treatment) -> Treatment:
        del name
        return Treatment(structure=treatment.structure, precision=exact)

    stages: list[CompressionPlan] = []
    for step in (hidden, outer, pruned):
        treatments = {name: step(name, one) for name, one in plan.treatments.items()}
        stages.append(CompressionPlan(treatments=treatments))
    stages.append(plan)
    return [stage for number, stage in enumerate(stages) if stage not in stages[number + 1 :]]


def stage_of(segment: int, segments: int, n_stages: int) -> int:
    """Return the stage in which a segment is trained.

    All but the last stage share the first 60 % of the segments evenly; the last segment is
    always in the last stage. With few segments, some stages pass without training.
    """
    last = min(round(_SHARE_BEFORE_LAST * segments), segments - 1)
    return n_stages - 1 if segment >= last else segment * (n_stages - 1) // last
