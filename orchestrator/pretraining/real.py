"""The real pictures that vit_t is judged by and never sees in training: nuclei and polyps, each instance a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.check import BadImage, decode_image, decode_mask
from orchestrator.errors import UserError

SMALLEST = 0.006  #: of its image: smaller nuclei are left out
SETS = ("dsb2018_nuclei", "kvasir_seg")
Progress = Callable[[int, int, str], None]  #: done, total, current
Sample = tuple[NDArray[np.uint8], NDArray[np.bool_]]  # image HxWx3, masks MxHxW


def read_set(name: str, root: Path, progress: Progress = lambda done, total, current: None) -> Iterator[Sample]:
    """The pictures of one of ``SETS`` under ``root``, each with its instances.

    Raises:
        UserError: the folder is not there.
    """
    folder = root / name
    if not (folder / "images").is_dir():
        raise UserError(f"{folder}/images: not there; give the folder that holds {' and '.join(SETS)}")
    paths = sorted((folder / "images").iterdir())
    for done, path in enumerate(paths, 1):
        mask = next((folder / "masks").glob(f"{path.stem}.*"), None)
        if mask is None:
            raise UserError(f"{path}: has no mask in {folder / 'masks'}")
        try:
            image = decode_image(path.read_bytes())
            masks = _instances(mask) if name == "dsb2018_nuclei" else decode_mask(mask.read_bytes(), 127)[None] > 0
        except (BadImage, OSError) as error:
            raise UserError(f"{path} or its mask: {error}; fetch it again") from error
        if len(masks):
            yield image, masks
        progress(done, len(paths), path.name)


def _instances(path: Path) -> NDArray[np.bool_]:
    """The instances of a label map (0 = background) that are large enough: MxHxW."""
    labels = np.asarray(Image.open(path)).astype(np.int64)
    found, areas = np.unique(labels, return_counts=True)
    kept = [k for k, area in zip(found, areas, strict=True) if k and area >= SMALLEST * labels.size]
    return np.stack([labels == k for k in kept]) if kept else np.zeros((0, *labels.shape), np.bool_)
