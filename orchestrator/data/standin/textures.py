"""Texture families: a periodic tile of tones in 0..1 each, and the palettes that colour them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from orchestrator.data.standin.fields import Field, Rng, band, cloud

TILE = 256  # pixels
_SQUARE = (TILE, TILE)

# Each row is one palette: four colours from its darkest tone to its lightest.
PALETTES = np.array(
    [
        [(62, 48, 30), (120, 98, 62), (172, 146, 98), (222, 202, 156)],  # sand
        [(18, 26, 10), (52, 72, 24), (100, 122, 46), (168, 184, 92)],  # moss
        [(34, 28, 24), (84, 74, 66), (134, 124, 114), (204, 196, 186)],  # bark
        [(20, 34, 40), (56, 86, 92), (104, 138, 136), (176, 204, 194)],  # sea bed
        [(44, 22, 10), (104, 60, 24), (160, 104, 48), (214, 170, 106)],  # fallen leaves
        [(58, 54, 22), (116, 106, 38), (164, 150, 62), (214, 202, 118)],  # dry weed
        [(52, 56, 64), (112, 118, 126), (166, 170, 176), (226, 228, 230)],  # rock
    ],
    dtype=np.float32,
)


def palette(rng: Rng) -> Field:
    """4x3 RGB from dark to light, one of ``PALETTES`` slightly off."""
    chosen = PALETTES[rng.integers(len(PALETTES))]
    return np.asarray(chosen * rng.uniform(0.9, 1.06) * rng.uniform(0.94, 1.06, 3), dtype=np.float32)


def colour(tone: Field, colours: Field) -> NDArray[np.float32]:
    """HxW tones in 0..1 -> HxWx3 RGB."""
    table = np.linspace(0, 1, 256)
    lut = np.stack([np.interp(table, np.linspace(0, 1, len(colours)), c) for c in colours.T], axis=-1)
    return lut.astype(np.float32)[np.clip(tone * 255, 0, 255).astype(np.uint8)]


def _tones(field: Field) -> Field:
    """Deviations -> tones around the middle."""
    return np.asarray(0.5 + 0.2 * field, dtype=np.float32)


def _gravel(rng: Rng) -> Field:
    return _tones(band(rng, _SQUARE, rng.uniform(5, 9)) + 0.5 * band(rng, _SQUARE, 3))


def _labyrinth(rng: Rng) -> Field:
    """Two phases that keep apart, as reaction and diffusion leave them."""
    spots = band(rng, _SQUARE, rng.uniform(11, 18), 0.22)
    return _tones(1.1 * np.tanh(2 * spots + rng.uniform(-0.6, 0.6)) + 0.4 * cloud(rng, _SQUARE, 6, 1.5))


def _bark(rng: Rng) -> Field:
    ridges = band(rng, _SQUARE, rng.uniform(7, 12), 0.5, stretch=rng.uniform(4, 7))
    return _tones(ridges - 0.7 * np.exp(-((ridges / 0.25) ** 2)) + 0.4 * cloud(rng, _SQUARE, 10, 1.5))


def _moss(rng: Rng) -> Field:
    return _tones(0.8 * cloud(rng, _SQUARE, 24, 1.6) + 0.7 * band(rng, _SQUARE, rng.uniform(4, 7)))


def _stripes(rng: Rng) -> Field:
    """Grass and sand ripples: waves that wander; a whole number of them fits the tile."""
    y = np.arange(TILE, dtype=np.float32)[:, None] / TILE
    waves = np.sin(2 * np.pi * rng.integers(16, 28) * y + 3 * cloud(rng, _SQUARE, 60, 3, stretch=2.5))
    return _tones(0.9 * waves + 0.7 * band(rng, _SQUARE, 4, stretch=3))


def _scatter(rng: Rng, count: int, outline: Field, vein: bool) -> Field:
    """Painted over one another, wrapped round the edges: leaves, or pebbles without a vein."""
    big = 2 * TILE
    sheet = Image.new("F", (big, big), 0.25)
    pen = ImageDraw.Draw(sheet)
    main = rng.uniform(0, np.pi)
    for x, y, turn, size, tone in zip(
        *rng.uniform(0, big, (2, count)),
        main + rng.normal(0, 0.7, count),
        rng.uniform(0.7, 1.3, count),
        rng.uniform(0.3, 0.95, count),
        strict=True,
    ):
        c, s = size * np.cos(turn), size * np.sin(turn)
        corners = outline @ np.array([[c, s], [-s, c]]) + (x, y)
        for dx in {0, big if x < 50 else 0, -big if x > big - 50 else 0}:
            for dy in {0, big if y < 50 else 0, -big if y > big - 50 else 0}:
                moved = [(px + dx, py + dy) for px, py in corners]
                pen.polygon(moved, fill=tone, outline=tone * 0.55)
                if vein:
                    pen.line([moved[0], moved[len(moved) // 2]], fill=tone * 0.72, width=2)
    return np.asarray(sheet.reduce(2), dtype=np.float32) + 0.05 * cloud(rng, _SQUARE, 8, 1.5)


def _leaves(rng: Rng) -> Field:
    long, wide = rng.uniform(16, 26), rng.uniform(5, 9)
    t = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    pointed = np.sign(np.sin(t)) * np.abs(np.sin(t)) ** 1.3
    return _scatter(rng, 620, np.stack([long * np.cos(t), wide * pointed], -1).astype(np.float32), True)


def _pebbles(rng: Rng) -> Field:
    t = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    wide = rng.uniform(8, 12)
    return _scatter(rng, 900, np.stack([12 * np.cos(t), wide * np.sin(t)], -1).astype(np.float32), False)


FAMILIES: tuple[Callable[[Rng], Field], ...] = (
    _gravel,
    _labyrinth,
    _bark,
    _moss,
    _stripes,
    _leaves,
    _pebbles,
)


def texture(rng: Rng) -> Field:
    """A tile of any family."""
    return FAMILIES[rng.integers(len(FAMILIES))](rng)
