"""The node's cache of shards: bounded, and safe for those who read and fetch at once."""

from __future__ import annotations

import errno
import fcntl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.data.cache import cache_folder, cached, hold
from orchestrator.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path))
    return tmp_path / "shards"


def put(name: str, size: int = 1000) -> Path:
    path = cached(name, size, lambda aside: aside.write_bytes(name[0].encode() * size) and None)
    time.sleep(0.01)
    return path


def held(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if p.suffix in (".arrow", ".tmp"))


def test_what_was_used_longest_ago_goes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_CACHE_GB", "3.2e-6")
    for name in ("a.arrow", "b.arrow", "c.arrow"):
        put(name)
    put("a.arrow")  # used again
    put("d.arrow")
    assert held(cache) == ["a.arrow", "c.arrow", "d.arrow"]
    put("e.arrow", 2500)
    assert held(cache) == ["e.arrow"]


def test_a_shard_larger_than_the_cache_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_CACHE_GB", "1e-6")
    put("a.arrow", 900)
    with pytest.raises(UserError, match="do not fit into a cache of .*SAMSWEEP_CACHE_GB"):
        put("b.arrow", 1100)
    assert held(cache) == ["a.arrow"], "nothing is removed for what cannot come"


@pytest.mark.parametrize("value", ["much", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_said(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_CACHE_GB", value)
    with pytest.raises(UserError, match=f"SAMSWEEP_CACHE_GB={value}: not a number"):
        put("a.arrow")


def test_without_a_limit_a_part_of_the_disk_stays_free(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.data import cache as module

    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("", (), {"free": 1500})())
    put("a.arrow")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("", (), {"free": 500})())
    put("b.arrow")  # 0.9 of 1500 hold one of them
    assert held(cache) == ["b.arrow"]


def test_what_a_reader_holds_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_CACHE_GB", "2.5e-6")
    with hold(put("a.arrow")):
        put("b.arrow")
        put("c.arrow")
        assert held(cache) == ["a.arrow", "c.arrow"], "the oldest is in use"
        with hold(cache / "c.arrow"), pytest.raises(UserError, match="of which trials use 0.00"):
            put("d.arrow")
    put("d.arrow")
    assert held(cache) == ["c.arrow", "d.arrow"]


def test_what_fails_leaves_nothing(cache: Path) -> None:
    def full(aside: Path) -> None:
        aside.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        cached("a.arrow", 1000, full)
    assert held(cache) == []


def test_what_a_killed_process_left_goes_and_what_is_being_fetched_stays(cache: Path) -> None:
    cache.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (cache / f"{name}.0123abcd.tmp").write_bytes(b"half")
        (cache / f"{name}.lock").touch()
    with (cache / "c.lock").open("a") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        put("a.arrow")
        assert held(cache) == ["a.arrow", "c.0123abcd.tmp"]
    put("d.arrow")
    assert held(cache) == ["a.arrow", "d.arrow"]


def test_many_at_once_stay_within_the_limit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_CACHE_GB", "5.5e-6")
    most = []

    def slow(aside: Path) -> None:
        time.sleep(0.02)
        most.append(len(held(cache)))

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda i: cached(f"{i}.arrow", 1000, slow), range(12)))
    assert 2 <= max(most) <= 5 and len(held(cache)) == 5


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMSWEEP_CACHE")
    assert cache_folder() == Path("~/.cache/samsweep").expanduser()
