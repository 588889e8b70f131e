"""A picture of where the bytes of a file go, and what each weight is predicted to cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from autocompress.outcome.limits import format_bytes
from autocompress.reporting.costs import WeightCost, most

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BYTES, _LOSS, _SOFT = "#1f6feb", "#8250df", "#57606a"
_ROWS = 24


def save_weights(title: str, costs: Sequence[WeightCost], path: Path) -> None:
    """Draw a bar for each weight as a PNG file: its bytes, and its predicted loss where known.

    Args:
        title: Headline.
        costs: Of the weights, most bytes first; from the 24th on they are drawn as one.
        path: The file, whatever its name ends with.
    """
    weights_figure(title, costs).savefig(path, format="png")


def weights_figure(title: str, costs: Sequence[WeightCost]) -> Figure:
    """Return the figure that `save_weights` writes."""
    rows = most(costs, _ROWS)
    loss = sum(one.rise or 0.0 for one in rows)
    panels = 2 if loss > 0 else 1
    # The layout engine would take as long as all the rest.
    figure = Figure(figsize=(8 if panels == 1 else 11, 1.3 + 0.26 * len(rows)), dpi=110)
    axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    sizes = [f"{format_bytes(one.after)}, {one.bits:.2f} bits" for one in rows]
    _bars(axes[0], [one.after / 1e3 for one in rows], sizes, _BYTES)
    axes[0].set_xlabel("bytes in the file [kB]")
    axes[0].set_yticks(range(len(rows)), [one.name for one in rows])
    axes[0].invert_yaxis()
    if loss > 0:
        shares = [100 * (one.rise or 0.0) / loss for one in rows]
        _bars(axes[1], shares, [f"{share:.0f} %" for share in shares], _LOSS)
        axes[1].set_xlabel("share of the predicted rise of the loss [%]")
        axes[1].tick_params(left=False)
    longest = max((len(one.name) for one in rows), default=0)
    margin = 0.6 / figure.get_figheight()
    figure.subplots_adjust(
        left=min(0.08 * longest / figure.get_figwidth() + 0.02, 0.5),
        right=0.97,
        top=1 - 0.5 / figure.get_figheight(),
        bottom=margin,
        wspace=0.08,
    )
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
    return figure


def _bars(axes: Axes, lengths: Sequence[float], notes: Sequence[str], color: str) -> None:
    axes.barh(range(len(lengths)), lengths, color=color, height=0.7)
    axes.set_xlim(0, 1.45 * max(lengths, default=1.0) or 1.0)
    for row, (length, note) in enumerate(zip(lengths, notes, strict=True)):
        axes.annotate(
            note,
            (length, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_SOFT,
        )
    axes.grid(axis="x", color="#eaeef2", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
