"""One shard, written: rows go into an Arrow IPC file in memory, which then appears whole."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from orchestrator.data.schema import SCHEMA, Row, Shard, to_record_batch
from orchestrator.storage import Storage

BATCH_BYTES = 8 * 2**20


class ShardFile:
    """Shard ``number`` of a split, to be filled row by row."""

    def __init__(self, split: str, number: int) -> None:
        self.split, self.number = split, number
        self.bytes = self.rows = 0  #: of the rows so far
        self._sink: Any = pa.BufferOutputStream()
        self._writer: Any = ipc.new_file(self._sink, SCHEMA)
        self._waiting: list[Row] = []
        self._waiting_bytes = 0

    def add(self, row: Row) -> None:
        size = len(row.image) + len(row.mask) + sum(len(v.image) + len(v.mask) for v in row.views)
        self._waiting.append(row)
        self._waiting_bytes += size
        self.bytes += size
        self.rows += 1
        if self._waiting_bytes >= BATCH_BYTES:
            self._flush()

    def write(self, folder: Storage) -> Shard:
        """Write it under a name that tells its content. Raises UserError where that cannot be done."""
        self._flush()
        self._writer.close()
        data = memoryview(self._sink.getvalue())
        digest = hashlib.sha256(data).hexdigest()
        file = f"{self.split}-{self.number:05d}-{digest[:8]}.arrow"
        with folder.writing(file) as stream:
            stream.write(data)
        return Shard(file, self.rows, len(data), digest)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_batch(to_record_batch(self._waiting))
            self._waiting, self._waiting_bytes = [], 0
