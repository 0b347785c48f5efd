"""Reading an ingested dataset: sample by sample, from memory-mapped shards."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from orchestrator.data.cache import hold
from orchestrator.data.check import BadImage, decode_image, decode_mask
from orchestrator.data.fetch import broken, check_present, forget, local_shard, sound_shard
from orchestrator.data.grouping import held_out
from orchestrator.data.layers import Bits, decode_layers
from orchestrator.data.schema import SCHEMA, Manifest, Shard, first_line, ingested_names, load_manifest
from orchestrator.errors import UserError, unknown
from orchestrator.storage import Storage


@dataclass(frozen=True)
class Sample:
    """One decoded image with its mask. H, W = the original size in pixels."""

    index: int  #: row in the split (or the view of it) that it was read from
    id: str
    group: str  #: '' where there is none
    image: NDArray[np.uint8]  #: HxWx3 RGB
    mask: NDArray[np.uint8]  #: HxW, 1 = foreground (of any mask, where there are several)
    layers: int = 0  #: the number of masks where there are several
    bits: Bits | None = None  #: HxW, the masks as layers


class DataSplit:
    """The rows of one split, or a view of some of them.

    Pickles without open files and opens its shards lazily, so it can be sent to workers; may be read from
    several threads. Errors in a shard are one-line UserErrors.
    """

    def __init__(self, folder: Storage, name: str, shards: Sequence[Shard], rows: Sequence[int]) -> None:
        self.name = name
        self._folder, self._shards = folder, tuple(shards)
        self._rows = np.asarray(rows, dtype=np.int64)
        self._ends = np.cumsum([shard.rows for shard in shards], dtype=np.int64).tolist()
        self._opened: dict[int, _OpenedShard] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, i: int) -> Sample:
        """Row ``i``, decoded."""
        shard, row = self._at(i)
        entry = shard.row(row)
        try:
            image = decode_image(entry["image"])
            bits = decode_layers(entry["mask"]) if entry["layers"] else None
            mask = _mask(entry) if bits is None else (bits > 0).astype(np.uint8)
        except BadImage as error:
            raise shard.broken(f"the row of '{entry['id']}' cannot be decoded: {error}") from error
        return Sample(i, entry["id"], entry["group"], image, mask, entry["layers"], bits)

    def encoded(self, i: int) -> tuple[bytes, bytes]:
        """Row ``i``'s image and mask files, as they were ingested."""
        shard, row = self._at(i)
        entry = shard.row(row, ("image", "mask"))
        return entry["image"], entry["mask"]

    def mask(self, i: int) -> NDArray[np.uint8]:
        """The mask of row ``i`` alone: HxW at the original size, 1 = foreground."""
        shard, row = self._at(i)
        entry = shard.row(row, ("id", "mask", "foreground_above", "layers"))
        try:
            return _mask(entry)
        except BadImage as error:
            raise shard.broken(f"the row of '{entry['id']}' cannot be decoded: {error}") from error

    def ids(self) -> list[str]:
        """The ids of all rows, in order."""
        return self._column("id")

    def groups(self) -> list[str]:
        """The groups of all rows, in order; '' where there is none."""
        return self._column("group")

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> DataSplit:
        """A view of some rows, numbered anew from 0; the ids stay."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return DataSplit(self._folder, self.name, self._shards, rows)  # type: ignore[arg-type]

    def verify(self, progress: Callable[[int, int, str], None] | None = None) -> None:
        """Check the sha256 of every shard. Raises UserError for the first altered one."""
        for number, shard in enumerate(self._shards, 1):
            check_present(self._folder, shard)
            sound_shard(self._folder, shard)
            if progress:
                progress(number, len(self._shards), shard.file)

    def open_shards(self) -> None:
        """Open (and fetch, where remote) every shard now rather than at its first read."""
        for number in range(len(self._shards)):
            self._shard(number)

    def _column(self, name: str) -> list[str]:
        values: list[str] = []
        for number in range(len(self._shards)):
            values += self._shard(number).column(name)
        return [values[row] for row in self._rows.tolist()]

    def _at(self, i: int) -> tuple[_OpenedShard, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        row = int(self._rows[i])
        number = bisect.bisect_right(self._ends, row)
        return self._shard(number), row - (self._ends[number - 1] if number else 0)

    def _shard(self, number: int) -> _OpenedShard:
        with self._lock:
            if number not in self._opened:
                self._opened[number] = _OpenedShard(self._folder, self._shards[number])
            return self._opened[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


class _OpenedShard:
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
        return broken(self._folder, self._shard, why)

    def row(self, row: int, names: Sequence[str] = tuple(SCHEMA.names)) -> dict[str, Any]:
        number = bisect.bisect_right(self._ends, row)
        within = row - (self._ends[number - 1] if number else 0)
        return {name: self._batches[number].column(name)[within].as_py() for name in names}

    def column(self, name: str) -> list[str]:
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


def _mask(entry: dict[str, Any]) -> NDArray[np.uint8]:
    if entry["layers"]:
        return (decode_layers(entry["mask"]) > 0).astype(np.uint8)
    return decode_mask(entry["mask"], entry["foreground_above"])


@dataclass(frozen=True)
class Dataset:
    """An ingested dataset: its manifest, and its splits by name."""

    root: Storage
    manifest: Manifest

    def split(self, name: str) -> DataSplit:
        """A split, its local shards opened and checked. Raises UserError for an unknown split."""
        if name not in self.manifest.splits:
            raise unknown(f"split of '{self.manifest.name}'", name, self.manifest.splits)
        shards = self.manifest.splits[name]
        folder = self.root / self.manifest.name
        split = DataSplit(folder, name, shards, range(self.manifest.rows(name)))
        if folder.is_local:
            split.open_shards()
        return split

    def verify(self, progress: Callable[[int, int, str], None] | None = None) -> None:
        """Check the sha256 of every shard of every split."""
        DataSplit(self.root / self.manifest.name, "all", self.manifest.shards(), []).verify(progress)


def open_dataset(root: Storage, name: str) -> Dataset:
    """The dataset ``name`` under ``root``, every shard checked for presence and size.

    Raises UserError where it was not ingested, or is damaged.
    """
    manifest = load_manifest(root, name)
    if manifest is None:
        there = ", ".join(ingested_names(root)) or "nothing"
        raise UserError(
            f"{root.uri}: no dataset '{name}' is ingested there (but {there}); "
            f"samsweep ingest {name} --source DIR --out {root.uri}"
        )
    for shard in manifest.shards():
        check_present(root / name, shard)
    return Dataset(root, manifest)


def holdout(split: DataSplit, fraction: float, seed: int) -> tuple[DataSplit, DataSplit]:
    """Cut a split into (train, validation) by seed, groups kept whole.

    Validation takes ``fraction`` of the images, but at least 8 where that is no more than a quarter of
    them. Raises UserError for fewer than two images or groups.
    """
    n = len(split)
    count = max(round(n * fraction), min(8, n // 4))
    val = held_out(split.ids(), split.groups(), count, seed)
    if not val:
        raise UserError(
            f"split '{split.name}': too little to hold out a validation part (images: {n}, all of one group); "
            "ingest more images, or folders train/, val/ and test/"
        )
    return split.subset([i for i in range(n) if i not in val]), split.subset(sorted(val))
