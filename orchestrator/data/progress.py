"""How far an ingest came: a note beside its finished shards, from which one that was killed goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass, field

from orchestrator.data.fetch import sha256
from orchestrator.data.portions import Written
from orchestrator.data.schema import Shard, Skipped
from orchestrator.storage import Storage

FILE = "ingest.json"


@dataclass
class Progress:
    """What became of the portions that are finished."""

    plan: str  #: a digest of what is ingested, and how
    done: dict[str, Written] = field(default_factory=dict)  #: by the portion's key

    def save(self, folder: Storage) -> None:
        """Write the note beside the shards. Raises UserError where that cannot be done."""
        folder.write(FILE, json.dumps(dataclasses.asdict(self)).encode())


def load_progress(folder: Storage, plan: str, in_force: Collection[str] = ()) -> Progress:
    """What is there of the same plan, all its shards sound; else a new beginning.

    ``in_force`` are the shards of the data set that is there already: a note of just these was left behind by
    its own ingest. A shard in an object store is judged by its size: it appears whole or not at all.
    """
    try:
        raw = json.loads(folder.read(FILE))
        found = Progress(str(raw["plan"]), {str(key): _written(entry) for key, entry in raw["done"].items()})
        shards = [written.shard for written in found.done.values() if written.shard]
        fresh = {shard.file for shard in shards} != set(in_force)
        if found.plan == plan and fresh and all(_is_sound(folder, shard) for shard in shards):
            return found
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass  # nothing there, or a note that nobody can go on from
    return Progress(plan)


def _written(raw: dict[str, object]) -> Written:
    shard, bad = raw["shard"], raw["bad"]
    return Written(Shard(**shard) if shard else None, tuple(Skipped(**entry) for entry in bad))  # type: ignore


def _is_sound(folder: Storage, shard: Shard) -> bool:
    if folder.size(shard.file) != shard.bytes:
        return False
    return not folder.is_local or sha256(folder.local(shard.file)) == shard.sha256
