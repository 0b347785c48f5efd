"""Where a shard lies on this machine: in place, or in the node's cache, which is filled once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.data.cache import cache_folder, cached, shard_path
from orchestrator.data.schema import Shard, first_line
from orchestrator.errors import UserError
from orchestrator.patience import patiently
from orchestrator.storage import Storage

CHUNK = 2**20


class Broken(UserError):
    """A shard cannot be used; whoever can make it anew need not give up."""


def broken(folder: Storage, shard: Shard, why: str) -> Broken:
    """The error for a shard that cannot be used."""
    return Broken(f"{folder.uri}/{shard.file}: {why}; ingest it again with --replace")


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

    Safe with several processes. A store that is away for a moment is waited for. Raises UserError where the
    shard cannot be fetched or was altered.
    """
    if folder.is_local:
        return folder.local(shard.file)
    try:
        return cached(_name(shard), shard.bytes, lambda aside: _fetch(folder, shard, aside))
    except OSError as error:
        raise UserError(
            f"{cache_folder()}: the cache cannot be written ({error.strerror or first_line(error)}); "
            "set SAMSWEEP_CACHE to another folder"
        ) from error


def sound_shard(folder: Storage, shard: Shard) -> Path:
    """A path of the shard whose content is right; a copy in the cache that is not is fetched again.

    Raises UserError where the shard itself is not.
    """
    path = local_shard(folder, shard)
    if sha256(path) == shard.sha256:
        return path
    if not forget(folder, shard):
        raise broken(folder, shard, "the shard was altered (its sha256 differs)")
    return local_shard(folder, shard)


def forget(folder: Storage, shard: Shard) -> bool:
    """Remove a shard's copy from the cache; False where it lies in place."""
    if folder.is_local:
        return False
    shard_path(_name(shard)).unlink(missing_ok=True)
    return True


def _name(shard: Shard) -> str:
    return f"{shard.sha256}.arrow"


def sha256(path: Path) -> str:
    """The hex sha256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(folder: Storage, shard: Shard, aside: Path) -> None:
    try:
        patiently(lambda: _copy(folder, shard, aside))
    except _StoreFault as error:
        fault = error.__cause__ or error
        raise broken(folder, shard, f"the shard cannot be read ({first_line(fault)})") from fault
    if sha256(aside) != shard.sha256:
        raise broken(folder, shard, "the shard was altered (its sha256 differs)")


class _StoreFault(Exception):
    """What went wrong with the store, to be told from what is wrong with the cache's disk."""


def _copy(folder: Storage, shard: Shard, aside: Path) -> None:
    with aside.open("r+b") as file:  # as large as the shard already
        for chunk in _chunks(folder, shard):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())  # a hole of the right size would pass for the shard after a power cut


def _chunks(folder: Storage, shard: Shard) -> Iterator[bytes]:
    try:
        with folder.fs.open(folder.path(shard.file), "rb") as remote:
            while chunk := remote.read(CHUNK):
                yield chunk
    except Exception as error:
        raise _StoreFault from error
