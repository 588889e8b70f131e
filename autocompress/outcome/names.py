"""Names of what a search writes down, and which no objective of a user's own may take."""

from __future__ import annotations

from collections.abc import Iterable

from autocompress.errors import ObjectiveError

SIZE, LATENCY = "size_bytes", "latency"
LATENCY_MS, LATENCY_P95_MS, LATENCY_NOISE = "latency_ms", "latency_p95_ms", "latency_noise"

_SPLITS = ("valid_", "test_")
_TAKEN = {SIZE, LATENCY, LATENCY_MS, LATENCY_P95_MS, LATENCY_NOISE}
# Keys of results, columns of tables, and what MLflow shows beside the objectives.
_TAKEN |= {"trial", "artifact", "onnx", "label", "feasible", "front", "best", "rejected"}
_TAKEN |= {"seconds", "cpu_seconds", "rise", "predicted_loss_rise"}


def check_names(names: Iterable[str], metric: str) -> None:
    """Refuse names of objectives that stand for something else already.

    Args:
        names: Of a user's own objectives.
        metric: Name of the task's metric.

    Raises:
        ObjectiveError: If one is taken, that of the metric too, or there are two of the same.
    """
    if metric in _TAKEN:
        raise ObjectiveError(
            f"the metric of a task needs a name of its own, but '{metric}' is taken; give it "
            f"another one than {', '.join(sorted(_TAKEN))}"
        )
    taken = {*_TAKEN, metric}
    for name in names:
        if name in taken or name.startswith(_SPLITS):
            raise ObjectiveError(
                f"an objective needs a name of its own, but '{name}' is taken: not "
                f"{', '.join(sorted(taken))}, nor {' or '.join(f'{one}...' for one in _SPLITS)}"
            )
        taken.add(name)
