"""How much all entries together may take, and who has to go where that is too much."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from dataclasses import dataclass
from typing import Any

from orchestrator.embeddings.key import FILE, ROOT
from orchestrator.errors import UserError
from orchestrator.storage import Entry, Storage

DEFAULT_GB = 200.0
IDLE = 600.0  #: seconds of disuse before which no entry is removed: longer than a store that is away is waited for
KEEP_FREE = 0.1  #: of a local disk


@dataclass(frozen=True)
class Stored:
    """An entry as it lies under STORAGE."""

    path: str  #: relative to STORAGE
    bytes: int
    used: float  #: when last, in seconds since 1970: whoever reads or fills it writes a file now and then

    def idle(self, seconds: float = IDLE) -> bool:
        return time.time() - self.used > seconds


def entries(storage: Storage) -> list[Stored]:
    """All entries under STORAGE, the one that was used longest ago first."""
    found: dict[str, list[Entry]] = {}
    for path, entry in storage.tree(ROOT).items():
        parts = path.split("/")
        if len(parts) > 2 and not entry.is_folder:
            found.setdefault("/".join(parts[:2]), []).append(entry)
    stored = [Stored(path, sum(e.bytes for e in all_), max(e.modified for e in all_)) for path, all_ in found.items()]
    return sorted(stored, key=lambda entry: entry.used)


def about(storage: Storage, entry: Stored) -> dict[str, Any]:
    """The key of an entry as a dictionary; empty where it cannot be read."""
    with contextlib.suppress(UserError, OSError, ValueError):
        raw = json.loads(storage.read(f"{entry.path}/{FILE}"))
        return raw if isinstance(raw, dict) else {}
    return {}


def limit() -> int:
    """Bytes that all entries may take. Raises UserError where SAMSWEEP_EMBEDDINGS_GB is no such number."""
    given = os.environ.get("SAMSWEEP_EMBEDDINGS_GB")
    try:
        gigabytes = float(given) if given else DEFAULT_GB
        if not 0 <= gigabytes < math.inf:
            raise ValueError
    except ValueError:
        raise UserError(f"SAMSWEEP_EMBEDDINGS_GB={given}: not a number of gigabytes") from None
    return int(gigabytes * 1e9)


def make_room(storage: Storage, own: str, more: int) -> None:
    """Remove idle entries until ``more`` bytes fit into the entry ``own``.

    Raises:
        UserError: they do not fit; nothing is removed where it would not help.
    """
    there = entries(storage)
    most = limit()
    free = math.inf
    if storage.is_local:
        storage.local().mkdir(parents=True, exist_ok=True)
        usage = shutil.disk_usage(storage.local())
        free = usage.free - KEEP_FREE * usage.total
    idle = [entry for entry in there if entry.path != own and entry.idle()]
    used = sum(entry.bytes for entry in there)
    removable = sum(entry.bytes for entry in idle)
    if used - removable + more > most:
        raise UserError(
            f"{storage.uri}/{own}: {more / 1e9:.2f} GB more of embeddings than the {most / 1e9:.2f} GB of "
            f"SAMSWEEP_EMBEDDINGS_GB hold beside {(used - removable) / 1e9:.2f} GB that are in use; raise it"
        )
    if more > free + removable:
        raise UserError(f"{storage.uri}/{own}: no space left for {more / 1e9:.2f} GB of embeddings; free some")
    for entry in idle:
        if used + more <= most and more <= free:
            return
        storage.remove(entry.path)
        used, free = used - entry.bytes, free + entry.bytes
