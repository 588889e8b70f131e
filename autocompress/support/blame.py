"""What a user's own code raised, told in one line: the exception, and where it was raised."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib"))
_LONGEST = 300


def first_line(error: BaseException) -> str:
    """Return the beginning of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def told(error: BaseException) -> str:
    """Tell an exception on one line: its type, its message and where it was raised.

    That is the deepest line of code that belongs to no library, since that is the line that its
    author can mend; as in "raised ValueError: bad path (train.py, line 12, in evaluate)".
    """
    message = " ".join(str(error).split())
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]} ..."
    text = type(error).__name__ + (f": {message}" if message else "")
    places = [(_file(frame), line, frame.f_code.co_name) for frame, line in _frames(error)]
    own = [place for place in places if not _is_of_library(place[0])]
    if not own:
        return f"raised {text}"
    file, line, name = own[-1]
    return f"raised {text} ({file}, line {line}, in {name})"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    return traceback.walk_tb(error.__traceback__)


def _file(frame: FrameType) -> str:
    """Return the file of a frame; code that came from another process knows it by its globals."""
    file = frame.f_code.co_filename
    return str(frame.f_globals.get("__file__", file)) if file.startswith("<") else file


def _is_of_library(file: str) -> bool:
    return file.startswith((str(_PACKAGE), *_LIBRARIES, "<frozen"))
