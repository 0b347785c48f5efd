"""Writing a dataset: shards first, the manifest last; its appearance is the commit."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from orchestrator.data.progress import FILE as PROGRESS
from orchestrator.data.progress import Progress, load_progress
from orchestrator.data.schema import (
    MANIFEST,
    SCHEMA,
    SCHEMA_VERSION,
    Manifest,
    Row,
    Shard,
    Skipped,
    fingerprint,
    load_manifest,
    to_record_batch,
)
from orchestrator.errors import UserError
from orchestrator.storage import Storage

try:
    import fcntl
except ImportError:  # Windows: two ingests of one name are then found at the commit of the second
    fcntl = None  # type: ignore[assignment]

LOCK = "ingest.lock"
BATCH_BYTES = 8 * 2**20
SHARD_BYTES = 64 * 2**20
OURS = re.compile(r"(\w+-\d{5}-[0-9a-f]{8}\.arrow|manifest\.json|ingest\.json|ingest\.lock)(\.[0-9a-f]{8}\.tmp)?")


def check_name(name: str) -> None:
    """Raise UserError unless ``name`` can name a dataset."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        raise UserError(f"dataset name '{name}': use letters, digits, - and _ only (at most 100)")


class DatasetWriter:
    """Writes one dataset under ``out/name``, as a context manager.

    ``add`` rows split by split, then ``commit``. Leaving the block without a commit, for whatever reason,
    removes what was written; an older dataset of that name is untouched until the commit. Memory is
    bounded by one shard. With a ``plan`` (a digest of what is to be written), a writer that was killed is
    gone on from: ``progress`` says how far it came. Raises UserError where the name is taken (unless
    ``replace``), is not valid, or the storage cannot be written. One ingest of a name at a time: a second one
    fails at its commit.
    """

    def __init__(
        self, out: Storage, name: str, *, replace: bool = False, shard_bytes: int = SHARD_BYTES, plan: str = ""
    ) -> None:
        check_name(name)
        self.name, self.folder, self.out, self.shard_bytes = name, out / name, out, shard_bytes
        old = self._current(lenient=replace)
        if old is not None and not replace:
            raise UserError(
                f"{self.folder.uri}: already ingested ({old.rows()} rows, fingerprint "
                f"{old.fingerprint[:8]}); --replace ingests anew"
            )
        # Shards are named by their content, so an old one may be written again under its own name.
        self._old = {shard.file for shard in old.shards()} if old else set()
        self._made_out = not out.exists()
        out.check_writable()
        foreign = [entry for entry in self.folder.names() if not OURS.fullmatch(entry)]
        if foreign:
            raise UserError(f"{self.folder.uri}: holds other files ({foreign[0]}); choose another name or --out")
        self.progress = Progress(plan)
        self._written: list[str] = []
        self._open: _OpenShard | None = None
        self._committed = False
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> DatasetWriter:
        self._lock.enter_context(_alone(self.folder))
        if self.progress.plan:
            self.progress = load_progress(self.folder, self.progress.plan, self._old)
        self._splits = self.progress.splits
        self._split = next(reversed(self._splits), "")
        self._written = [shard.file for shards in self._splits.values() for shard in shards]
        if self._written:
            self._written.append(PROGRESS)
        return self

    @property
    def splits(self) -> list[str]:
        """The splits that have rows."""
        return list(self._splits)

    def add(self, split: str, row: Row, done: int = 0, bad: Sequence[Skipped] = ()) -> None:
        """Append a row to ``split``; the rows of a split come one after another.

        ``done`` and ``bad`` are what ``progress`` shall say once the row's shard is finished.
        """
        if split != self._split:
            if split in self._splits:
                raise ValueError(f"split '{split}' was finished before")
            self._close_shard()
            self._split = split
            self._splits[split] = []
        if self._open is None:
            self._open = _OpenShard()
        full = self._open.add(row) >= self.shard_bytes
        self._last = done, bad, len(bad)
        if full:
            self._close_shard()

    def commit(
        self,
        *,
        task: str,
        layout: str,
        split_rule: str,
        stand_in: bool = False,
        skipped: tuple[Skipped, ...] = (),
    ) -> Manifest:
        """Write the manifest and remove what an older dataset of this name leaves behind."""
        self._close_shard()
        splits = {split: tuple(shards) for split, shards in self._splits.items()}
        manifest = Manifest(
            name=self.name,
            schema_version=SCHEMA_VERSION,
            task=task,
            layout=layout,
            split_rule=split_rule,
            stand_in=stand_in,
            splits=splits,
            skipped=skipped,
            fingerprint=fingerprint(task, splits),
        )
        kept = {shard.file for shard in manifest.shards()}
        if not kept <= set(self.folder.names()):
            raise UserError(f"{self.folder.uri}: shards vanished while writing; is another ingest of it running?")
        self.folder.write(MANIFEST, manifest.to_json().encode())
        self._committed = True
        self._remove_except(kept | {MANIFEST})
        return manifest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove this writer's shards, but for those that the manifest in force lists."""
        # What cannot be seen or removed now (a lost connection) must not hide the error that brought us here.
        with self._lock, contextlib.suppress(Exception):
            if self._committed:
                return
            current = self._current(lenient=True)
            listed = {shard.file for shard in current.shards()} if current else self._old
            for file in {*self._written, LOCK} - listed:
                self.folder.remove(file)
            if not self.folder.names():
                self.folder.remove()
            if self._made_out and not self.out.names():
                self.out.remove()

    def _current(self, lenient: bool) -> Manifest | None:
        """The manifest in force; ``lenient``: None where it is damaged, but not where it cannot be read."""
        if not lenient:
            return load_manifest(self.out, self.name)
        if not self.folder.exists(MANIFEST):
            return None
        text = self.folder.read(MANIFEST)
        try:
            return Manifest.from_json(text, f"{self.folder.uri}/{MANIFEST}")
        except UserError:
            return None

    def _close_shard(self) -> None:
        if self._open is None:
            return
        data, rows = self._open.finish()
        self._open = None
        digest = hashlib.sha256(data).hexdigest()
        shards = self._splits[self._split]
        file = f"{self._split}-{len(shards):05d}-{digest[:8]}.arrow"
        self._written.append(file)
        with self.folder.writing(file) as stream:
            stream.write(data)
        shards.append(Shard(file, rows, len(data), digest))
        if self.progress.plan:
            self.progress.done, bad, count = self._last
            self.progress.bad = list(bad[:count])
            self._written.append(PROGRESS)
            self.progress.save(self.folder)

    def _remove_except(self, kept: set[str]) -> None:
        for entry in self.folder.names():
            if entry not in kept and OURS.fullmatch(entry):
                self.folder.remove(entry)


@contextlib.contextmanager
def _alone(folder: Storage) -> Iterator[None]:
    """Nobody else on this machine writes the folder meanwhile. (An object store has no lock to offer.)"""
    if not folder.is_local or fcntl is None:
        yield
        return
    path = folder.local(LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{folder.uri}: another ingest of it is running; wait for its end") from None
        yield


class _OpenShard:
    """An Arrow IPC file that grows in memory."""

    def __init__(self) -> None:
        self._sink: Any = pa.BufferOutputStream()
        self._writer: Any = ipc.new_file(self._sink, SCHEMA)
        self._rows: list[Row] = []
        self._waiting = 0
        self._bytes = 0
        self._count = 0

    def add(self, row: Row) -> int:
        """Append a row; returns the bytes of the shard so far."""
        size = len(row.image) + len(row.mask)
        self._rows.append(row)
        self._waiting += size
        self._bytes += size
        self._count += 1
        if self._waiting >= BATCH_BYTES:
            self._flush()
        return self._bytes

    def finish(self) -> tuple[memoryview, int]:
        """The file's bytes and its number of rows."""
        self._flush()
        self._writer.close()
        return memoryview(self._sink.getvalue()), self._count

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(to_record_batch(self._rows))
            self._rows, self._waiting = [], 0
