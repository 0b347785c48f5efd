"""Procedural stand-ins: what runs where the real data set of a domain has not been ingested.

They imitate the difficulty of a domain, not its pictures, and no number measured on them compares with a paper:

- ``camouflage``: object and ground carry ONE texture and one palette; the object differs by a turn, a zoom and a
  phase of that texture, by faint shading and by a faint edge. A threshold cannot find it.
- ``shadow``: textured ground with things on it, darkened by a soft, slightly blue shadow; dark patches that are
  no shadow distract.
- ``polyp``: a wall of tissue with folds, vessels, highlights and black corners, and on it a bump of its colour.
- ``binary``: a coloured textured shape on textured ground, for anything else.

Where a data set has many masks a picture, it is drawn in its own layout, by a module beside this one; ``official.py``
lists them:

- ``faces``: portraits with nested parts, as CelebAMask-HQ lies on disk. Colour alone does not tell the parts.
- ``nuclei``: cells of one kind, which may touch, as DSB 2018.
- ``cars``: cars from behind, each with a plate and with things that look like one, in Pascal VOC's boxes.
- ``signs``: streets with billboards, shop signs and banners, as Mapillary Vistas.
- ``panoramas``: one kind of street in three dimensions, every pixel's class known, as pinhole views (Cityscapes) and
  as panoramas whose training split has no labels (DensePASS, WildPASS). What parts the sets is the projection alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.standin import scenes
from orchestrator.data.standin.fields import Rng, Shape
from orchestrator.errors import unknown

SIDES = (224, 320)  # pixels; both sides are drawn from this range where no size is asked for
TEST_FROM = 50_000  #: test images have indices from here on: more training images leave the test split as it is

TASKS: dict[str, Callable[[Rng, Shape], scenes.Scene]] = {
    "camouflage": scenes.camouflage,
    "shadow": scenes.shadow,
    "polyp": scenes.polyp,
    "binary": scenes.binary,
}


def indices(train: int, test: int) -> list[int]:
    """The pictures of a set, those to train on first."""
    return [*range(train), *range(TEST_FROM, TEST_FROM + test)]


def domain(task: str) -> str:
    """What is drawn for a task: its own pictures, or ``binary`` ones where it has none."""
    return task if task in TASKS else "binary"


def draw(task: str, seed: int, index: int, size: Shape | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One image of a task, the same for the same (task, seed, index, size).

    Args:
        task: a name of ``TASKS``.
        seed: of the whole set, at least 0.
        index: of the image, at least 0.
        size: (height, width) in pixels; None draws each side from ``SIDES``.

    Returns:
        image HxWx3 uint8 RGB and mask HxW uint8 with 1 on the object (3 to 45 % of the pixels).

    Raises:
        UserError: an unknown task.
    """
    if task not in TASKS:
        raise unknown("stand-in task", task, TASKS)
    rng = np.random.default_rng([zlib.crc32(task.encode()), seed, index])
    sides = rng.integers(SIDES[0], SIDES[1] + 1, 2)
    image, mask = TASKS[task](rng, size or (int(sides[0]), int(sides[1])))
    grain = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(1, 4)
    return np.clip(image + grain, 0, 255).astype(np.uint8), mask.astype(np.uint8)


def write_folders(task: str, root: Path, train: int, test: int, seed: int) -> None:
    """Write train/images/*.jpg, train/masks/*.png (0 or 255) and the same under test/: the ``folders`` layout."""
    for split, first, count in (("train", 0, train), ("test", TEST_FROM, test)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for index in range(first, first + count):
            image, mask = draw(task, seed, index)
            name = f"{task}-{index:05d}"
            Image.fromarray(image).save(root / split / "images" / f"{name}.jpg", quality=90)
            Image.fromarray(mask * np.uint8(255)).save(root / split / "masks" / f"{name}.png")
