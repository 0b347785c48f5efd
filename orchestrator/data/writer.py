"""Writing a dataset: shards first, the manifest last; its appearance is the commit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from types import TracebackType

from orchestrator.data.layouts.base import SPLITS
from orchestrator.data.portions import Written
from orchestrator.data.progress import FILE as PROGRESS
from orchestrator.data.progress import Progress, load_progress
from orchestrator.data.schema import (
    MANIFEST,
    SCHEMA_VERSION,
    Manifest,
    Row,
    Shard,
    Skipped,
    fingerprint,
    load_manifest,
)
from orchestrator.data.shardfile import ShardFile
from orchestrator.errors import UserError
from orchestrator.storage import Storage

try:
    import fcntl
except ImportError:  # Windows: two ingests of one name are then found at the commit of the second
    fcntl = None  # type: ignore[assignment]

LOCK = "ingest.lock"
SHARD_BYTES = 64 * 2**20
OURS = re.compile(r"(\w+-\d{5}-[0-9a-f]{8}\.arrow|manifest\.json|ingest\.json|ingest\.lock|aside)(\.[0-9a-f]{8}\.tmp)?")


def check_name(name: str) -> None:
    """Raise UserError unless ``name`` can name a dataset."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        raise UserError(f"dataset name '{name}': use letters, digits, - and _ only (at most 100)")


class DatasetWriter:
    """Writes one dataset under ``out/name``, as a context manager.

    ``add`` rows split by split, or ``put`` shards that somebody wrote, then ``commit``. Leaving the block
    without a commit removes what was written, but for the finished shards of a plan that was interrupted; an
    older dataset of that name is untouched until the commit. Memory is bounded by one batch of rows. With a
    ``plan`` (a digest of what is to be written), a writer that was killed is gone on from: ``progress`` says
    what is finished. Raises UserError where the name is taken (unless ``replace``), is not valid, or the
    storage cannot be written. One ingest of a name at a time: a second one fails at its commit.
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
        self._splits: dict[str, dict[int, Shard]] = {}
        self._open: ShardFile | None = None
        self._committed = self._noted = False
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> DatasetWriter:
        self._lock.enter_context(_alone(self.folder))
        if self.progress.plan:
            self.progress = load_progress(self.folder, self.progress.plan, self._old)
        for key, written in self.progress.done.items():
            self._noted = True
            self._keep(*_key(key), written)
        return self

    @property
    def splits(self) -> list[str]:
        """The splits that have rows."""
        return list(self._splits)

    def add(self, split: str, row: Row) -> None:
        """Append a row to ``split``; the rows of a split come one after another."""
        if self._open is None or split != self._open.split:
            if split in self._splits:
                raise ValueError(f"split '{split}' was finished before")
            self._close_shard()
            self._open = ShardFile(self.folder, split, 0)
        self._open.add(row)
        if self._open.bytes >= self.shard_bytes:
            number = self._open.number
            self._close_shard()
            self._open = ShardFile(self.folder, split, number + 1)

    def put(self, key: str, written: Written) -> None:
        """Take what became of a portion (``data.portions``) and note it."""
        self._keep(*_key(key), written)
        self.progress.done[key] = written
        self._noted = True
        self.progress.save(self.folder)

    def commit(
        self,
        *,
        task: str,
        layout: str,
        split_rule: str,
        stand_in: bool = False,
        skipped: tuple[Skipped, ...] = (),
        classes: tuple[str, ...] = (),
    ) -> Manifest:
        """Write the manifest and remove what an older dataset of this name leaves behind."""
        self._close_shard()
        order = [split for split in (*SPLITS, *self._splits) if split in self._splits]
        splits = {split: tuple(self._splits[split][n] for n in sorted(self._splits[split])) for split in order}
        manifest = Manifest(
            name=self.name,
            schema_version=SCHEMA_VERSION,
            task=task,
            layout=layout,
            split_rule=split_rule,
            stand_in=stand_in,
            splits=splits,
            skipped=skipped,
            fingerprint=fingerprint(task, splits, classes),
            classes=classes,
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
        """Remove this writer's shards, but for those that the manifest in force lists.

        Who is interrupted goes on later: what a plan's note lists stays.
        """
        try:
            if self._open:
                self._open.__exit__(kind, error, trace)
        finally:
            self._clean_up(keep_noted=isinstance(error, KeyboardInterrupt))

    def _clean_up(self, keep_noted: bool) -> None:
        # What cannot be seen or removed now (a lost connection) must not hide the error that brought us here.
        with self._lock, contextlib.suppress(Exception):
            if self._committed:
                return
            current = self._current(lenient=True)
            kept = {shard.file for shard in current.shards()} | {MANIFEST} if current else {*self._old}
            if self._noted and keep_noted:
                kept |= {w.shard.file for w in self.progress.done.values() if w.shard} | {PROGRESS}
            if self._noted:  # also what a task had written whose end was not waited for
                self._remove_except(kept)
            written = {shard.file for shards in self._splits.values() for shard in shards.values()}
            for file in {*written, LOCK} - kept:
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

    def _keep(self, split: str, number: int, written: Written) -> None:
        if written.shard:
            self._splits.setdefault(split, {})[number] = written.shard

    def _close_shard(self) -> None:
        if self._open and self._open.rows:
            self._keep(self._open.split, self._open.number, Written(self._open.finish()))
        self._open = None

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
        except BlockingIOError:
            raise UserError(f"{folder.uri}: another ingest of it is running; wait for its end") from None
        except OSError:
            pass  # a file system without locks (some Lustre): as an object store
        yield


def _key(key: str) -> tuple[str, int]:
    """A portion's split and number."""
    split, _, number = key.rpartition("-")
    return split, int(number)
