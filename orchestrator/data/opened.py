"""One shard, open: a memory-mapped Arrow file whose rows are read in place."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from orchestrator.data.cache import hold
from orchestrator.data.fetch import broken, forget, local_shard
from orchestrator.data.schema import SCHEMA, Shard, first_line
from orchestrator.errors import UserError
from orchestrator.storage import Storage


class OpenedShard:
    """A memory-mapped Arrow file; its record batches are views, so that threads may share them."""

    def __init__(self, folder: Storage, shard: Shard) -> None:
        self._folder, self._shard = folder, shard
        self._held, mapped = _mapped(folder, shard)
        try:
            self._batches = self._read(mapped)
        except UserError:
            if not forget(folder, shard):
                raise
            # a copy in the cache that was damaged: the store has the last word
            self._held, mapped = _mapped(folder, shard)
            self._batches = self._read(mapped)
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64).tolist()

    def _read(self, mapped: pa.MemoryMappedFile) -> list[pa.RecordBatch]:
        try:
            reader = ipc.open_file(mapped)
            same = reader.schema.equals(SCHEMA)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)] if same else []
            for batch in batches:
                batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise self.broken(f"the shard cannot be read ({first_line(error)})") from error
        if not same:
            raise self.broken("the shard has another schema")
        rows = sum(batch.num_rows for batch in batches)
        if rows != self._shard.rows:
            raise self.broken(f"the shard has {rows} rows, but the manifest says {self._shard.rows}")
        return batches

    def broken(self, why: str) -> UserError:
        """The error that names this shard."""
        return broken(self._folder, self._shard, why)

    def row(self, row: int, names: Sequence[str] = tuple(SCHEMA.names)) -> dict[str, Any]:
        """The named cells of a row."""
        number = bisect.bisect_right(self._ends, row)
        within = row - (self._ends[number - 1] if number else 0)
        return {name: self._batches[number].column(name)[within].as_py() for name in names}

    def column(self, name: str) -> list[str]:
        """One cell of every row, in order."""
        return [value for batch in self._batches for value in batch.column(name).to_pylist()]


def _mapped(folder: Storage, shard: Shard) -> tuple[BinaryIO, pa.MemoryMappedFile]:
    """The shard's file, held in the cache, and its mapping."""
    for attempt in range(3):
        path = local_shard(folder, shard)
        try:
            return hold(path), pa.memory_map(str(path), "r")
        except FileNotFoundError:  # another process made room just before it was held
            if folder.is_local or attempt == 2:
                raise broken(folder, shard, "the shard is missing") from None
        except OSError as error:
            raise broken(folder, shard, f"the shard cannot be read ({first_line(error)})") from error
    raise AssertionError
