"""Where a shard lies on this machine: in place, or in a cache that is filled once."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.data.schema import Shard, first_line
from orchestrator.errors import UserError
from orchestrator.storage import Storage

try:
    import fcntl
except ImportError:  # Windows: processes may then fetch the same shard twice, which is only slower
    fcntl = None  # type: ignore[assignment]

CHUNK = 2**20


def cache_folder() -> Path:
    """``$SAMSWEEP_CACHE``, or ``~/.cache/samsweep``."""
    return Path(os.environ.get("SAMSWEEP_CACHE") or "~/.cache/samsweep").expanduser()


def broken(folder: Storage, shard: Shard, why: str) -> UserError:
    """The error for a shard that cannot be used."""
    return UserError(f"{folder.uri}/{shard.file}: {why}; ingest it again with --replace")


def check_present(folder: Storage, shard: Shard) -> None:
    """Raise UserError unless the shard is there with the size that the manifest gives."""
    try:
        size = folder.size(shard.file)
    except FileNotFoundError as error:
        raise broken(folder, shard, "the shard is missing") from error
    except Exception as error:
        raise broken(folder, shard, f"the shard cannot be read ({first_line(error)})") from error
    if size != shard.bytes:
        raise broken(folder, shard, f"the shard has {size} bytes, but the manifest says {shard.bytes}")


def local_shard(folder: Storage, shard: Shard) -> Path:
    """A path on this machine that holds the shard; a remote one is fetched once and verified.

    Safe with several processes. Raises UserError where it cannot be fetched or was altered.
    """
    if folder.is_local:
        return folder.local(shard.file)
    target = cache_folder() / "shards" / f"{shard.sha256}.arrow"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_suffix(".lock")):
            if not target.exists() or target.stat().st_size != shard.bytes:
                _fetch(folder, shard, target)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(f"{target}: cannot be written ({reason}); set SAMSWEEP_CACHE to another folder") from error
    return target


def sha256(path: Path) -> str:
    """The hex sha256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(folder: Storage, shard: Shard, target: Path) -> None:
    aside = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        try:
            remote = folder.fs.open(folder.path(shard.file), "rb")
        except Exception as error:
            raise broken(folder, shard, f"the shard cannot be read ({first_line(error)})") from error
        with remote, aside.open("wb") as file:
            shutil.copyfileobj(remote, file, CHUNK)
        if sha256(aside) != shard.sha256:
            raise broken(folder, shard, "the shard was altered (its sha256 differs)")
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
