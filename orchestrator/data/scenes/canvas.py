"""The picture being painted, and which thing owns each of its pixels: masks follow from what was painted last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from orchestrator.data.scenes.outlines import Outline
from orchestrator.data.standin.fields import Field, Rng

MAX_MASKS = 24
AREA = (0.0015, 0.85)  # of the picture, that a mask may have
SAME = 0.9  # overlap (IoU) from which two masks are one
FRAME = -1  # owner of pixels outside the view, such as a black border


@dataclass(frozen=True)
class Stencil:
    """How much of each pixel in a box of the canvas a shape covers, 0 to 1."""

    at: tuple[slice, slice]
    cover: Field

    @property
    def shape(self) -> tuple[int, int]:
        return self.cover.shape[0], self.cover.shape[1]

    @property
    def solid(self) -> NDArray[np.bool_]:
        return self.cover >= 0.5


class Canvas:
    """An RGB picture in 0..1, the owner of each pixel (0: the ground) and the groups of owners that are masks."""

    def __init__(self, rng: Rng, side: int, easy: bool) -> None:
        self.rng, self.side, self.easy = rng, side, easy
        self.image = np.zeros((side, side, 3), np.float32)
        self.owner = np.zeros((side, side), np.int16)
        self.groups: list[frozenset[int]] = []
        self._count = 0

    def new(self) -> int:
        """An owner that no pixel has yet."""
        self._count += 1
        return self._count

    def group(self, owners: Iterable[int]) -> None:
        """Make one mask of everything that these owners show."""
        self.groups.append(frozenset(owners))

    def stencil(
        self,
        outline: Outline,
        centre: tuple[float, float],
        size: float,
        turn: float = 0,
        aspect: float = 1,
        soft: float = 0,
    ) -> Stencil | None:
        """An outline, -1 to 1, laid at ``centre`` (x, y) with radius ``size`` in pixels; None outside the canvas."""
        c, s = np.cos(turn), np.sin(turn)
        matrix = size * np.array([[c, s], [-s * aspect, c * aspect]])
        rings = [(points @ matrix + centre, on) for points, on in outline]
        corners = np.concatenate([points for points, on in rings if on])
        pad = 2 + 3 * soft
        x0, y0 = np.clip(np.floor(corners.min(0) - pad), 0, self.side).astype(int)
        x1, y1 = np.clip(np.ceil(corners.max(0) + pad), 0, self.side).astype(int)
        if x1 - x0 < 3 or y1 - y0 < 3:
            return None
        sheet = Image.new("L", (2 * int(x1 - x0), 2 * int(y1 - y0)))
        pen = ImageDraw.Draw(sheet)
        for points, on in rings:
            pen.polygon((2 * (points - (x0, y0))).ravel().tolist(), fill=255 if on else 0)
        small = sheet.reduce(2)
        if soft > 0.2:
            small = small.filter(ImageFilter.GaussianBlur(float(soft)))
        cover = np.asarray(np.asarray(small) / np.float32(255), dtype=np.float32)
        return Stencil((slice(int(y0), int(y1)), slice(int(x0), int(x1))), cover)

    def within(self, stencil: Stencil, owners: Iterable[int]) -> Stencil:
        """What of a stencil lies on pixels of these owners."""
        inside = np.isin(self.owner[stencil.at], list(owners))
        return Stencil(stencil.at, stencil.cover * inside)

    def paint(self, stencil: Stencil, colours: Field, owner: int | None = None, opacity: float = 1) -> None:
        """Lay colours (HxWx3, or 3) over the box; with an owner, the pixels at least half covered become its own."""
        view = self.image[stencil.at]
        view += (stencil.cover * np.float32(opacity))[..., None] * (colours - view)
        if owner is not None:
            self.owner[stencil.at][stencil.solid] = owner

    def shadow(self, stencil: Stencil, shift: tuple[int, int], soft: float, dark: float) -> None:
        """Darken what lies beside a shape that is painted next; ``shift`` is (y, x)."""
        pad = int(2 * soft) + 1 + max(abs(shift[0]), abs(shift[1]))
        ys, xs = stencil.at
        y0, x0 = max(0, ys.start - pad), max(0, xs.start - pad)
        y1, x1 = min(self.side, ys.stop + pad), min(self.side, xs.stop + pad)
        sheet = Image.new("L", (x1 - x0, y1 - y0))
        cover = Image.fromarray((stencil.cover * 255).astype(np.uint8))
        sheet.paste(cover, (xs.start - x0 + shift[1], ys.start - y0 + shift[0]))
        veil = np.asarray(sheet.filter(ImageFilter.GaussianBlur(float(soft))), dtype=np.float32)
        self.image[y0:y1, x0:x1] *= 1 - (np.float32(dark / 255) * veil)[..., None]

    def masks(self) -> NDArray[np.bool_]:
        """M x side x side: the groups that show enough, no two nearly alike, at most MAX_MASKS of them."""
        counts = np.bincount(self.owner.ravel().astype(np.int64) + 1, minlength=self._count + 2)[1:]
        low, high = (share * self.side**2 for share in AREA)
        chosen: list[tuple[frozenset[int], int]] = []
        for at in self.rng.permutation(len(self.groups)):
            owners = self.groups[at]
            area = int(counts[list(owners)].sum())
            if not low <= area <= high or len(chosen) == MAX_MASKS:
                continue
            # owners never share pixels, so the overlap of two groups is the area of their common owners
            shared = [int(counts[list(owners & other)].sum()) for other, _ in chosen]
            if all(both <= SAME * (area + theirs - both) for both, (_, theirs) in zip(shared, chosen, strict=True)):
                chosen.append((owners, area))
        masks = np.zeros((len(chosen), self.side, self.side), np.bool_)
        for mask, (owners, _) in zip(masks, chosen, strict=True):
            table = np.zeros(self._count + 2, np.bool_)
            table[list(owners)] = True  # the last entry stays False: it is what FRAME reads
            mask[:] = table[self.owner]
        return masks


def height(cover: Field, flat: float = 1) -> Field:
    """0 at the rim of a shape to 1 in its middle, as a dome; ``flat`` under 1 keeps the slope near the rim."""
    step = 1 + max(cover.shape) // 64
    coarse = np.pad(cover[step // 2 :: step, step // 2 :: step] >= 0.5, 1, constant_values=False)
    depth = ndimage.distance_transform_edt(coarse).astype(np.float32)[1:-1, 1:-1]
    part = np.clip(depth / (flat * max(float(depth.max()), 1)), 0, 1)
    dome = ndimage.gaussian_filter(np.sqrt(1 - (1 - part) ** 2), 1.0, mode="nearest")
    grown = Image.fromarray(dome.astype(np.float32))
    return np.asarray(grown.resize((cover.shape[1], cover.shape[0]), Image.Resampling.BICUBIC), dtype=np.float32)


def relief(dome: Field, light: float, strength: float) -> Field:
    """Brightness (HxWx1, around 1) of a dome lit from the direction ``light`` in radians."""
    gy, gx = np.gradient(dome)
    lit = gy * np.float32(np.sin(light)) + gx * np.float32(np.cos(light))
    return (1 + np.float32(strength) * lit / (np.abs(lit).max() + 1e-3) + 0.3 * strength * (dome - 0.7))[..., None]
