"""What a user's own code raised, told in one line: the exception, and where it was raised."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib"))
_LONGEST = 300


def told(error: BaseException) -> str:
    """Tell an exception on one line: its type, its message and where it was raised.

    That is the deepest line of code that belongs to no library, since that is the line that its
    author can mend; as in "raised ValueError: bad path (train.py, line 12, in evaluate)".
    """
    message = " ".join(str(error).split())
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]} ..."
    text = type(error).__name__ + (f": {message}" if message else "")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_of_library(frame.filename)]
    if not own:
        return f"raised {text}"
    place = own[-1]
    return f"raised {text} ({place.filename}, line {place.lineno}, in {place.name})"


def _is_of_library(file: str) -> bool:
    return file.startswith((str(_PACKAGE), *_LIBRARIES, "<frozen"))
