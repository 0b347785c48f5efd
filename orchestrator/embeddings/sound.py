"""An entry brought to where everything in it is there and sound: filled, checked, made anew where it is damaged."""

from __future__ import annotations

import logging
import time

from orchestrator.embeddings.fill import Make, Progress, fill
from orchestrator.embeddings.store import Parts
from orchestrator.errors import UserError
from orchestrator.storage import BESIDE

TRIES = 3  #: a damaged shard is made anew; another rank may be at it, too


def tidy(parts: Parts, silence: float) -> set[str]:
    """Remove what was half written by somebody who was killed; the names that are there."""
    tree = parts.folder.tree()
    for name, entry in tree.items():
        if BESIDE.search(name) and time.time() - entry.modified > silence:
            parts.folder.remove(name)
    return set(tree)


def fill_soundly(parts: Parts, make: Make, told: Progress) -> None:
    """Fill, check, and make anew what is damaged. Raises UserError where that does not help."""
    for _ in range(TRIES):
        fill(parts.folder, parts.units, parts.forms, make, told)
        damaged = parts.damaged()
        if not damaged:
            return
        for unit, part in damaged:
            logging.getLogger("samsweep").warning("%s: %s is damaged; made anew", parts.folder.uri, unit.stem(part))
            parts.drop(unit, part)
    raise UserError(f"{parts.folder.uri}: its shards come out damaged again and again; look at that disk")
