"""How far an ingest came: a note beside its finished shards, from which one that was killed goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.data.fetch import sha256
from orchestrator.data.pairing import Found
from orchestrator.data.schema import SCHEMA_VERSION, Shard, Skipped
from orchestrator.storage import Storage

FILE = "ingest.json"


@dataclass
class Progress:
    """The shards that are finished, and how many of the source's pairs they and the bad files account for."""

    plan: str  #: a digest of what is ingested, and how
    done: int = 0
    splits: dict[str, list[Shard]] = field(default_factory=dict)
    bad: list[Skipped] = field(default_factory=list)

    def save(self, folder: Storage) -> None:
        folder.write(FILE, json.dumps(dataclasses.asdict(self)).encode())


def load_progress(folder: Storage, plan: str, in_force: Collection[str] = ()) -> Progress:
    """What is there of the same plan, all its shards sound; else a new beginning.

    ``in_force`` are the shards of the data set that is there already: a note of just these was left behind by
    its own ingest. A shard in an object store is judged by its size: it appears whole or not at all.
    """
    try:
        raw = json.loads(folder.read(FILE))
        found = Progress(
            str(raw["plan"]),
            int(raw["done"]),
            {split: [Shard(**shard) for shard in shards] for split, shards in raw["splits"].items()},
            [Skipped(**entry) for entry in raw["bad"]],
        )
        shards = [shard for shards in found.splits.values() for shard in shards]
        fresh = {shard.file for shard in shards} != set(in_force)
        if found.plan == plan and fresh and all(_is_sound(folder, shard) for shard in shards):
            return found
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass  # nothing there, or a note that nobody can go on from
    return Progress(plan)


def _is_sound(folder: Storage, shard: Shard) -> bool:
    if folder.size(shard.file) != shard.bytes:
        return False
    return not folder.is_local or sha256(folder.local(shard.file)) == shard.sha256


def plan_of(found: Found, how: Sequence[object]) -> str:
    """A digest of the pairs (names, sizes and times of their files) and of ``how`` they are ingested."""
    digest = hashlib.sha256(repr((SCHEMA_VERSION, found.split_rule, *how)).encode())
    for pair in found.pairs:
        files = [(found.name(path), _state(path)) for path in (pair.image, pair.mask)]
        digest.update(repr((pair.split, pair.id, pair.group, files)).encode())
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int, int] | None:
    """Size and times of a file; None where it cannot be read, which the ingest will say."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
