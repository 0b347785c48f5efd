"""The items of one shard: cut beforehand by the sizes of their files, so that any worker may write any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.data.ahead import map_ahead
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.layouts.base import Found, Item
from orchestrator.data.rows import Source
from orchestrator.data.schema import SCHEMA_VERSION, Shard, Skipped
from orchestrator.data.shardfile import ShardFile
from orchestrator.storage import Storage

OnRows = Callable[[int, str], None]  #: told how many more items were read, and the id of the last


@dataclass(frozen=True)
class Portion:
    """What goes into shard ``number`` of a split."""

    split: str
    number: int
    items: Sequence[Item]

    @property
    def key(self) -> str:
        """Its name in the note of progress."""
        return f"{self.split}-{self.number:05d}"


@dataclass(frozen=True)
class Written:
    """What became of a portion."""

    shard: Shard | None  #: None where nothing of it was usable, or nothing was to be written
    bad: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Portioner:
    """Reads, checks and writes portions; travels to any node that sees the source and the store."""

    source: Source
    folder: Storage  #: of the dataset
    skip_bad: bool
    threads: int
    write: bool = True  #: else items are only checked

    def __call__(self, portion: Portion, on_rows: OnRows = lambda count, last: None) -> Written:
        """Write a portion's shard, but for one with bad items where these are not to be skipped."""
        bad: list[Skipped] = []
        rows = map_ahead(self.source.read, portion.items, self.threads, 2 * self.threads)
        with closing(rows), ShardFile(self.folder, portion.split, portion.number) as file:
            for item, outcome in zip(portion.items, rows, strict=True):
                if isinstance(outcome, Skipped):
                    bad.append(outcome)
                elif self.write and (self.skip_bad or not bad):
                    file.add(outcome)
                on_rows(1, item.id)
            usable = file.rows and (self.skip_bad or not bad)
            return Written(file.finish() if usable else None, tuple(bad))


def here(
    portioner: Portioner, portions: Sequence[Portion], on_rows: OnRows
) -> Generator[tuple[Portion, Written], None, None]:
    """One portion after the other in this process, whose threads share its rows."""
    for portion in portions:
        written = portioner(portion, on_rows)
        if written.bad and not portioner.skip_bad:
            portioner = replace(portioner, write=False)  # it ends with an error: the rest is looked at, no more
        yield portion, written


def cut(found: Found, layout_name: str, shard_bytes: int, how: Sequence[object]) -> tuple[list[Portion], str]:
    """The portions of at least ``shard_bytes`` of files each (but for a split's last), and their digest.

    The digest tells names, sizes and times of all files, and ``how`` they are ingested.
    """
    layout = LAYOUTS[layout_name]
    digest = hashlib.sha256(repr((SCHEMA_VERSION, found.split_rule, found.classes, shard_bytes, *how)).encode())
    portions: list[Portion] = []
    numbers: dict[str, int] = {}
    begun, size = 0, 0
    for position, item in enumerate(found.items):
        states = [_state(found.root / name) for name in layout.sources(found.root, item)]
        digest.update(repr((item.split, item.id, item.group, item.image, item.mask, item.extra, states)).encode())
        size += sum(state[0] for state in states if state)
        following = found.items[position + 1].split if position + 1 < len(found.items) else None
        if size >= shard_bytes or following != item.split:
            number = numbers.get(item.split, 0)
            portions.append(Portion(item.split, number, found.items[begun : position + 1]))
            numbers[item.split], begun, size = number + 1, position + 1, 0
    return portions, digest.hexdigest()


def _state(path: Path) -> tuple[int, int, int] | None:
    """Size and times of a file; None where it cannot be read, which the ingest will say."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
