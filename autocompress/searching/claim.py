"""A folder for one search at a time, and for nothing else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autocompress.errors import SearchError
from autocompress.support.files import make_folder

_NAMED = 3
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
# What a search may have written before its settings, or for other searches of the same model.
_OURS = ("lock", "calibration-", "mlflow.db", "mlartifacts")


class ClaimedError(SearchError):
    """Another process has the folder."""


@contextmanager
def claimed(folder: Path, settings: tuple[str, ...]) -> Iterator[None]:
    """Create a folder and keep other searches out of it until the end of the block.

    What a process left there that was killed while it wrote is removed.

    Args:
        folder: The folder.
        settings: Names of the files of which one tells that a search lies there.

    Raises:
        SearchError: If the folder cannot be written, now or later on, if something else lies
            there, or if another process searches in it.
    """
    _refuse_other_files(folder, settings)
    with _locked(folder):
        for pattern in ("", "trials/", "trials/*/", "recovered/*/"):
            for leftover in folder.glob(f"{pattern}.*.tmp*"):
                leftover.unlink(missing_ok=True)
        try:
            yield
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            name = f" ('{error.filename}')" if error.filename else ""
            raise SearchError(
                f"'{folder}' cannot be written{name}: {error.strerror}; once it can, the same "
                "search again continues this one"
            ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process however that ends."""
    lock = FileLock(folder / "lock")
    try:
        make_folder(folder)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ClaimedError(
            f"another process is searching in '{folder}'; wait for it or choose another --out"
        ) from error
    except NotImplementedError as error:
        raise SearchError(
            f"'{folder}' cannot be locked: its file system has no locks; choose another --out"
        ) from error
    except OSError as error:
        raise SearchError(
            f"cannot write to '{error.filename or folder}': {error.strerror}; choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _refuse_other_files(folder: Path, settings: tuple[str, ...]) -> None:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return  # making it will tell
    if any((folder / name).exists() for name in settings):
        return
    foreign = [name for name in names if not name.startswith((".", *_OURS))]
    if foreign:
        more = "" if len(foreign) <= _NAMED else f" and {len(foreign) - _NAMED} more"
        raise SearchError(
            f"'{folder}' holds no search, but other files: {', '.join(foreign[:_NAMED])}{more}; "
            "choose an empty or a new folder as --out"
        )
