"""Files in the official layouts: small, with just their names, folders, mask coding and quirks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import encode
from PIL import Image

from orchestrator.data.catalogue import CATALOGUE
from orchestrator.data.ingest import ingest
from orchestrator.data.reader import Dataset, Sample, open_dataset
from orchestrator.errors import UserError
from orchestrator.storage import Storage

HIGH, WIDE = 24, 32


def put(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "JPEG" if path.suffix == ".jpg" else "PNG"
    path.write_bytes(encode(array, kind, **options))


def palette(path: Path, labels: np.ndarray) -> None:
    """A PNG of colours by index, as DAVIS and YouTube-VOS have them."""
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette([*(0, 0, 0), *(128, 0, 0), *(0, 128, 0), *(128, 128, 0)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def labels(*values: int, high: int = HIGH, wide: int = WIDE, dtype: type = np.uint8) -> np.ndarray:
    """Stripes of values, from the left to the right."""
    stripes = np.array_split(np.arange(wide), len(values))
    row = np.concatenate([np.full(len(s), v) for s, v in zip(stripes, values, strict=True)])
    return np.tile(row, (high, 1)).astype(dtype)


def taken(source: Path, name: str, **how: object) -> Dataset:
    """The dataset of the catalogue, ingested from ``source``."""
    entry, out = CATALOGUE[name], Storage(str(source.parent / "out"))
    ingest(name, source, out, entry.layout, entry.task, **how)  # type: ignore[arg-type]
    return open_dataset(out, name)


def samples(dataset: Dataset, split: str) -> dict[str, Sample]:
    rows = dataset.split(split)
    return {sample.id: sample for sample in (rows.read(i) for i in range(len(rows)))}


def wrong(source: Path, name: str) -> str:
    """The one line of an ingest's error."""
    with pytest.raises(UserError) as caught:
        taken(source, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)
