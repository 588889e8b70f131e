"""What is offered where no plan of the search space keeps a limit on the rise of the metric."""

from __future__ import annotations

from collections.abc import Iterator

from autocompress.encoding.encoder import Encoder, uncompressed_plan
from autocompress.errors import AutocompressError, PlanError
from autocompress.outcome.names import LATENCY, SIZE
from autocompress.outcome.origin import LAST_RESORT, Origin
from autocompress.outcome.results import TrialResult
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import Float16
from autocompress.searching.openings.uniform import file_size
from autocompress.searching.records import Records
from autocompress.structures import Dense
from autocompress.support import progress
from autocompress.trial.evaluator import Evaluator


def last_resort(evaluator: Evaluator, records: Records, metric: str) -> None:
    """Try the numbers in half precision, and then as they are, until one keeps the limits.

    Such plans need not be of the search space, and the sampler learns nothing of them. What is
    above a budget is left out; so are both under a limit on the latency, which they do not help.

    Args:
        evaluator: Has the limits of the search.
        records: Keep what is finished.
        metric: Name of the task's metric.
    """
    if metric not in evaluator.limits or LATENCY in evaluator.limits:
        return
    known = [result.plan for result in records.results if result.rejected is None]
    for label, plan in _plans(evaluator.encoder):
        if plan in known or not _fits(evaluator, plan):
            continue
        progress.say(f"no plan keeps the limit on the {metric}: trying {label}")
        if _tried(evaluator, records, Origin(label, LAST_RESORT), plan):
            return


def _plans(encoder: Encoder) -> Iterator[tuple[str, CompressionPlan]]:
    exact = uncompressed_plan(encoder.source)
    half = Treatment(structure=Dense(), precision=Float16())
    halved = dict(exact.treatments)
    for name, weight in encoder.source.weights.weights.items():
        alone = CompressionPlan(treatments={**exact.treatments, name: half})
        try:
            encoder.check(alone)
        except PlanError:
            continue  # a magnitude is beyond its range
        if weight.fewest_bits <= Float16().width_bits:
            halved[name] = half
    yield "half precision", CompressionPlan(treatments=halved)
    yield "the exact numbers", exact


def _fits(evaluator: Evaluator, plan: CompressionPlan) -> bool:
    limit = evaluator.limits.get(SIZE)
    return limit is None or limit.excess(file_size(evaluator.encoder, plan)) <= 0


def _tried(evaluator: Evaluator, records: Records, origin: Origin, plan: CompressionPlan) -> bool:
    """Measure a plan as a trial; return whether it keeps the limits."""
    number = records.study.take(origin)
    try:
        outcome = evaluator.attempt(number, plan, records.folder.artifact(number))
    except AutocompressError as error:
        records.fail(number, error, plan, origin)
        progress.say(f"trial {number} failed: {error}")
        return False
    if not isinstance(outcome, TrialResult):
        records.reject(outcome, plan, origin)
        return False
    records.keep(outcome.of(origin))
    return outcome.feasible
