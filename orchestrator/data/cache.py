"""The shards that this machine has fetched: one file each, shared by all its processes, bounded.

``$SAMSWEEP_CACHE/shards/SHA256.arrow``, beside each a lock that is held while it is fetched. What was used
longest ago goes first, but never what a reader holds: a mapped file takes its room on the disk even when its
name is gone.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: processes may then fetch the same shard twice, which is only slower
    fcntl = None  # type: ignore[assignment]

#: How often this process and those it forked found a file in the cache, and how often they had to fetch it.
_found, _fetched = multiprocessing.Value("Q"), multiprocessing.Value("Q")
KEEP_FREE = 0.1  #: of what the cache may have, where SAMSWEEP_CACHE_GB says nothing else


def cache_folder() -> Path:
    """``$SAMSWEEP_CACHE``, or ``~/.cache/samsweep``."""
    return Path(os.environ.get("SAMSWEEP_CACHE") or "~/.cache/samsweep").expanduser()


def shard_path(name: str) -> Path:
    """Where a file lies in the cache, whether it is there or not."""
    return cache_folder() / "shards" / name


def cached(name: str, size: int, fill: Callable[[Path], None]) -> Path:
    """The path of a file of ``size`` bytes in the cache, which ``fill`` writes where it is not there.

    Of several processes that ask at once, one fills. Raises OSError where the cache cannot be written, and
    UserError where it is too small.
    """
    target = shard_path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if target.exists() and target.stat().st_size == size:
            os.utime(target)  # when it was used last
            _count(_found)
            return target
        aside = target.with_name(f"{target.stem}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with _locked(target.parent / "room.lock"):
                _make_room(target.parent, size, target.stem)
                with aside.open("wb") as file:
                    file.truncate(size)  # others count it from now on
            fill(aside)
            with _locked(target.parent / "room.lock"):
                aside.rename(target)
        finally:
            aside.unlink(missing_ok=True)
    _count(_fetched)
    return target


class Lookups:
    """What this process, and those it forked, asked the cache for since this was made or asked last."""

    def __init__(self) -> None:
        self._before = _found.value, _fetched.value

    def take(self) -> tuple[int, int]:
        """How often a file was there, and how often it had to be fetched."""
        now, before = (_found.value, _fetched.value), self._before
        self._before = now
        return now[0] - before[0], now[1] - before[1]


def _count(value: Any) -> None:
    with value.get_lock():
        value.value += 1


def hold(path: Path) -> BinaryIO:
    """An open file that keeps its room in the cache until it is closed. Raises FileNotFoundError."""
    file = path.open("rb")
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _make_room(folder: Path, size: int, own: str) -> None:
    """Remove what was used longest ago until ``size`` more bytes fit. ``own`` is whose lock is held here."""
    held: dict[Path, os.stat_result] = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # a fetch that failed just now
            if path.suffix == ".tmp" and _remove_if_free(path, folder / f"{path.name.split('.')[0]}.lock", own):
                continue
            if path.suffix in (".arrow", ".tmp"):
                held[path] = path.stat()
    used = sum(stat.st_size for stat in held.values())
    limit = _limit(folder, used)
    if size <= limit:
        for path in sorted((p for p in held if p.suffix == ".arrow"), key=lambda p: held[p].st_mtime_ns):
            if used + size <= limit:
                return
            if _remove_if_free(path, path):
                used -= held[path].st_size
    if used + size > limit:
        raise UserError(
            f"{folder}: {size / 1e9:.2f} GB more do not fit into a cache of {limit / 1e9:.2f} GB, of which trials "
            f"use {used / 1e9:.2f}; raise SAMSWEEP_CACHE_GB, or set SAMSWEEP_CACHE to a larger disk"
        )


def _remove_if_free(path: Path, lock: Path, own: str = "") -> bool:
    """Remove a file unless somebody holds its lock; whether it went."""
    if fcntl and lock.stem != own and lock.exists():
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            path.unlink(missing_ok=True)
            return True
    path.unlink(missing_ok=True)
    return True


def _limit(folder: Path, used: int) -> int:
    given = os.environ.get("SAMSWEEP_CACHE_GB")
    if not given:
        return int((1 - KEEP_FREE) * (used + shutil.disk_usage(folder).free))
    try:
        limit = float(given)
        if not 0 < limit < math.inf:
            raise ValueError
    except ValueError:
        raise UserError(f"SAMSWEEP_CACHE_GB={given}: not a number of gigabytes above 0") from None
    return int(limit * 1e9)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if fcntl:  # closing is not enough where a child was forked meanwhile
                fcntl.flock(file, fcntl.LOCK_UN)
