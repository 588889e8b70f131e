"""A search's result for people: a table for the terminal, and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.outcome.cautions import cautions
from autocompress.outcome.contenders import model_of_trial
from autocompress.outcome.names import SIZE
from autocompress.reporting.columns import Columns
from autocompress.reporting.rows import best_row, folded_note, header, rows
from autocompress.support.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from autocompress.outcome.results import SearchResult, TrialResult


def front_table(result: SearchResult) -> Columns:
    """Return the front as a table, best first, below the baseline; the best is marked.

    Plans are too long for it: `autocompress inspect` and the page show them.
    """
    notes = (folded_note(result), result.measure)
    table = Columns(
        header(result)[:-1],
        title=f"{result.name}: the front",
        caption="\n".join(note for note in notes if note is not None),
    )
    best = best_row(result)
    marked = "bold yellow" if cautions(result) else "bold green"
    for number, cells in enumerate(rows(result)):
        style = marked if number == best else "" if number else "dim"
        table.add(*cells[:-1], style=style, ends_section=number == 0)
    return table


def write_front(result: SearchResult, trials: Sequence[TrialResult], folder: Path) -> list[Path]:
    """Write front.csv (a row per finished trial), front.png and front.html, whole or not at all.

    Args:
        result: The search.
        trials: All finished trials.
        folder: Where to write; existing files are replaced.

    Returns:
        The three files.
    """
    # matplotlib and pandas take a second to import, and tables in a terminal need neither.
    from autocompress.reporting.page import search_page
    from autocompress.reporting.pictures import save_png
    from autocompress.reporting.view import front_view

    view = front_view(result, trials)
    html = search_page(result, trials, view)
    frame = trials_frame(result, trials)
    return [
        write_whole(folder / "front.csv", lambda path: frame.to_csv(path, index=False)),
        write_whole(folder / "front.png", lambda path: save_png(view, path)),
        write_whole(folder / "front.html", html.encode()),
    ]


def trials_frame(result: SearchResult, trials: Sequence[TrialResult]) -> pd.DataFrame:
    """Return a row per finished trial; objectives that were not measured are empty."""
    import pandas as pd

    front = {scored.trial: scored for scored in result.front}
    models = {}
    if result.models:
        models["model"] = [model_of_trial(result, one.number) for one in trials]
    columns = {
        "trial": [trial.number for trial in trials],
        **models,
        **{name: [trial.values.get(name) for trial in trials] for name in result.directions},
        SIZE: [trial.size_bytes for trial in trials],
        "feasible": [trial.feasible for trial in trials],
        "front": [trial.number in front for trial in trials],
        "best": [trial.number in front and front[trial.number] == result.best for trial in trials],
    }
    return pd.DataFrame(columns)
