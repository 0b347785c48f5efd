"""What is stored: the Arrow schema of a row, and the manifest that makes a folder of shards a dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from orchestrator.errors import UserError
from orchestrator.storage import Storage

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"

_OBJECT = pa.struct(
    [
        pa.field("value", pa.int32(), nullable=False),
        pa.field("category", pa.int32(), nullable=False),
        pa.field("crowd", pa.bool_(), nullable=False),
        pa.field("box", pa.list_(pa.float32()), nullable=False),
        pa.field("points", pa.list_(pa.float32()), nullable=False),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
    ]
)
_VIEW = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("mask", pa.binary(), nullable=False),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("mask", pa.binary(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("foreground_above", pa.uint8(), nullable=False),
        pa.field("layers", pa.uint8(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("coding", pa.string(), nullable=False),
        pa.field("objects", pa.list_(_OBJECT), nullable=False),
        pa.field("views", pa.list_(_VIEW), nullable=False),
    ],
    metadata={"samsweep.schema_version": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True)
class Object:
    """One thing that a row's mask shows, or that a prompt or a text speaks of."""

    value: int  #: its value in the mask; 1 in a binary one
    category: int = -1  #: a position in the manifest's ``classes``; -1 where none is known
    crowd: bool = False  #: several that were not told apart: no single one is measured
    box: tuple[float, ...] = ()  #: x0, y0, x1, y1 in the image's pixels, where the data set gives one
    points: tuple[float, ...] = ()  #: x, y, label (1 inside, 0 outside) of each click that the data set gives
    texts: tuple[str, ...] = ()  #: what refers to it in words


@dataclass(frozen=True)
class View:
    """The same place at another resolution: encoded image and mask, coded as the row's own."""

    name: str  #: unique in its row
    image: bytes
    mask: bytes = b""


@dataclass(frozen=True)
class Row:
    """One image with its mask or masks, encoded: one schema for every task.

    A frame of a video is a row; the video is its group.
    """

    id: str  #: unique in its split
    group: str  #: the video, scene or patient, which no split cuts; '' where there is none
    image: bytes
    mask: bytes  #: empty where ``coding`` is 'none'; may be of another size than the image
    height: int  #: pixels, of the raw image: no EXIF orientation is applied
    width: int
    foreground_above: int  #: a mask pixel above this is foreground: 127, or 0 for masks coded {0, 1}
    source: str  #: where the image lay, relative to the source folder
    layers: int = 0  #: how many masks ``mask`` holds as layers (``data.layers``); 0: it is one mask
    frame: int = 0  #: its place in the group
    coding: str = "binary"  #: what the mask's values mean: one of ``data.codings.CODINGS``
    objects: tuple[Object, ...] = ()
    views: tuple[View, ...] = ()


def to_record_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as one Arrow record batch of ``SCHEMA``."""
    columns = [pa.array([_plain(getattr(row, f.name)) for row in rows], type=f.type) for f in SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _plain(value: Any) -> Any:
    """A cell as Arrow takes it: lists of dictionaries for lists of structs."""
    return [vars(part) for part in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Shard:
    """One Arrow IPC file."""

    file: str  #: its name in the dataset's folder
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Skipped:
    """A source file that was left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """Everything about an ingested dataset but its pixels; its presence is what commits an ingest."""

    name: str
    schema_version: int
    task: str
    layout: str
    split_rule: str  #: a sentence: how the split came about
    stand_in: bool  #: True for procedural data, which compares with no paper
    splits: dict[str, tuple[Shard, ...]]
    skipped: tuple[Skipped, ...]
    fingerprint: str
    classes: tuple[str, ...] = ()  #: names of the objects' categories and of a class map's values

    def rows(self, split: str | None = None) -> int:
        """The number of rows of one split, or of all."""
        names = self.splits if split is None else [split]
        return sum(shard.rows for name in names for shard in self.splits[name])

    def shards(self) -> list[Shard]:
        """The shards of all splits, in order."""
        return [shard for shards in self.splits.values() for shard in shards]

    def size(self) -> int:
        """The bytes of all shards."""
        return sum(shard.bytes for shard in self.shards())

    def to_json(self) -> str:
        """As it is written; ``from_json`` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str | bytes, where: str) -> Manifest:
        """Parse and check; ``where`` names the file in errors.

        Raises UserError for a damaged manifest or one of another schema version.
        """
        try:
            raw = json.loads(text)
            version = int(raw["schema_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(where, "not a manifest") from error
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{where}: schema version {version}, but this program reads {SCHEMA_VERSION}; "
                "ingest it again with --replace"
            )
        try:
            manifest = _from_dict(raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(where, f"{type(error).__name__}: {error}") from error
        if manifest.fingerprint != fingerprint(manifest.task, manifest.splits, manifest.classes):
            raise _damaged(where, "its fingerprint does not fit its shards")
        return manifest


def fingerprint(task: str, splits: dict[str, tuple[Shard, ...]], classes: tuple[str, ...] = ()) -> str:
    """Hex sha256 of the content: schema version, task, classes, and each split's shards in order."""
    digest = hashlib.sha256(f"samsweep {SCHEMA_VERSION} {task}\n".encode())
    for name in classes:
        digest.update(f"class {name}\n".encode())
    for split, shards in splits.items():
        for shard in shards:
            digest.update(f"{split} {shard.sha256}\n".encode())
    return digest.hexdigest()


def load_manifest(root: Storage, name: str) -> Manifest | None:
    """The manifest of dataset ``name`` under ``root``, or None where it was not ingested.

    Raises UserError where it is damaged, of another version, or the storage cannot be read.
    """
    folder = root / name
    where = f"{folder.uri}/{MANIFEST}"
    try:
        if not folder.exists(MANIFEST):
            return None
        text = folder.read(MANIFEST)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: cannot be read ({first_line(error)}); check the place and your rights") from error
    return Manifest.from_json(text, where)


def load_drawn(root: Storage, name: str) -> Manifest | None:
    """The manifest of a dataset that can be drawn again; None also where it is damaged or of another version."""
    try:
        return load_manifest(root, name)
    except UserError:
        return None


def ingested_names(root: Storage) -> list[str]:
    """The sorted names of the datasets under ``root``."""
    try:
        return [name for name in root.names() if root.exists(f"{name}/{MANIFEST}")]
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{root.uri}: cannot be read ({first_line(error)}); check the place") from error


def first_line(error: BaseException) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _damaged(where: str, why: str) -> UserError:
    return UserError(f"{where}: damaged ({' '.join(why.split())}); ingest it again with --replace")


def _from_dict(raw: dict[str, Any]) -> Manifest:
    splits = {
        str(split): tuple(Shard(str(s["file"]), int(s["rows"]), int(s["bytes"]), str(s["sha256"])) for s in shards)
        for split, shards in raw["splits"].items()
    }
    return Manifest(
        name=str(raw["name"]),
        schema_version=int(raw["schema_version"]),
        task=str(raw["task"]),
        layout=str(raw["layout"]),
        split_rule=str(raw["split_rule"]),
        stand_in=bool(raw["stand_in"]),
        splits=splits,
        skipped=tuple(Skipped(str(s["file"]), str(s["reason"])) for s in raw["skipped"]),
        fingerprint=str(raw["fingerprint"]),
        classes=tuple(str(name) for name in raw["classes"]),
    )
