"""What a search has come to, as one thing that is written whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from autocompress.outcome.about import About
    from autocompress.outcome.results import Scored, SearchResult
    from autocompress.outcome.training import TrainingLog
    from autocompress.tracking.tracker import Tracker


class Outcome(NamedTuple):
    """What a search has come to.

    Attributes:
        result: The search.
        files: Stored with it, such as its picture.
        tuned: What was fine-tuned, and how that went, as far as it is known.
        about: Tells of the data, and how the best is served.
    """

    result: SearchResult
    files: Sequence[Path]
    tuned: Sequence[tuple[Scored, TrainingLog | None]]
    about: About

    def write(self, tracker: Tracker) -> None:
        """Write it; again, if some of it is there.

        Raises:
            SearchError: If MLflow fails.
            ArtifactError: If a file is damaged.
        """
        tracker.log_front(self.result, self.files)
        for scored, log in self.tuned:
            tracker.log_recovered(self.result, scored, log)
        tracker.conclude(self.result, self.about)
