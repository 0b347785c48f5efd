"""Cells under a microscope, fluorescent or stained, written as DSB 2018 lies on disk: one mask a nucleus."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.layouts.nuclei import STAGE
from orchestrator.data.scenes.canvas import Canvas
from orchestrator.data.scenes.effects import finish
from orchestrator.data.scenes.microscopy import cells
from orchestrator.data.standin import SIDES, indices
from orchestrator.data.standin.fields import Shape

_LEAST = 12  #: pixels of a nucleus; less of one is what the rim of the picture or another nucleus left


def draw(seed: int, index: int, size: Shape | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """One picture, the same for the same (seed, index, size).

    Args:
        seed: of the whole set, at least 0.
        index: of the picture, at least 0.
        size: (height, width) in pixels; None draws each side from ``SIDES``.

    Returns:
        image HxWx3 uint8 RGB, and labels HxW: 0 is the ground, k is nucleus k (5 to 60 of them, which may touch).
    """
    rng = np.random.default_rng([zlib.crc32(b"nuclei"), seed, index])
    sides = rng.integers(SIDES[0], SIDES[1] + 1, 2)
    height, width = size or (int(sides[0]), int(sides[1]))
    while True:
        easy = bool(rng.random() < 0.5)
        canvas = Canvas(rng, max(height, width), easy)
        cells(canvas)
        image = finish(rng, canvas.image, easy)[:height, :width]
        labels = _numbered(canvas.owner[:height, :width])
        if labels.max() >= 5:
            return np.ascontiguousarray(image), labels


def _numbered(owner: NDArray[np.int16]) -> NDArray[np.int32]:
    """Owners renumbered from 1, without those that show too little."""
    counts = np.bincount(owner.ravel())
    counts[0] = 0
    kept = np.flatnonzero(counts >= _LEAST)
    numbers = np.zeros(len(counts), np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[owner]


def write(root: Path, train: int, test: int, seed: int) -> None:
    """Write ``train`` + ``test`` pictures under ``root``. The set has no split of its own: the ingest draws one."""
    for index in indices(train, test):
        image, labels = draw(seed, index)
        name = f"nuclei-{index:05d}"
        for kind in ("images", "masks"):
            (root / STAGE / name / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / STAGE / name / "images" / f"{name}.png", compress_level=1)
        for value in range(1, int(labels.max()) + 1):
            mask = Image.fromarray((labels == value).astype(np.uint8) * np.uint8(255))
            mask.save(root / STAGE / name / "masks" / f"{name}-{value:03d}.png", compress_level=1)
