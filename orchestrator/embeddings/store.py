"""An entry, filled and found sound: what the loader reads embeddings, and whatever else is stored of images, from."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from orchestrator.data.cache import hold
from orchestrator.data.fetch import Broken, local_shard, sha256
from orchestrator.data.schema import Shard
from orchestrator.embeddings.fill import Unit
from orchestrator.embeddings.key import EMBEDDING, USED
from orchestrator.embeddings.shards import Cell, Damaged, Form, from_bits, open_shard, read_note
from orchestrator.errors import UserError
from orchestrator.patience import patiently
from orchestrator.storage import Storage

MOST_OPEN = 64  #: shards that a process keeps mapped
TOUCH = 60.0  #: seconds between two signs that an entry is in use

_sound: set[tuple[str, int, int, str]] = set()  #: path, size, time and digest of local shards found sound


@dataclass(frozen=True)
class Stored:
    """What is stored of an image, in the type that it is stored in."""

    embedding: Tensor  #: Dxhxw
    blocks: tuple[Tensor, ...]  #: outputs hxwxC
    valid: tuple[int, int]  #: height and width of the part of the input that shows the image


class Parts:
    """Reads what is stored of the rows of some units; from several threads. ``advice``: where a shard has gone."""

    def __init__(self, folder: Storage, forms: Mapping[str, Form], units: Sequence[Unit], advice: str = "") -> None:
        self.folder, self.forms, self.units, self.advice = folder, dict(forms), list(units), advice
        self._places = {(u.split, u.flipped, row): (u, i) for u in units for i, row in enumerate(u.rows)}
        self._shards: dict[str, Shard] = {}
        self._opened: OrderedDict[str, tuple[Any, list[Cell]]] = OrderedDict()
        self._lock = threading.Lock()
        self._touched = 0.0

    def damaged(self) -> list[tuple[Unit, str]]:
        """Fetch and check all shards; (unit, part) of those that are not what they should be."""
        found = []
        for unit in self.units:
            self.touch()
            for part in self.forms:
                try:
                    self._check(unit, part)
                except Damaged:
                    found.append((unit, part))
        return found

    def drop(self, unit: Unit, part: str) -> None:
        """Remove a damaged shard, so that it is made anew."""
        shard = self._shards.pop(unit.stem(part), None)
        try:
            self._check(unit, part)
            return  # another rank was quicker
        except Damaged:
            pass
        self.folder.remove(f"{unit.stem(part)}.json")
        if shard is not None:
            self.folder.remove(shard.file)

    def tensors(self, split: str, row: int, flipped: bool = False) -> dict[str, Tensor]:
        """All parts of a row of a whole split. Raises UserError where a shard has gone."""
        cells = self._cells(split, row, flipped)
        return {part: from_bits(cell.values, self.forms[part].stored) for part, cell in cells.items()}

    def _cells(self, split: str, row: int, flipped: bool) -> dict[str, Cell]:
        self.touch()
        unit, within = self._places[split, flipped, row]
        return {part: self._open(unit, part)[within] for part in self.forms}

    def touch(self) -> None:
        """Say now and then that the entry is in use, so that nobody makes room of it."""
        now = time.monotonic()
        if now - self._touched > TOUCH or not self._touched:
            self._touched = now
            try:
                self.folder.write(USED, b"", patience=0)
            except UserError:
                self._touched = now - TOUCH / 2  # the store is away: once more in a while

    def _check(self, unit: Unit, part: str) -> None:
        try:
            shard = read_note(patiently(lambda: self.folder.read(f"{unit.stem(part)}.json")))
            if shard.rows != len(unit.rows):
                raise Damaged("it has other rows")
            self._shards[unit.stem(part)] = shard
            path = local_shard(self.folder, shard)
            if self.folder.is_local:
                _check_sound(path, shard)
        except (Broken, FileNotFoundError) as error:
            raise Damaged(str(error)) from error
        open_shard(path, self.forms[part], shard.rows)

    def _open(self, unit: Unit, part: str) -> list[Cell]:
        stem = unit.stem(part)
        with self._lock:
            if stem in self._opened:
                self._opened.move_to_end(stem)
                return self._opened[stem][1]
        opened = self._mapped(self._shards[stem], self.forms[part])
        with self._lock:
            self._opened[stem] = opened
            while len(self._opened) > MOST_OPEN:
                self._opened.popitem(last=False)  # an array that somebody still reads keeps its mapping
        return opened[1]

    def _mapped(self, shard: Shard, form: Form) -> tuple[Any, list[Cell]]:
        """What keeps the shard in the node's cache, and its arrays."""
        for attempt in range(3):
            path = local_shard(self.folder, shard)
            try:
                held = None if self.folder.is_local else hold(path)
                return held, open_shard(path, form, shard.rows)
            except (FileNotFoundError, Damaged) as error:
                # another process may just have made room in the node's cache
                if self.folder.is_local or attempt == 2:
                    raise UserError(f"{self.folder.uri}/{shard.file}: {error}; begin again{self.advice}") from error
        raise AssertionError


class Embeddings(Parts):
    """What frozen encoders say of images."""

    def __init__(self, folder: Storage, forms: Mapping[str, Form], units: Sequence[Unit]) -> None:
        super().__init__(folder, forms, units, ", or set data.embeddings=off")
        self._reads = 0

    def read(self, split: str, row: int, flipped: bool) -> Stored:
        """What is stored of a row of a whole split. Raises UserError where a shard has gone."""
        tensors = self.tensors(split, row, flipped)
        valid = self._cells(split, row, flipped)[EMBEDDING].valid
        with self._lock:
            self._reads += 1
        return Stored(tensors.pop(EMBEDDING), tuple(tensors.values()), valid)

    def read_since(self) -> int:
        """Images whose embedding was read since this was asked last."""
        with self._lock:
            reads, self._reads = self._reads, 0
        return reads


def _check_sound(path: Path, shard: Shard) -> None:
    """Whether a local shard's size and content are right; asked once a process. Raises Damaged."""
    stat = path.stat()
    known = (str(path), stat.st_size, stat.st_mtime_ns, shard.sha256)
    if known in _sound:
        return
    if stat.st_size != shard.bytes or sha256(path) != shard.sha256:
        raise Damaged("its size or sha256 differs")
    _sound.add(known)
