"""A random view of an image with its masks: crop, zoom, turn, mirror, colours. All of it from one seed.

What is drawn once is seen often; a view costs a few milliseconds where a new scene costs tens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.layers import MAX_LAYERS, Bits

SMALLEST = 0.003  #: of the view's pixels: a mask that shows less is not asked for
CROP = (0.45, 1.0)  #: a crop's longer side, of the image's shorter one
SLENDER = 0.5  #: share of crops that are no squares (and leave padding beside them)
ASPECT = (0.6, 1.0)  #: of a slender crop: shorter to longer side

View = tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[int, int]]


def random_view(image: NDArray[np.uint8], bits: Bits, masks: int, side: int, seed: int) -> View:
    """Image 3xSxS, P = ``masks`` masks PxSxS (some twice where there are fewer), and (height, width) shown.

    The view lies at the top left; the rest is 0, as SAM pads.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    for attempt in range(4):
        box, valid = _crop(rng, bits.shape, side, whole=attempt == 3)
        planes = _resized_planes(bits, box, valid)
        shares = _shares(planes)
        found = [k for k in range(MAX_LAYERS) if shares[k] >= SMALLEST]
        if found:
            break
    else:
        found = [int(np.argmax(shares))]
    turns, mirror = (int(rng.integers(4)), bool(rng.random() < 0.5)) if valid[0] == valid[1] else (0, False)
    mirror = mirror or bool(rng.random() < 0.5 and valid[0] != valid[1])
    picture = Image.fromarray(image).resize((valid[1], valid[0]), Image.Resampling.BILINEAR, box)
    placed = np.zeros((3, side, side), np.uint8)
    coloured = _colours(rng, np.asarray(picture))
    placed[:, : valid[0], : valid[1]] = _turned(coloured, turns, mirror).transpose(2, 0, 1)
    chosen = np.resize(_by_area(rng, found, [shares[k] for k in found]), masks)
    below = np.zeros((masks, side, side), np.uint8)
    for i, k in enumerate(chosen):
        plane = _turned(planes[k // 8], turns, mirror)
        np.not_equal(plane & np.uint8(1 << k % 8), 0, out=below[i, : valid[0], : valid[1]].view(np.bool_))
    return placed, below, valid


def _crop(
    rng: np.random.Generator, shape: tuple[int, ...], side: int, whole: bool
) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    """(x0, y0, x1, y1) in the image, and the size that it takes in the input."""
    height, width = shape
    long = min(height, width) * (1.0 if whole else float(rng.uniform(*CROP)))
    slim = long * float(rng.uniform(*ASPECT)) if rng.random() < SLENDER and not whole else long
    h, w = (long, slim) if rng.random() < 0.5 else (slim, long)
    y, x = float(rng.uniform(0, height - h)), float(rng.uniform(0, width - w))
    scale = side / long
    return (x, y, x + w, y + h), (max(1, round(h * scale)), max(1, round(w * scale)))


def _resized_planes(bits: Bits, box: tuple[float, float, float, float], valid: tuple[int, int]) -> NDArray[np.uint8]:
    """Nearest pixels of a box, as Pillow's NEAREST picks them; their bits 8 to a plane: 3xHxW."""
    x0, y0, x1, y1 = box
    rows = (y0 + (np.arange(valid[0]) + 0.5) * (y1 - y0) / valid[0]).astype(np.intp)
    columns = (x0 + (np.arange(valid[1]) + 0.5) * (x1 - x0) / valid[1]).astype(np.intp)
    shown = bits[np.minimum(rows, bits.shape[0] - 1)].take(np.minimum(columns, bits.shape[1] - 1), axis=1)
    return np.stack([(shown >> np.uint32(8 * i)).astype(np.uint8) for i in range(MAX_LAYERS // 8)])


def _by_area(rng: np.random.Generator, found: list[int], shares: list[float]) -> NDArray[np.int64]:
    """All of them in a random order in which larger ones tend to come first: most masks of a scene are small."""
    keys = rng.exponential(size=len(found)) / np.cbrt(shares)
    return np.asarray(found)[np.argsort(keys)]


def _shares(planes: NDArray[np.uint8]) -> list[float]:
    """The share of pixels that lie in each mask, of every other pixel each way."""
    few = np.ascontiguousarray(planes[:, ::2, ::2])
    return [float(np.count_nonzero(few[k // 8] & np.uint8(1 << k % 8))) * 4 / planes[0].size for k in range(MAX_LAYERS)]


def _turned(array: NDArray[Any], turns: int, mirror: bool) -> NDArray[Any]:
    array = np.rot90(array, turns)
    return array[:, ::-1] if mirror else array


def _colours(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Brightness, contrast, gamma and cast; now and then other channels, a negative or grey."""
    if rng.random() < 0.15:
        return image
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain, lift = np.exp(rng.normal(0, 0.25)), rng.uniform(0.6, 1.3), rng.uniform(-0.15, 0.15)
    cast = 1 + rng.normal(0, 0.1, 3)
    curve = np.clip((levels**gamma)[:, None] * gain * cast + lift, 0, 1)
    if rng.random() < 0.15:
        curve = 1 - curve
    table = (255 * curve).astype(np.uint8)
    order = rng.permutation(3) if rng.random() < 0.25 else range(3)
    out = np.stack([table[:, i].take(image[..., c]) for i, c in enumerate(order)], axis=-1)
    if rng.random() < 0.15:
        grey = (out @ np.array([77, 150, 29], np.uint32) >> 8).astype(np.uint8)
        out = np.repeat(grey[..., None], 3, axis=-1)
    return out
