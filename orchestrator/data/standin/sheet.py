"""A picture being painted from polygons, and which part owns each of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from orchestrator.data.standin.fields import Field, Shape

Points = NDArray[np.float64]  #: N x 2, (x, y) in pixels


@dataclass(frozen=True)
class Cover:
    """How much of each pixel in a box of the sheet a shape covers, 0 to 1."""

    at: tuple[slice, slice]
    amount: Field

    def full(self, shape: Shape) -> Field:
        """The same over a whole picture."""
        whole = np.zeros(shape, np.float32)
        whole[self.at] = self.amount
        return whole


class Sheet:
    """RGB in 0..255, and an owner a pixel: 0 is the ground."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.image = np.zeros((*shape, 3), np.float32)
        self.owner = np.zeros(shape, np.uint8)

    def cover(self, points: Points | list[Points], soft: float = 0) -> Cover:
        """A polygon's, or that of several, the edge blurred over ``soft`` pixels; empty beside the sheet."""
        polygons = points if isinstance(points, list) else [points]
        points = np.concatenate(polygons)
        pad = 2 + 3 * soft
        limits = (self.shape[1], self.shape[0])
        x0, y0 = np.clip(np.floor(points.min(0) - pad), 0, limits).astype(int).tolist()
        x1, y1 = np.clip(np.ceil(points.max(0) + pad), 0, limits).astype(int).tolist()
        if x1 <= x0 or y1 <= y0:
            return Cover((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32))
        grown = Image.new("L", (2 * (x1 - x0), 2 * (y1 - y0)))
        pen = ImageDraw.Draw(grown)
        for polygon in polygons:
            pen.polygon((2 * (polygon - (x0, y0))).ravel().tolist(), fill=255)
        small = grown.reduce(2)
        if soft > 0.35:  # less is not seen
            small = small.filter(ImageFilter.GaussianBlur(float(soft)))
        return Cover((slice(y0, y1), slice(x0, x1)), np.asarray(small, dtype=np.float32) / np.float32(255))

    def paint(self, cover: Cover, colour: NDArray[np.floating], owner: int | None = None, opacity: float = 1) -> None:
        """Lay a colour (3, or HxWx3 of the whole sheet) over it; what is at least half covered gets the owner."""
        view = self.image[cover.at]
        ink = colour[cover.at] if colour.ndim == 3 else colour
        view += (cover.amount * np.float32(opacity))[..., None] * (ink.astype(np.float32) - view)
        if owner is not None:
            self.owner[cover.at][cover.amount >= 0.5] = owner

    def darken(self, cover: Cover, amount: float) -> None:
        """Shade what lies there."""
        self.image[cover.at] *= 1 - (cover.amount * np.float32(amount))[..., None]


def rounded(points: Points, times: int = 3, closed: bool = True) -> Points:
    """A polygon or a line with its corners cut, again and again."""
    for _ in range(times):
        after = np.roll(points, -1, 0) if closed else points[1:]
        before = points if closed else points[:-1]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], 1).reshape(-1, 2)
        points = cut if closed else np.concatenate([points[:1], cut, points[-1:]])
    return points


def oval(centre: tuple[float, float], radii: tuple[float, float], turn: float = 0, count: int = 40) -> Points:
    """The points of an ellipse."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    x, y = radii[0] * np.cos(t), radii[1] * np.sin(t)
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], -1)


def stroke(path: Points, wide: NDArray[np.float64] | float) -> Points:
    """The outline of a line that is ``wide`` at each of its points."""
    way = np.gradient(path, axis=0)
    way /= np.hypot(way[:, 0], way[:, 1])[:, None] + 1e-9
    side = np.stack([-way[:, 1], way[:, 0]], -1) * (np.broadcast_to(wide, len(path)) / 2)[:, None]
    return np.concatenate([path + side, (path - side)[::-1]])
