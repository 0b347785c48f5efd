"""One shard, written: rows stream into an Arrow IPC file, which appears when it is whole."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, BinaryIO

from pyarrow import ipc

from orchestrator.data.schema import SCHEMA, Row, Shard, to_record_batch
from orchestrator.storage import Storage

BATCH_BYTES = 8 * 2**20  #: all that is kept in memory


class ShardFile:
    """Shard ``number`` of a split, to be filled row by row; as a context manager, removed unless it is finished."""

    def __init__(self, folder: Storage, split: str, number: int) -> None:
        self.split, self.number = split, number
        self.bytes = self.rows = 0  #: of the rows so far
        self._folder = folder
        self._writing: AbstractContextManager[BinaryIO] | None = None
        self._file: Hashed | None = None
        self._writer: Any = None
        self._waiting: list[Row] = []
        self._waiting_bytes = 0

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was written, unless it is finished. Raises UserError where writing is what failed."""
        if self._writing:
            writing, self._writing = self._writing, None
            error = error or RuntimeError("not finished")
            writing.__exit__(type(error), error, trace)

    def add(self, row: Row) -> None:
        """Append a row."""
        size = len(row.image) + len(row.mask) + sum(len(v.image) + len(v.mask) for v in row.views)
        self._waiting.append(row)
        self._waiting_bytes += size
        self.bytes += size
        self.rows += 1
        if self._waiting_bytes >= BATCH_BYTES:
            self._flush()

    def finish(self) -> Shard:
        """Let it appear, under a name that tells its content. Raises UserError where that cannot be done."""
        self._flush()
        self._writer.close()
        assert self._file and self._writing
        writing, self._writing = self._writing, None
        writing.__exit__(None, None, None)
        return Shard(self._name(), self.rows, self._file.bytes, self._file.digest.hexdigest())

    def _name(self) -> str:
        assert self._file
        return f"{self.split}-{self.number:05d}-{self._file.digest.hexdigest()[:8]}.arrow"

    def _flush(self) -> None:
        if self._writing is None:
            self._writing = self._folder.writing(self._name)
            self._file = Hashed(self._writing.__enter__())
            self._writer = ipc.new_file(self._file, SCHEMA)
        if self._waiting:
            self._writer.write_batch(to_record_batch(self._waiting))
            self._waiting, self._waiting_bytes = [], 0


class Hashed:
    """A file that Arrow writes to, which counts and digests on the way. Its owner closes what lies below."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes, self.digest = 0, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        written = self._file.write(data)
        self.bytes += written
        return written

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.bytes

    def close(self) -> None:
        self.flush()
