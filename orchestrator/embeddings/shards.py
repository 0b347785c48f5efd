"""Shards of tensors: Arrow IPC files with one record batch an image, read in place from a memory map."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import ipc
from torch import Tensor

from orchestrator.data.schema import Shard, first_line
from orchestrator.data.shardfile import Hashed
from orchestrator.storage import Storage

BF16, FP32, U8 = "bf16", "fp32", "u8"
#: bf16 as its bits: NumPy has no such type
_BITS: dict[str, type[np.generic]] = {BF16: np.uint16, FP32: np.float32, U8: np.uint8}
SIZES = {BF16: 2, FP32: 4, U8: 1}  #: bytes of a number


class Damaged(Exception):
    """A shard is not what its note says; the message says why."""


@dataclass(frozen=True)
class Form:
    """A part of what is stored of an image: its shape, and 'fp32', 'bf16' or 'u8' (bytes)."""

    shape: tuple[int, ...]
    stored: str

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * SIZES[self.stored]


@dataclass(frozen=True)
class Cell:
    """A part of an image, as it lies in a shard."""

    values: NDArray[Any]
    valid: tuple[int, int]  #: height and width of the part of the input that shows the image


@dataclass(frozen=True)
class Encoded:
    """An image's parts by name, to be stored."""

    parts: Mapping[str, NDArray[Any]]
    valid: tuple[int, int]


def to_bits(tensor: Tensor, stored: str) -> NDArray[Any]:
    """A tensor as an array to be stored: bf16 as uint16."""
    if stored == BF16:
        return tensor.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().view(np.uint16)
    if stored == U8:
        return tensor.cpu().contiguous().numpy()
    return tensor.float().cpu().contiguous().numpy()


def from_bits(array: NDArray[Any], stored: str) -> Tensor:
    """A copy of a stored array as a tensor of the stored type."""
    if stored == BF16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def write_shards(folder: Storage, stem: str, forms: Mapping[str, Form], images: Iterable[Encoded]) -> None:
    """Stream the parts of images into a shard for each part, ``stem`` of which is 'SPLIT-...-{part}-NUMBER'.

    A shard appears under a name that tells its content, and then its note (``read_note``), without which it does
    not count. Raises UserError where it cannot be written.
    """
    rows = 0
    with ExitStack() as stack:
        files: dict[str, Hashed] = {}
        writers: dict[str, Any] = {}
        schemas = {part: _schema(form) for part, form in forms.items()}
        for part in forms:
            name = _namer(files, stem, part)
            files[part] = Hashed(stack.enter_context(folder.writing(name)))
            writers[part] = ipc.new_file(files[part], schemas[part])
        for image in images:
            rows += 1
            for part, form in forms.items():
                values = np.ascontiguousarray(image.parts[part])
                assert values.shape == form.shape and values.dtype == _BITS[form.stored], (part, values.shape)
                buffers = [None, pa.py_buffer(values)]
                cell = pa.FixedSizeBinaryArray.from_buffers(pa.binary(form.bytes), 1, buffers)
                valid = [pa.array([size], pa.int32()) for size in image.valid]
                writers[part].write_batch(pa.record_batch([cell, *valid], schema=schemas[part]))
        for writer in writers.values():
            writer.close()
    for part, file in files.items():
        shard = Shard(_namer(files, stem, part)(), rows, file.bytes, file.digest.hexdigest())
        folder.write(f"{stem.format(part=part)}.json", json.dumps(asdict(shard)).encode())


def read_note(data: bytes) -> Shard:
    """The shard that a note tells of. Raises Damaged."""
    try:
        raw = json.loads(data)
        return Shard(str(raw["file"]), int(raw["rows"]), int(raw["bytes"]), str(raw["sha256"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("its note cannot be read") from error


def open_shard(path: Path, form: Form, rows: int) -> list[Cell]:
    """One cell an image, in place: the file stays mapped as long as one of them lives. Raises Damaged."""
    try:
        with pa.memory_map(str(path), "r") as mapped:  # closing it keeps the mapping, but no open file for each shard
            reader = ipc.open_file(mapped)
            if not reader.schema.equals(_schema(form), check_metadata=True) or reader.num_record_batches != rows:
                raise Damaged("it has other rows or another form")
            batches = [reader.get_batch(i) for i in range(rows)]
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"it cannot be read ({first_line(error)})") from error
    return [_cell(batch, form) for batch in batches]


def _cell(batch: pa.RecordBatch, form: Form) -> Cell:
    values = np.frombuffer(batch.column(0).buffers()[1], _BITS[form.stored]).reshape(form.shape)
    return Cell(values, (batch.column(1)[0].as_py(), batch.column(2)[0].as_py()))


def _schema(form: Form) -> pa.Schema:
    about = {"shape": json.dumps(form.shape), "stored": form.stored}
    names = {"values": pa.binary(form.bytes), "height": pa.int32(), "width": pa.int32()}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in names.items()], metadata=about)


def _namer(files: Mapping[str, Hashed], stem: str, part: str) -> Any:
    return lambda: f"{stem.format(part=part)}-{files[part].digest.hexdigest()[:8]}.arrow"
