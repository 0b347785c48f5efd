"""The shards that this machine has fetched: one file each, shared by all its processes, bounded.

``$SAMSWEEP_CACHE/shards/SHA256.arrow``, beside each a lock that is held while it is fetched. What was used
longest ago goes first. A reader keeps a file that it has mapped, even when its name goes.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: processes may then fetch the same shard twice, which is only slower
    fcntl = None  # type: ignore[assignment]

KEEP_FREE = 0.1  #: of what the cache may have, where SAMSWEEP_CACHE_GB says nothing else


def cache_folder() -> Path:
    """``$SAMSWEEP_CACHE``, or ``~/.cache/samsweep``."""
    return Path(os.environ.get("SAMSWEEP_CACHE") or "~/.cache/samsweep").expanduser()


def cached(name: str, size: int, fill: Callable[[Path], None]) -> Path:
    """The path of a file of ``size`` bytes in the cache, which ``fill`` writes where it is not there.

    Of several processes that ask at once, one fills. Raises OSError where the cache cannot be written, and
    UserError where it is too small.
    """
    target = cache_folder() / "shards" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if target.exists() and target.stat().st_size == size:
            os.utime(target)  # when it was used last
            return target
        for left in target.parent.glob(f"{target.name}.*.tmp"):  # of a process that was killed
            left.unlink(missing_ok=True)
        aside = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with _locked(target.parent / "room.lock"):
                _make_room(target.parent, size)
                with aside.open("wb") as file:
                    file.truncate(size)  # others count it from now on
            fill(aside)
            with _locked(target.parent / "room.lock"):
                aside.rename(target)
        finally:
            aside.unlink(missing_ok=True)
    return target


def _make_room(folder: Path, size: int) -> None:
    """Remove what was used longest ago until ``size`` more bytes fit."""
    held: dict[Path, os.stat_result] = {}
    for path in folder.iterdir():
        if path.suffix in (".arrow", ".tmp"):
            with suppress(FileNotFoundError):  # a fetch that failed just now
                held[path] = path.stat()
    used = sum(stat.st_size for stat in held.values())
    limit = _limit(folder, used)
    if size > limit:
        raise UserError(
            f"{folder}: {size / 1e9:.2f} GB do not fit into a cache of {limit / 1e9:.2f} GB; "
            "raise SAMSWEEP_CACHE_GB, or set SAMSWEEP_CACHE to a larger disk"
        )
    for path in sorted((p for p in held if p.suffix == ".arrow"), key=lambda p: held[p].st_mtime_ns):
        if used + size <= limit:
            return
        path.unlink(missing_ok=True)
        used -= held[path].st_size


def _limit(folder: Path, used: int) -> int:
    given = os.environ.get("SAMSWEEP_CACHE_GB")
    if not given:
        return int((1 - KEEP_FREE) * (used + shutil.disk_usage(folder).free))
    try:
        limit = float(given)
        if not limit > 0:
            raise ValueError
    except ValueError:
        raise UserError(f"SAMSWEEP_CACHE_GB={given}: not a number of gigabytes above 0") from None
    return int(limit * 1e9)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
