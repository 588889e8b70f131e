"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from autocompress.errors import OutputError
from autocompress.support import progress
from autocompress.support.signals import interrupts_held

_NAME_SHOWN = 40
_LONGEST_NAME = 200  # bytes; beside it lie temporary files of longer names
_REASON_SHOWN = 120
_number = count()


def write_whole(
    path: Path, content: bytes | Iterable[bytes | memoryview] | Callable[[Path], object]
) -> Path:
    """Write a file under a temporary name and give it its own name when it is on the disk.

    A crash leaves the old file or the new one, never a part, and a failure the old one. Where a
    link to a file stands, it stays, and the file to which it leads is replaced.

    Args:
        path: The file; its folder is made where it is missing.
        content: Its bytes, in one piece or several, or what writes them at the path that it is
            given.

    Returns:
        The file.

    Raises:
        OutputError: If a folder, a device, a pipe or a socket has that name.
        OSError: If it cannot be written.
    """
    target = _ordinary(path)
    make_folder(target.parent)
    # Unique among processes, and among the threads of one. Short, since names have limits, too.
    name = f".{target.name[:_NAME_SHOWN]}.{os.getpid()}.{next(_number)}.tmp"
    temporary = target.with_name(name)
    temporary.unlink(missing_ok=True)
    try:
        if callable(content):
            content(temporary)
        else:
            pieces = [content] if isinstance(content, bytes) else content
            with temporary.open("xb") as file:
                file.writelines(pieces)
        rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def rename(path: Path, target: Path) -> None:
    """Give a file another name in its folder, in place of a file of that name, durably.

    Raises:
        OSError: If it cannot be done.
    """
    _flush(path, os.O_RDWR)
    path.replace(target)
    flush_folder(target.parent)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file, which is made where it is missing; it is on the disk at the end.

    Raises:
        OSError: If it cannot be written.
    """
    is_new = not path.exists()
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        flush_folder(path.parent)


def truncate(path: Path, length: int) -> None:
    """Cut a file off after so many bytes, durably.

    Raises:
        OSError: If it cannot be written.
    """
    os.truncate(path, length)
    _flush(path, os.O_RDWR)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, durably.

    Raises:
        OSError: If it cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        flush_folder(one.parent)


def write_json(path: Path, document: Mapping[str, Any]) -> Path:
    """Write a JSON object as `write_whole` does.

    Returns:
        The file.

    Raises:
        OutputError: If a folder, a device, a pipe or a socket has that name.
        OSError: If it cannot be written.
    """
    return write_whole(path, json.dumps(document, indent=1).encode())


def is_plain_name(name: object) -> bool:
    """Whether a name that comes from elsewhere is that of a file in one folder, on any system."""
    return (
        isinstance(name, str)
        and 0 < len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME
        and name.isprintable()
        and not name.startswith(".")
        and PurePosixPath(name).name == name == PureWindowsPath(name).name
    )


def parsed_json(text: str | bytes) -> Any:
    """Read JSON of whatever origin.

    Raises:
        ValueError: If it is none, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def kept_json(path: Path, check: Callable[[Any], object] = lambda document: None) -> Any:
    """Read what `write_json` wrote and what can be found anew.

    Args:
        path: The file.
        check: Raises for a document that is not what was written.

    Returns:
        The document; None where the file is missing, or damaged and now put aside.
    """
    try:
        document = parsed_json(path.read_text(encoding="utf-8"))
        with interrupts_held():
            check(document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        put_aside(path, error)
        return None
    return document


def put_aside(path: Path, error: Exception) -> None:
    """Give a damaged file that can be made anew another name, and say so."""
    names = (f"{path.name}.damaged{'' if n == 1 else n}" for n in count(1))
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    path.replace(aside)
    flush_folder(path.parent)
    reason = next(iter(str(error).splitlines()), "")[:_REASON_SHOWN] or type(error).__name__
    progress.say(f"'{path}' is damaged ({reason}): made anew, and kept as {aside.name}")


def numbers(document: Any) -> dict[str, float]:
    """Check that a document names finite numbers, and return it.

    Raises:
        TypeError, ValueError: If it does not.
    """
    if not isinstance(document, dict):
        raise TypeError(f"it holds no object, but a {type(document).__name__}")
    for name, value in document.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name!r} is no number")
        if not math.isfinite(value):
            raise ValueError(f"{name!r} is {value}")
    return document


def _ordinary(path: Path) -> Path:
    """Follow links to the file that is to be replaced."""
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"'{path}' is {_kind(mode)}, and only an ordinary file is ever replaced; "
            "remove it, or choose another name"
        )
    return target


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "no file")


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make new names in a folder durable; some file systems, and Windows, know no such thing."""
    if os.name == "nt":
        return
    try:
        _flush(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
