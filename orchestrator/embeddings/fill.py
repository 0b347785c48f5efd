"""Filling an entry: whoever comes makes shards that nobody makes yet, and waits for those that others make."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.embeddings.claims import SILENCE, SUFFIX, Watch, claimed
from orchestrator.embeddings.shards import Encoded, Form, write_shards
from orchestrator.patience import patiently
from orchestrator.storage import Storage

PAUSE = 0.5  #: seconds between two looks at what others make


@dataclass(frozen=True)
class Unit:
    """What is claimed and made at once: some rows of a split, mirrored or not, in all parts."""

    split: str
    flipped: bool
    number: int
    rows: tuple[int, ...]  #: of the whole split
    some: str = ""  #: a digest of all rows that are stored, where those are few of the split's

    def stem(self, part: str) -> str:
        """What the files of one part are called, but for their ends."""
        words = (self.split, "flip" * self.flipped, self.some, part, f"{self.number:05d}")
        return "-".join(word for word in words if word)

    @property
    def claim(self) -> str:
        return self.stem("made") + SUFFIX

    def missing(self, parts: Sequence[str], there: set[str]) -> list[str]:
        """The parts that have no note among the names that are there."""
        return [part for part in parts if f"{self.stem(part)}.json" not in there]


Images = Iterator[Encoded]  #: one image after the other
Make = Callable[[Unit, list[str]], Images]  #: computes these parts of a unit
Progress = Callable[[int, int], None]  #: images done, of how many


def fill(
    folder: Storage,
    units: Sequence[Unit],
    forms: Mapping[str, Form],
    make: Make,
    progress: Progress = lambda done, of: None,
    silence: float = SILENCE,
) -> None:
    """Come back when every unit is there, whoever made it.

    Processes need not know of each other. A claim that is silent for so many seconds is taken over. Raises what
    ``make`` raises, and UserError where the store fails.
    """
    watch, parts = Watch(folder, silence), list(forms)
    total = sum(len(unit.rows) for unit in units)
    while True:
        there = set(patiently(folder.names))
        todo = [unit for unit in units if unit.missing(parts, there)]
        done = total - sum(len(unit.rows) for unit in todo)
        progress(done, total)
        if not todo:
            return
        free = (u for u in todo if u.claim not in there or watch.remove_if_silent(u.claim))
        unit = next(free, None)
        if unit is None:
            time.sleep(PAUSE)
            continue
        with claimed(folder, unit.claim, silence) as ours:
            if ours:
                _make(folder, unit, forms, make, lambda more, done=done: progress(done + more, total))  # type: ignore[misc]


def _make(folder: Storage, unit: Unit, forms: Mapping[str, Form], make: Make, told: Callable[[int], None]) -> None:
    """Make what is still missing: another one may have finished it before its claim was ours."""
    missing = unit.missing(list(forms), set(patiently(folder.names)))
    if not missing:
        return

    def counted() -> Images:
        for number, image in enumerate(make(unit, missing), 1):
            yield image
            told(number)

    write_shards(folder, unit.stem("{part}"), {part: forms[part] for part in missing}, counted())
