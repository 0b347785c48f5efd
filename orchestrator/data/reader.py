"""Reading an ingested dataset: sample by sample, from memory-mapped shards."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.check import BadImage, decode_image
from orchestrator.data.codings import Ground, Labels, decode_ground
from orchestrator.data.fetch import check_present, sound_shard
from orchestrator.data.grouping import held_out
from orchestrator.data.layers import Bits
from orchestrator.data.opened import OpenedShard
from orchestrator.data.schema import Manifest, Object, Shard, View, ingested_names, load_manifest
from orchestrator.errors import UserError, unknown
from orchestrator.storage import Storage


@dataclass(frozen=True)
class Sample:
    """One decoded image with its mask. H, W = its own size in pixels: a mask's may be another than its image's."""

    index: int  #: row in the split (or the view of it) that it was read from
    id: str
    group: str  #: '' where there is none
    image: NDArray[np.uint8]  #: HxWx3 RGB
    mask: NDArray[np.uint8]  #: HxW, 1 = foreground (of any object or class); zeros where there is no mask
    layers: int = 0  #: the number of masks where there are several
    bits: Bits | None = None  #: HxW, the masks as layers
    coding: str = "binary"  #: one of ``data.codings.CODINGS``
    labels: Labels | None = None  #: HxW, the mask's values where they are classes, instances or segments
    objects: tuple[Object, ...] = ()
    frame: int = 0  #: the image's place in its group


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
        self._opened: dict[int, OpenedShard] = {}
        self._locks = [threading.Lock() for _ in shards]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, i: int) -> Sample:
        """Row ``i``, decoded."""
        return self._read(i, with_image=True)

    def truth(self, i: int) -> Sample:
        """Row ``i`` but for its image, which is 0x0x3: its masks, and what is known of their objects."""
        return self._read(i, with_image=False)

    def _read(self, i: int, with_image: bool) -> Sample:
        shard, row = self._at(i)
        entry = shard.row(row, _DECODED if with_image else _TRUTH)
        try:
            image = decode_image(entry["image"]) if with_image else np.zeros((0, 0, 3), np.uint8)
            ground = _ground(entry)
        except BadImage as error:
            raise shard.broken(f"the row of '{entry['id']}' cannot be decoded: {error}") from error
        return Sample(
            i,
            entry["id"],
            entry["group"],
            image,
            ground.mask,
            entry["layers"],
            ground.bits,
            entry["coding"],
            ground.labels,
            _objects(entry),
            entry["frame"],
        )

    def views(self, i: int) -> dict[str, View]:
        """Row ``i`` at other resolutions: encoded images and masks, by name."""
        shard, row = self._at(i)
        return {view["name"]: View(**view) for view in shard.row(row, ("views",))["views"]}

    def encoded(self, i: int) -> tuple[bytes, bytes]:
        """Row ``i``'s image and mask files, as they were ingested."""
        shard, row = self._at(i)
        entry = shard.row(row, ("image", "mask"))
        return entry["image"], entry["mask"]

    def mask(self, i: int) -> NDArray[np.uint8]:
        """The mask of row ``i`` alone: HxW at the original size, 1 = foreground."""
        shard, row = self._at(i)
        entry = shard.row(row, _MASK)
        try:
            return _ground(entry).mask
        except BadImage as error:
            raise shard.broken(f"the row of '{entry['id']}' cannot be decoded: {error}") from error

    def ids(self) -> list[str]:
        """The ids of all rows, in order."""
        return self._column("id")

    def groups(self) -> list[str]:
        """The groups of all rows, in order; '' where there is none."""
        return self._column("group")

    def first_size(self) -> tuple[int, int]:
        """Height and width in pixels of the first image of the whole split, whatever this view shows of it."""
        entry = self.open_shard(0).row(0, ("height", "width"))
        return entry["height"], entry["width"]

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> DataSplit:
        """A view of some rows, numbered anew from 0; the ids stay."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return DataSplit(self._folder, self.name, self._shards, rows)  # type: ignore[arg-type]

    def source_row(self, i: int) -> int:
        """The row in the whole split of row ``i`` of this view."""
        return int(self._rows[i])

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
            self.open_shard(number)

    def shards_to_fetch(self, rows: Sequence[int]) -> list[int]:
        """The shards of a remote store that ``rows`` lie in and that are not open yet, by first use."""
        if self._folder.is_local:
            return []
        numbers = np.searchsorted(self._ends, self._rows[np.asarray(rows, dtype=np.int64)], side="right")
        return [number for number in dict.fromkeys(numbers.tolist()) if number not in self._opened]

    def _column(self, name: str) -> list[str]:
        values: list[str] = []
        for number in range(len(self._shards)):
            values += self.open_shard(number).column(name)
        return [values[row] for row in self._rows.tolist()]

    def _at(self, i: int) -> tuple[OpenedShard, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        row = int(self._rows[i])
        number = bisect.bisect_right(self._ends, row)
        return self.open_shard(number), row - (self._ends[number - 1] if number else 0)

    def open_shard(self, number: int) -> OpenedShard:
        """Shard ``number``, fetched where it is remote. Who wants another one at the same time does not wait."""
        with self._locks[number]:
            if number not in self._opened:
                self._opened[number] = OpenedShard(self._folder, self._shards[number])
            return self._opened[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_locks": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._locks = [threading.Lock() for _ in self._shards]


_MASK = ("id", "mask", "coding", "foreground_above", "height", "width")
_TRUTH = (*_MASK, "group", "layers", "objects", "frame")
_DECODED = (*_TRUTH, "image")


def _ground(entry: dict[str, Any]) -> Ground:
    found = decode_ground(entry["mask"], entry["coding"], entry["foreground_above"])
    return found or Ground(np.zeros((entry["height"], entry["width"]), np.uint8))


def _objects(entry: dict[str, Any]) -> tuple[Object, ...]:
    lists = ("box", "points", "texts")
    return tuple(Object(**{**o, **{name: tuple(o[name]) for name in lists}}) for o in entry["objects"])


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


def held_out_count(images: int, fraction: float) -> int:
    """How many images ``holdout`` takes: the fraction, but at least 8 where that is no more than a quarter of them.

    Where there are groups, it is about so many.
    """
    return max(round(images * fraction), min(8, images // 4))


def holdout(split: DataSplit, fraction: float, seed: int) -> tuple[DataSplit, DataSplit]:
    """Cut a split into (train, validation) by seed, groups kept whole.

    Validation takes ``held_out_count`` images. Raises UserError for fewer than two images or groups.
    """
    n = len(split)
    val = held_out(split.ids(), split.groups(), held_out_count(n, fraction), seed)
    if not val:
        raise UserError(
            f"split '{split.name}': too little to hold out a validation part (images: {n}, all of one group); "
            "ingest more images, or folders train/, val/ and test/"
        )
    return split.subset([i for i in range(n) if i not in val]), split.subset(sorted(val))
