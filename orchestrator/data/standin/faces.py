"""Faces with nested parts, written as CelebAMask-HQ lies on disk.

A point on an eye lies in the eye, in the face and in the head: that is what prompts are unsure of. Lips are at times as
pale as skin, brows faint, and hair as dark as the wall behind it; fringes, hats and glasses hide what is below.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from orchestrator.data.layouts.faces import A_FOLDER, IMAGES, MAPPING, MASKS, PARTS, TEST_FROM, VAL_FROM
from orchestrator.data.standin import SIDES, indices
from orchestrator.data.standin import TEST_FROM as FIRST_TEST
from orchestrator.data.standin.face_features import Face
from orchestrator.data.standin.face_hair import background, body, hair_before, hair_behind, hat, strands
from orchestrator.data.standin.face_pose import Pose, look
from orchestrator.data.standin.fields import Rng, Shape, cloud
from orchestrator.data.standin.sheet import Sheet, oval

OWNERS = {part: value for value, part in enumerate(PARTS, 1)}
_FACE = ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")
_VAL_EVERY = 10  #: one training face in so many is of the val split, which CelebAMask-HQ has

Parts = dict[str, NDArray[np.bool_]]  #: HxW of each part that can be seen


def draw(seed: int, index: int, size: Shape | None = None) -> tuple[NDArray[np.uint8], Parts]:
    """One face, the same for the same (seed, index, size).

    Args:
        seed: of the whole set, at least 0.
        index: of the picture, at least 0.
        size: (height, width) in pixels, even; None draws each side from ``SIDES``.

    Returns:
        image HxWx3 uint8 RGB, and each part's mask. Skin holds the parts that lie on it, glasses the eyes behind them;
        else parts do not overlap: they are what can be seen.
    """
    rng = np.random.default_rng([zlib.crc32(b"parts"), seed, index])
    sides = 2 * rng.integers(SIDES[0] // 2, SIDES[1] // 2 + 1, 2)
    sheet = Sheet(size or (int(sides[0]), int(sides[1])))
    glasses = _compose(sheet, rng)
    parts = {part: sheet.owner == value for part, value in OWNERS.items()}
    parts["eye_g"] = glasses & np.isin(sheet.owner, [OWNERS[part] for part in ("eye_g", "l_eye", "r_eye")])
    parts["skin"] = np.isin(sheet.owner, [OWNERS[part] for part in _FACE])
    return _taken(rng, sheet.image), {part: mask for part, mask in parts.items() if mask.any()}


def _pose(rng: Rng, shape: Shape) -> Pose:
    unit = min(shape) * rng.uniform(0.17, 0.25)
    centre = (shape[1] * rng.uniform(0.42, 0.58), shape[0] * rng.uniform(0.48, 0.56))
    return Pose(centre, unit, float(np.clip(rng.normal(0, 0.25), -0.5, 0.5)), rng.normal(0, 0.08), rng.normal(0, 0.13))


def _compose(sheet: Sheet, rng: Rng) -> NDArray[np.bool_]:
    """Paint a whole portrait; what its glasses cover."""
    face_look, pose = look(rng), _pose(rng, sheet.shape)
    sheet.image[:] = background(rng, sheet.shape, face_look)
    hair = strands(rng, sheet.shape, face_look, pose)
    hair_behind(sheet, rng, face_look, pose, hair, OWNERS["hair"])
    body(sheet, rng, face_look, pose, OWNERS)
    face = Face(sheet, rng, face_look, pose, OWNERS)
    face.ears()
    if rng.random() < 0.18:
        _earrings(sheet, rng, pose)
    face.skin()
    face.nose()
    face.eyes()
    face.brows()
    face.mouth()
    glasses = face.glasses() if rng.random() < 0.22 else np.zeros(sheet.shape, np.bool_)
    hair_before(sheet, rng, face_look, pose, hair, OWNERS["hair"])
    if rng.random() < 0.12:
        hat(sheet, rng, face_look, pose, OWNERS["hat"])
    return glasses


def _earrings(sheet: Sheet, rng: Rng, pose: Pose) -> None:
    size, metal = rng.uniform(0.05, 0.11), rng.uniform(120, 250, 3)
    for side in (-1, 1):
        points = oval((side * 1.04, 0.42 + size), (size * 0.7, size))
        cover = sheet.cover(pose.at(points, np.full(len(points), -0.05)), 0.3)
        sheet.paint(cover, metal, OWNERS["ear_r"])


def _taken(rng: Rng, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photograph: uneven light of some colour, exposure, a soft lens, noise."""
    shape = (image.shape[0], image.shape[1])
    image = image * (1 + 0.1 * cloud(rng, shape, 200))[..., None] * rng.uniform(0.88, 1.1, 3).astype(np.float32)
    curve = 255 * np.linspace(0, 1, 1024, dtype=np.float32) ** np.float32(rng.uniform(0.8, 1.3))
    image = curve[np.clip(image * np.float32(1023 / 255), 0, 1023).astype(np.int16)]
    if rng.random() < 0.1:
        image = np.repeat(image.mean(-1, keepdims=True), 3, axis=2)
    blur = rng.uniform(0.2, 0.9)
    image = ndimage.gaussian_filter(image, (blur, blur, 0))
    grain = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(1, 6)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _number_in_celeba(index: int) -> int:
    """Which decides about the split."""
    if index >= FIRST_TEST:
        return TEST_FROM + index - FIRST_TEST
    return VAL_FROM + index if index % _VAL_EVERY == _VAL_EVERY - 1 else index


def write(root: Path, train: int, test: int, seed: int) -> None:
    """Write ``train`` + ``test`` faces under ``root``, the masks at half the size of their images."""
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    lines = ["idx        orig_idx    orig_file"]
    for index in indices(train, test):
        original = _number_in_celeba(index)
        lines.append(f"{index:<11}{original:<12}{original + 1:06d}.jpg")
        image, parts = draw(seed, index)
        Image.fromarray(image).save(root / IMAGES / f"{index}.jpg", quality=90)
        folder = root / MASKS / str(index // A_FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        for part, mask in parts.items():
            half = Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).reduce(2).point(lambda v: 255 * (v > 127))
            half.convert("RGB").save(folder / f"{index:05d}_{part}.png", compress_level=1)
    (root / MAPPING).write_text("\n".join(lines) + "\n")
