"""How far an ingest came: a note beside its finished shards, from which one that was killed goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

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


def load_progress(folder: Storage, plan: str) -> Progress:
    """What is there of the same plan with all its shards whole in size; else a new beginning."""
    try:
        raw = json.loads(folder.read(FILE))
        found = Progress(
            str(raw["plan"]),
            int(raw["done"]),
            {split: [Shard(**shard) for shard in shards] for split, shards in raw["splits"].items()},
            [Skipped(**entry) for entry in raw["bad"]],
        )
        shards = [shard for shards in found.splits.values() for shard in shards]
        if found.plan == plan and all(folder.size(shard.file) == shard.bytes for shard in shards):
            return found
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass  # nothing there, or a note that nobody can go on from
    return Progress(plan)


def plan_of(found: Found, how: Sequence[object]) -> str:
    """A digest of the pairs (names, sizes and times of their files) and of ``how`` they are ingested."""
    digest = hashlib.sha256(repr((SCHEMA_VERSION, found.split_rule, *how)).encode())
    for pair in found.pairs:
        files = [(found.name(path), _state(path)) for path in (pair.image, pair.mask)]
        digest.update(repr((pair.split, pair.id, pair.group, files)).encode())
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where it cannot be read, which the ingest will say."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
