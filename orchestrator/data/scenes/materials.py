"""What things are made of: a periodic texture, turned and zoomed, coloured by a table, with a gradient over it."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.standin.fields import Field, Rng, band, cloud
from orchestrator.data.standin.textures import FAMILIES, PALETTES, TILE

_BANK_SEED = 20_240
_SQUARE = (TILE, TILE)
_REACH = TILE  # how far from its middle a material may read the sheet, in pixels
SMOOTH = range(0, 6)  # where the bank has its clouds,
SPOTTED = range(6, 9)  # its even spots, as drops and glints lie,
ORGANIC = range(6, 34)  # all that grows or crumbles,
ANY = range(0, 45)  # and patterns that people make


def _geometric(rng: Rng) -> list[Field]:
    """Stripes, checks, bricks, dots and a weave: periods that divide the tile."""
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32) * np.float32(2 * np.pi / TILE)
    tiles: list[Any] = [np.sin(k * y) for k in (8, 20)] + [np.sign(np.sin(k * y)) for k in (6, 14)]
    tiles += [np.sign(np.sin(k * y) * np.sin(k * x)) for k in (5, 12)]
    tiles += [np.where(np.sin(k * y) * np.sin(k * x) > 0.6, 1.0, -1.0) for k in (10, 18)]
    tiles += [np.maximum(np.sin(12 * y), np.sin(12 * x)), np.sin(16 * y) * np.sin(16 * x)]
    rows = np.floor(y * 8 / np.pi)
    joints = np.minimum(np.abs(np.sin(8 * y)), np.abs(np.sin(4 * x + rows * np.pi / 2)))
    tiles.append(np.clip(joints * 6, 0, 1) + 0.15 * band(rng, _SQUARE, 12))
    return [np.asarray(tile + 0.15 * cloud(rng, _SQUARE, 10, 1.5), dtype=np.float32) for tile in tiles]


def _natural(rng: Rng) -> list[Field]:
    """Speckle, veins, cells and patches beside the families of the stand-ins."""
    tiles = [band(rng, _SQUARE, 16, 0.6), band(rng, _SQUARE, 26, 0.7), band(rng, _SQUARE, 12, 0.7, stretch=2.5)]
    tiles += [-(np.abs(band(rng, _SQUARE, pixels, 0.6)) ** np.float32(0.7)) for pixels in (24, 48)]
    tiles += [np.tanh(3 * cloud(rng, _SQUARE, pixels, 3)) for pixels in (30, 55)]
    tiles += [cloud(rng, _SQUARE, 12, slope) for slope in (0.6, 1.2, 1.8)]
    tiles += [np.maximum(band(rng, _SQUARE, pixels), np.float32(0.5)) for pixels in (10, 16)]
    tiles += [band(rng, _SQUARE, 6, 0.7, stretch=8), cloud(rng, _SQUARE, 40, 2, stretch=4)]
    return [*tiles, *(family(rng) for family in FAMILIES for _ in range(2))]


@lru_cache(maxsize=1)
def bank() -> tuple[Image.Image, ...]:
    """The tiles, three by three so that any turned window lies inside; the same ones for every scene."""
    rng = np.random.default_rng(_BANK_SEED)
    clouds = [cloud(rng, _SQUARE, pixels, slope) for pixels in (59, 70, 120) for slope in (3, 4)]
    sheets = []
    for tile in clouds + _natural(rng) + _geometric(rng):
        level = (tile - tile.mean()) / (tile.std() + 1e-6)
        tones = np.clip(127.5 + 51 * level, 0, 255).astype(np.uint8)
        sheets.append(Image.fromarray(np.tile(tones, (3, 3))))
    return tuple(sheets)


def tones(rng: Rng, shape: tuple[int, int], among: range, zoom: float) -> Field:
    """A window of one tile of some, mean about 0 and deviation about 1."""
    tile, turn = int(rng.choice(among)), rng.uniform(0, 2 * np.pi)
    level = _window(tile, turn, zoom, tuple(rng.uniform(_REACH, 2 * _REACH, 2)), shape)
    return np.asarray((level - np.float32(127.5)) / 51, dtype=np.float32)


def _window(
    tile: int, angle: float, zoom: float, middle: tuple[float, ...], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    h, w = shape
    zoom = max(zoom, np.hypot(h, w) / 2 / _REACH)
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    shift = (middle[0] - c * w / 2 + s * h / 2, middle[1] - s * w / 2 - c * h / 2)
    data = (c, -s, shift[0], s, c, shift[1])
    view = bank()[tile].transform((w, h), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(view)


@dataclass(frozen=True)
class Material:
    """``table`` gives each of 256 tones its colour; ``ramp`` is the gradient of brightness over the box (y, x)."""

    tile: int
    angle: float
    zoom: float
    middle: tuple[float, ...]
    table: Field
    ramp: tuple[float, float] = (0, 0)

    @property
    def mean(self) -> Field:
        return np.asarray(self.table[64:192].mean(0), dtype=np.float32)

    def render(self, shape: tuple[int, int]) -> Field:
        """HxWx3 colours."""
        colours = self.table[_window(self.tile, self.angle, self.zoom, self.middle, shape)]
        if any(self.ramp):
            y = np.linspace(-self.ramp[0], self.ramp[0], shape[0], dtype=np.float32)[:, None]
            x = np.linspace(-self.ramp[1], self.ramp[1], shape[1], dtype=np.float32)
            colours *= (1 + y + x)[..., None]
        return np.asarray(colours, dtype=np.float32)

    def moved(self, rng: Rng, turn: float = 0, zoom: float = 1) -> Material:
        """The same stuff read elsewhere, turned and zoomed."""
        middle = tuple(rng.uniform(_REACH, 2 * _REACH, 2))
        return replace(self, angle=self.angle + turn, zoom=self.zoom * zoom, middle=middle)

    def tinted(self, mean: Field) -> Material:
        """The same stuff with another mean colour."""
        return replace(self, table=np.clip(self.table + (mean - self.mean), 0, 1).astype(np.float32))


def colour(rng: Rng) -> Field:
    """Any RGB in 0..1; greys, dull and vivid ones are all frequent."""
    saturation = rng.choice([0.0, rng.uniform(0, 0.35), rng.uniform(0.2, 1)], p=[0.15, 0.5, 0.35])
    return np.asarray(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.08, 1)), dtype=np.float32)


def away(rng: Rng, ground: Field, distance: float) -> Field:
    """A colour at about a distance (0..1, the largest channel) from another."""
    for _ in range(20):
        wanted = colour(rng)
        gap = float(np.abs(wanted - ground).max())
        if gap >= distance:
            return np.asarray(ground + (wanted - ground) * min(1, distance * rng.uniform(1, 2) / gap), np.float32)
    return np.asarray(1 - ground, dtype=np.float32)


def material(
    rng: Rng, mean: Field | None = None, contrast: float | None = None, smooth: bool | None = None
) -> Material:
    """Any stuff, of a mean colour where one is given; ``contrast`` is the reach of its tones."""
    smooth = bool(rng.random() < 0.4) if smooth is None else smooth
    tile = int(rng.choice(SMOOTH) if smooth else rng.integers(SMOOTH.stop, ANY.stop))
    reach = float(contrast if contrast is not None else rng.choice([0.0, 0.05, 0.12, 0.25, 0.4]))
    t = np.linspace(-1, 1, 256, dtype=np.float32)[:, None]
    if mean is None and rng.random() < 0.2:
        rows = PALETTES[rng.integers(len(PALETTES))] / 255
        table = np.stack([np.interp(t[:, 0], np.linspace(-1, 1, 4), row) for row in rows.T], -1)
    else:
        middle = colour(rng) if mean is None else mean
        towards = 1 + rng.uniform(-0.5, 0.5, 3) if rng.random() < 0.7 else rng.uniform(-1, 1, 3)
        table = middle + reach * t * towards
    ramp = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.3, 0.3))) if rng.random() < 0.5 else (0.0, 0.0)
    zoom = float(np.exp(rng.uniform(-0.7, 1.1)))
    where = tuple(rng.uniform(_REACH, 2 * _REACH, 2))
    table = np.clip(table, 0, 1).astype(np.float32)
    return Material(tile, float(rng.uniform(0, 2 * np.pi)), zoom, where, table, ramp)
