"""Storage: nothing half written, one line where it cannot be written."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.storage import Storage


@pytest.mark.parametrize("prefix", ["", "file://", "memory://"])
def test_write_read_list_remove(prefix: str, tmp_path: Path) -> None:
    storage = Storage(f"{prefix}{tmp_path}/root")
    storage.write("a/b.txt", b"one")
    storage.write("a/b.txt", b"two")
    storage.write("c.txt", b"three")
    assert storage.read("a/b.txt") == b"two" and storage.size("c.txt") == 5
    assert storage.names() == ["a", "c.txt"] and storage.names("a") == ["b.txt"] and storage.names("none") == []
    assert (storage / "a").exists("b.txt")
    storage.remove("a")
    storage.remove("a")
    assert storage.names() == ["c.txt"]


@pytest.mark.parametrize("prefix", ["", "memory://"])
def test_an_error_while_writing_leaves_the_old_file(prefix: str, tmp_path: Path) -> None:
    storage = Storage(f"{prefix}{tmp_path}/root2")
    storage.write("x", b"old")
    with pytest.raises(RuntimeError), storage.writing("x") as file:
        file.write(b"half")
        raise RuntimeError
    assert storage.read("x") == b"old" and storage.names() == ["x"]


def test_no_space_left_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    storage = Storage(str(tmp_path))
    with pytest.raises(UserError, match="x: no space left; free some"):
        storage.write("x", b"data")
    assert storage.names() == []


def test_unwritable_storage_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot be written") as caught:
        Storage(str(tmp_path / "file" / "below")).check_writable()
    assert "\n" not in str(caught.value)


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    Storage(str(tmp_path)).check_writable()
    assert list(tmp_path.iterdir()) == []


def test_secrets_in_a_uri_are_refused() -> None:
    with pytest.raises(UserError, match="must not carry a secret"):
        Storage("s3://key:secret@bucket/path")


def test_unknown_protocol_is_one_line() -> None:
    with pytest.raises(UserError, match="no filesystem for 'nosuch://'"):
        Storage("nosuch://bucket").names()


def test_a_remote_store_that_is_away_is_waited_for(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage("memory://away")
    plain, failures = type(storage.fs).open, [ConnectionResetError(), OSError(errno.EBUSY, "SlowDown")]

    def open_later(self: object, *arguments: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return plain(self, *arguments, **options)

    monkeypatch.setattr(type(storage.fs), "open", open_later)
    storage.write("x", b"whole")
    assert storage.read("x") == b"whole" and not failures and pauses == [0.5, 1.0]
    failures.append(ConnectionResetError())
    with pytest.raises(UserError, match="cannot be written"):
        storage.check_writable()
    assert not failures, "what the user waits for is tried once"


def test_a_remote_write_that_fails_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's files complete what they have when they are closed, also by an error."""
    storage = Storage("memory://torn")
    storage.write("x", b"old")
    closed: list[str] = []

    class Torn:
        closed = False

        def write(self, data: bytes) -> int:
            raise PermissionError("at the second block")

        def discard(self) -> None:
            closed.append("discarded")

        def close(self) -> None:
            closed.append("completed")

    monkeypatch.setattr(type(storage.fs), "open", lambda *_, **__: Torn())
    with pytest.raises(UserError, match="cannot be written"):
        storage.write("x", b"new")
    assert closed == ["discarded"]


@pytest.mark.parametrize("prefix", ["", "memory://"])
def test_a_tree_tells_sizes_and_times_relative_to_its_storage(prefix: str, tmp_path: Path) -> None:
    storage = Storage(f"{prefix}{tmp_path}/tree")
    assert storage.tree() == {}
    storage.write("a/b/c", b"12345")
    storage.write("d", b"1")
    tree = storage.tree()
    assert set(tree) == {"a", "a/b", "a/b/c", "d"} and set(storage.tree("a")) == {"a/b", "a/b/c"}
    assert (tree["a/b/c"].bytes, tree["a"].bytes) == (5, 0) and tree["a"].is_folder and not tree["d"].is_folder
    assert abs(tree["d"].modified - time.time()) < 60
