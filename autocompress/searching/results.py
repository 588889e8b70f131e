"""Reading the results of finished trials, each once as long as its file stays the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autocompress.errors import PlanError, SearchError
from autocompress.outcome.results import TrialResult
from autocompress.support.files import numbers, parsed_json, put_aside


class DamagedError(SearchError):
    """A file is damaged, which going on with the search makes anew."""

    def __init__(self, path: Path, error: Exception) -> None:
        self.reason = error
        super().__init__(
            f"'{path}' is damaged ({type(error).__name__}: {error}); the same search again makes "
            "it anew"
        )


class Results:
    """Reads results, and knows those that it has read: a search looks at all of them often."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], TrialResult]] = {}

    def read(self, path: Path) -> TrialResult | None:
        """Return the result in a file, or None where there is none.

        Raises:
            DamagedError: If the file is damaged.
            SearchError: If its plan needs a method that is not there.
        """
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        mark = stat.st_ino, stat.st_size, stat.st_mtime_ns
        known = self._known.get(path)
        if known is None or known[0] != mark:
            known = self._known[path] = mark, read_result(path)
        return known[1]


def read_result(path: Path) -> TrialResult:
    """Return the result in a file.

    Raises:
        DamagedError: If the file is damaged.
        SearchError: If its plan needs a method that is not there.
    """
    try:
        result = TrialResult.from_json(parsed_json(path.read_text(encoding="utf-8")))
        numbers(result.values)
        float(result.size_bytes + result.started + result.seconds + result.cpu_seconds)
    except PlanError as error:
        raise SearchError(
            f"'{path}' holds a plan that cannot be read ({error}); import what registers its "
            "methods first"
        ) from error
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(path, error) from error
    return result


def put_aside_if_damaged(path: Path, read: Callable[[], object]) -> None:
    """Give a file another name that cannot be read, and can be made anew."""
    try:
        read()
    except DamagedError as error:
        put_aside(path, error.reason)
