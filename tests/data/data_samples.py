"""Small real images and masks, and what tests do with datasets of them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.data.ingest import ingest
from orchestrator.data.reader import DataSplit
from orchestrator.data.schema import Manifest
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def real(name: str) -> Path:
    """A folder of real data beside the project; see the README there. Skips, or fails in CI, where it is missing."""
    path = Path(__file__).parents[2].parent / "shared" / "data" / name
    if not path.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{path} is missing: real data for this test")
    return path


def encode(array: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """An array as the bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def picture(seed: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    """HxWx3 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ground(height: int = 24, width: int = 32, high: int = 255) -> np.ndarray:
    """HxW with a rectangle of ``high``."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = high
    return mask


def put_pair(image: Path, mask: Path, seed: int = 0, height: int = 24, width: int = 32) -> None:
    """Write an image and its mask, in the formats that the suffixes say."""
    kinds = {".jpg": "JPEG", ".png": "PNG"}
    for path, array in ((image, picture(seed, height, width)), (mask, ground(height, width))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(array, kinds[path.suffix]))


def check_samples(split: DataSplit, numbers: list[int]) -> None:
    """Assert that a split of the ``write`` fixture holds just these rows."""
    assert len(split) == len(numbers)
    assert split.ids() == [f"train{n}" for n in numbers]
    for i, n in enumerate(numbers):
        sample = split.read(i)
        assert (sample.index, sample.id) == (i, f"train{n}")
        assert (sample.image == picture(n)).all()
        assert (sample.mask == (ground() > 0)).all()
        assert (split.mask(i) == sample.mask).all()


def run(source: Path, out: Path, **options: object) -> Manifest:
    return ingest("own", source, Storage(str(out)), "folders", "binary", **options)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fails(source: Path, out: Path, **options: object) -> str:
    """The one line of the error; asserts that nothing was left behind."""
    before = files(out)
    with pytest.raises(UserError) as caught:
        run(source, out, **options)
    assert files(out) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)
