"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from platforms import needs_posix

from autocompress.errors import OutputError
from autocompress.support.files import (
    append_line,
    is_plain_name,
    make_folder,
    parsed_json,
    put_aside,
    rename,
    truncate,
    write_json,
    write_whole,
)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    assert write_whole(path, b"first") == path
    assert path.read_bytes() == b"first"
    write_whole(path, [b"sec", memoryview(b"ond")])
    assert path.read_bytes() == b"second"
    write_whole(path, lambda temporary: temporary.write_text("third"))
    assert path.read_bytes() == b"third"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


def test_json_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"größe": [1, None]})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"größe": [1, None]}


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "a.bin"
    if old is not None:
        path.write_bytes(old)

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"part")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if old is None else [old])


@needs_posix
def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "a.bin", []

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append((is_folder, os.fstat(descriptor).st_size >= 4, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, b"data")
    assert [(is_folder, exists) for is_folder, _, exists in flushed] == [
        (False, False),
        (True, True),
    ]
    assert flushed[0][1]


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Device and inode of each file and folder that was made durable, in order."""
    found: list[tuple[int, int]] = []

    def fsync(descriptor: int) -> None:
        found.append(os.fstat(descriptor)[1:3])

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def inodes(*paths: Path) -> list[tuple[int, int]]:
    return [path.stat()[1:3] for path in paths]


@needs_posix
def test_a_line_and_the_name_of_its_file_reach_the_disk(
    tmp_path: Path, flushed: list[tuple[int, int]]
) -> None:
    path = tmp_path / "a.jsonl"
    append_line(path, b"one\n")
    assert flushed == inodes(path, tmp_path)
    append_line(path, b"two\n")
    assert flushed[2:] == inodes(path)
    assert path.read_bytes() == b"one\ntwo\n"
    truncate(path, 4)
    assert path.read_bytes() == b"one\n"
    assert flushed[3:] == inodes(path)


@needs_posix
def test_new_names_reach_the_disk(tmp_path: Path, flushed: list[tuple[int, int]]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"a")
    rename(path, tmp_path / "b.bin")
    assert flushed == inodes(tmp_path / "b.bin", tmp_path)
    put_aside(tmp_path / "b.bin", ValueError("broken"))
    assert flushed[2:] == inodes(tmp_path)
    assert (tmp_path / "b.bin.damaged").read_bytes() == b"a"


@needs_posix
def test_new_folders_reach_the_disk(tmp_path: Path, flushed: list[tuple[int, int]]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert sorted(flushed) == sorted(inodes(tmp_path, tmp_path / "a"))
    make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2


@needs_posix
def test_a_file_is_as_accessible_as_any_new_one(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    path = write_whole(tmp_path / "ours", b"")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    contents = [bytes([number]) * 10_000 for number in range(8)]
    path, together = tmp_path / "a.bin", threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        together.wait()
        for _ in range(20):
            write_whole(path, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.support.files._number", iter([7, 7]))
    (tmp_path / f".a.bin.{os.getpid()}.7.tmp").write_bytes(b"left")
    assert write_whole(tmp_path / "a.bin", b"data").read_bytes() == b"data"


def test_long_names_are_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125)
    assert write_whole(path, b"data").read_bytes() == b"data"


@needs_posix
def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "target.bin"
    target.parent.mkdir()
    target.write_bytes(b"old")
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to(target)
    write_whole(tmp_path / "first", b"new")
    assert target.read_bytes() == b"new"
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()


@needs_posix
def test_a_link_to_nothing_gets_its_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


@needs_posix
def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name, kind in [
            ("folder", "a folder"),
            ("pipe", "a pipe"),
            ("link", "a device"),
            ("socket", "a socket"),
        ]:
            with pytest.raises(OutputError) as caught:
                write_whole(tmp_path / name, b"data")
            assert str(caught.value) == (
                f"'{tmp_path / name}' is {kind}, and only an ordinary file is ever replaced; "
                "remove it, or choose another name"
            )
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"folder", "pipe", "link", "socket"}


@needs_posix
def test_links_that_lead_in_circles_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "a", b"data")


@pytest.mark.parametrize("text", ["[" * 10**5, b'{"a":' * 10**5, "{", "", "9" * 5000])
def test_what_is_no_json_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed_json(text)
    assert parsed_json(b'{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize("name", ["model.acz", "model-1-of-2.bin", "wörd 1.txt", "a" * 200])
def test_names_of_files_in_one_folder(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".hidden", "../a", "/a", "a/b", "a/", "a\\b", "C:a", "a\nb", "\ud800"),
        *("ä" * 101, 1),
    ],
)
def test_names_that_lead_elsewhere_are_not_plain(name: object) -> None:
    assert not is_plain_name(name)
