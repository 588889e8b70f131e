"""A search's result as notebooks show it: the page, a table of its trials, the picture."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.artifact import open_artifact
from autocompress.errors import SearchError
from autocompress.outcome.limits import format_bytes
from autocompress.outcome.results import SearchResult, TrialResult
from autocompress.reporting.costs import weight_costs
from autocompress.searching.several.joined import folder_at
from autocompress.searching.summary import summary

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from autocompress.reporting.pictures import ShownFigure

_PAGE_HEIGHT = 900


@dataclass(frozen=True, repr=False, eq=False)
class OpenedSearch(SearchResult):
    """What a search found, with its folder; in a notebook it shows itself as a page.

    Attributes:
        folder: Where everything lies that the search has found.
    """

    folder: Path = field(default=Path(), compare=False, kw_only=True)

    @classmethod
    def of(cls, result: SearchResult, folder: Path) -> OpenedSearch:
        """Return a result with its folder."""
        values = {one.name: getattr(result, one.name) for one in fields(SearchResult)}
        return cls(**values, folder=folder)

    def trial_results(self) -> list[TrialResult]:
        """Return all finished trials that have a file, by number.

        Raises:
            SearchError: If the folder is damaged.
        """
        return folder_at(self.folder).trials()

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each trial that has a file, and for what was fine-tuned.

        Returns:
            Columns: trial, kind ("trial" or "fine-tuned"), track ("without retraining", "tuned
            without labels" or "with recovery on labels"), size_bytes, times_smaller, the task's
            metric and all further objectives, rise_percent (the metric's change against the
            uncompressed model), feasible, front, best (of all tracks), origin, seconds and
            artifact. What was not measured is NaN.
        """
        from autocompress.reporting.frame import search_frame

        return search_frame(self, self.trial_results(), folder_at(self.folder).artifact)

    def plot(self) -> ShownFigure:
        """Return the picture of front.png as a figure, which a notebook shows."""
        from autocompress.reporting.pictures import front_figure
        from autocompress.reporting.view import front_view

        return front_figure(front_view(self, self.trial_results()))

    def plot_weights(self, trial: int | None = None) -> Image:
        """Return a bar chart of where the bytes of a trial go, as an image.

        Args:
            trial: Its number; by default the best, or where none keeps the limits the nearest.

        Raises:
            SearchError: If there is no such trial.
            ArtifactError: If its file cannot be opened.
        """
        from autocompress.reporting.weights_picture import weights_image

        result, path = self._found(trial)
        artifact = open_artifact(path)
        rises = result.rises if result is not None else {}
        title = f"{self.name}, {path.parent.name}: {format_bytes(artifact.size_bytes)}"
        return weights_image(title, weight_costs(artifact, rises))

    def _found(self, number: int | None) -> tuple[TrialResult | None, Path]:
        """Return a trial and its file; of what was fine-tuned the file alone."""
        chosen = self.best or self.nearest
        if number is None and chosen is not None and chosen.track != "plain":
            return None, chosen.artifact
        if number is None:
            number = None if chosen is None else chosen.trial
        folder = folder_at(self.folder)
        result = None if number is None else folder.trial(number)
        if number is None or result is None:
            raise SearchError(f"there is no trial {number} in '{self.folder}'")
        return result, folder.artifact(number)

    def _repr_html_(self) -> str:
        """Return the page of the search in a frame, so that its style stays its own."""
        page = base64.b64encode(self.to_html().encode()).decode()
        return (
            f'<iframe src="data:text/html;base64,{page}" title="{escape(self.name)}" '
            f'width="100%" height="{_PAGE_HEIGHT}" style="border: 0"></iframe>'
        )

    def to_html(self) -> str:
        """Return the page of front.html."""
        from autocompress.reporting.page import search_page
        from autocompress.reporting.view import front_view

        trials = self.trial_results()
        return search_page(self, trials, front_view(self, trials))


def open_search(folder: str | Path) -> OpenedSearch:
    """Open the folder of a search, whether it is finished, running or interrupted.

    Raises:
        SearchError: If it holds no search, or nothing was measured yet.
    """
    path = Path(folder).absolute()
    opened = folder_at(path)
    result = summary(opened, sum(trial.seconds for trial in opened.trials()))
    return OpenedSearch.of(result, path)
