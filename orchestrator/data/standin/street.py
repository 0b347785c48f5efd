"""What streets are drawn from: sky, ground, facades with windows, and letters that say nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orchestrator.data.standin.fields import Rng, Shape, cloud, sample, smooth
from orchestrator.data.standin.sheet import Points, Sheet, stroke
from orchestrator.data.standin.textures import colour, palette, texture

Colour = NDArray[np.floating]

_STROKES = [  # of letters, in a unit square: lines from point to point
    [(0, 1), (0.5, 0), (1, 1)], [(0, 0), (0, 1), (1, 1)], [(0, 0), (1, 0), (0.4, 1)], [(0.5, 0), (0.5, 1)],
    [(0, 0), (1, 0), (0, 1), (1, 1)], [(1, 0), (0, 0), (0, 1), (1, 1)], [(0, 1), (0, 0), (1, 1), (1, 0)],
    [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], [(0, 0), (0, 0.5), (1, 0.5), (1, 0), (1, 1)],
    [(1, 0), (0, 0), (0, 0.5), (1, 0.5), (1, 1), (0, 1)],
]  # fmt: skip


def quad(x0: float, y0: float, x1: float, y1: float, slant: float = 0, skew: float = 0) -> Points:
    """A rectangle seen a little from the side: ``slant`` lifts its right edge, ``skew`` shrinks it (in pixels)."""
    return np.array([(x0, y0), (x1, y0 - slant + skew), (x1, y1 - slant - skew), (x0, y1)], dtype=np.float64)


def within(corners: Points, u: NDArray[np.floating] | float, v: NDArray[np.floating] | float) -> Points:
    """Points at (u, v) of a quad, from 0 to 1: u along its upper edge, v down."""
    u, v = np.broadcast_arrays(np.asarray(u, dtype=np.float64)[..., None], np.asarray(v, dtype=np.float64)[..., None])
    top = corners[0] + u * (corners[1] - corners[0])
    low = corners[3] + u * (corners[2] - corners[3])
    return np.asarray(top + v * (low - top))


def part(corners: Points, u0: float, v0: float, u1: float, v1: float) -> Points:
    """A rectangle of a quad."""
    return within(corners, np.array([u0, u1, u1, u0]), np.array([v0, v0, v1, v1]))


def letters(sheet: Sheet, rng: Rng, corners: Points, count: int, ink: Colour, bold: float = 0.14) -> None:
    """A line of ``count`` letters that fills a quad."""
    high = float(np.hypot(*(corners[3] - corners[0])))
    lines = []
    for k in range(count):
        shape = np.array(_STROKES[rng.integers(len(_STROKES))], dtype=np.float64)
        path = within(corners, (k + 0.15 + 0.7 * shape[:, 0]) / count, shape[:, 1])
        lines += [stroke(np.stack(ends), max(1.0, bold * high)) for ends in pairwise(path)]
    sheet.paint(sheet.cover(lines, 0.25), ink)


def sky_and_ground(sheet: Sheet, rng: Rng, horizon: float) -> None:
    """A sky down to a row, and asphalt or paving below."""
    shape = sheet.shape
    y = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None]
    blue = np.array([(150, 185, 225), (205, 212, 220), (120, 140, 170), (235, 205, 170)], np.float32)[rng.integers(4)]
    clouds = smooth(cloud(rng, shape, 80), rng.uniform(-0.5, 1), 2)[..., None]
    sheet.image[:] = blue * (0.85 + 0.25 * y) + clouds * (235 - blue) * 0.7
    row = int(horizon)
    road = rng.uniform(70, 140) * rng.uniform(0.95, 1.05, 3).astype(np.float32)
    grain = sample(texture(rng), *_pixels(shape, rng.uniform(0.8, 2)))[row:, :, None]
    sheet.image[row:] = road * (0.85 + 0.3 * grain)


def facade(sheet: Sheet, rng: Rng, corners: Points) -> None:
    """A house front with rows of windows."""
    plain = palette(rng)[rng.integers(1, 4)] * rng.uniform(0.75, 1.15)
    ink = (plain * (1 + 0.05 * cloud(rng, sheet.shape, 70))[..., None]).astype(np.float32)
    if rng.random() < 0.2:
        ink += 0.5 * (colour(sample(texture(rng), *_pixels(sheet.shape, 0.8)), palette(rng)) - ink)
    sheet.paint(sheet.cover(corners, 0.3), ink)
    across = max(2, int(np.hypot(*(corners[1] - corners[0])) / rng.uniform(18, 34)))
    down = max(2, int(np.hypot(*(corners[3] - corners[0])) / rng.uniform(22, 38)))
    glass, gap = rng.uniform(30, 130) * rng.uniform(0.7, 1.3, 3), rng.uniform(0.15, 0.3)
    for i in range(across):
        for j in range(down):
            pane = part(corners, (i + gap) / across, (j + gap) / down, (i + 1 - gap) / across, (j + 1 - gap) / down)
            sheet.paint(sheet.cover(pane, 0.3), glass * rng.uniform(0.6, 1.7))


def taken(rng: Rng, image: NDArray[np.float32], soft: tuple[float, float] = (0.3, 1.0)) -> NDArray[np.uint8]:
    """The photograph: uneven light, a cast, a lens that blurs over ``soft`` pixels (at least, at most), noise."""
    shape = (image.shape[0], image.shape[1])
    image = image * (1 + 0.12 * cloud(rng, shape, 160))[..., None]
    image *= (rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)).astype(np.float32)
    blur = rng.uniform(*soft)
    image = ndimage.gaussian_filter(image, (blur, blur, 0))
    image = image + rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(1, 7)
    return np.clip(image, 0, 255).astype(np.uint8)


def _pixels(shape: Shape, zoom: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / np.float32(zoom)
    return y, x
