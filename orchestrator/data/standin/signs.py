"""Streets with billboards, shop signs and banners, written as Mapillary Vistas lies on disk.

Windows, doors and walls have the shape or the colours of signs, and poles, lamps and trees stand before them.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.layouts.signs import PER_LABEL, SIGNS, VERSIONS
from orchestrator.data.standin import SIDES, TEST_FROM, indices
from orchestrator.data.standin.fields import Rng, Shape, cloud
from orchestrator.data.standin.sheet import Points, Sheet, oval, rounded, stroke
from orchestrator.data.standin.street import facade, letters, part, quad, sky_and_ground, taken
from orchestrator.data.standin.textures import palette

LABELS = ("construction--flat--road", *SIGNS)  #: a sign's label is its place here
_LEAST = 0.0015  # of the picture, that a sign must show
_BANNER, _BILLBOARD, _ADVERTISEMENT, _STORE, _INFORMATION = (LABELS.index(name) for name in list(SIGNS)[:5])

Ink = NDArray[np.floating]


class _Street:
    """A sheet, and the label of every sign on it by owner."""

    def __init__(self, sheet: Sheet, rng: Rng) -> None:
        self.sheet, self.rng = sheet, rng
        self.labels: list[int] = [0]

    def sign(self, corners: Points, label: int, wall: Ink | None = None) -> None:
        """A board with a rim and letters or a picture; ``wall`` is what it is painted like now and then."""
        rng, sheet = self.rng, self.sheet
        self.labels.append(label)
        board: Ink = rng.uniform(20, 245, 3)
        if wall is not None and rng.random() < 0.25:
            board = wall * rng.uniform(0.8, 1.2)
        light: Ink = np.array([240, 240, 235]) if board.mean() < 128 else rng.uniform(0, 70, 3)
        rim = light if rng.random() < 0.5 else board * 0.6
        sheet.paint(sheet.cover(corners, 0.3), rim, len(self.labels) - 1)
        inner = part(corners, 0.02, 0.04, 0.98, 0.96)
        sheet.paint(sheet.cover(inner, 0.3), board)
        across, down = np.hypot(*(corners[1] - corners[0])), np.hypot(*(corners[3] - corners[0]))
        if across > 1.6 * down:
            start = 0.08
            if rng.random() < 0.4:
                self._picture(part(inner, 0.03, 0.12, 0.3, 0.88))
                start = 0.34
            count = int(np.clip((0.92 - start) * across / (0.65 * down), 3, 14))
            letters(sheet, rng, part(inner, start, 0.24, 0.94, 0.76), count, light)
            return
        rows = int(np.clip(down / 14, 1, 5))
        if rng.random() < 0.6:
            self._picture(part(inner, 0.08, 0.06, 0.92, 0.55))
        for row in range(rows):
            top = 0.6 + 0.34 * row / rows if rows < 4 else 0.08 + 0.86 * row / rows
            line = part(inner, 0.1, top, rng.uniform(0.6, 0.9), top + 0.22 / rows + 0.04)
            letters(sheet, rng, line, int(rng.integers(3, 8)), light, 0.18)

    def _picture(self, corners: Points) -> None:
        """A patch of colour with a thing on it."""
        rng, sheet = self.rng, self.sheet
        sheet.paint(sheet.cover(corners, 0.3), palette(rng)[rng.integers(4)] * rng.uniform(0.7, 1.3))
        middle, size = corners.mean(0), 0.3 * np.abs(corners[2] - corners[0])
        thing = oval((middle[0], middle[1]), (size[0] * rng.uniform(0.4, 1), size[1] * rng.uniform(0.5, 1)))
        sheet.paint(sheet.cover(thing, 0.3), rng.uniform(20, 240, 3))

    def pole(self, x: float, top: float, low: float, wide: float) -> None:
        """Something thin that stands before what was painted so far."""
        self._over(stroke(np.array([(x, top), (x + 0.5, low)]), wide), self.rng.uniform(40, 130) * np.ones(3))

    def tree(self, x: float, low: float, size: float) -> None:
        """A trunk and a crown."""
        rng = self.rng
        self._over(stroke(np.array([(x, low - 1.2 * size), (x, low)]), 0.14 * size), np.array([70, 56, 44]))
        crown = oval((x, low - 1.7 * size), (0.75 * size, 0.8 * size), count=26)
        crown = rounded(crown + rng.normal(0, 0.09 * size, crown.shape), 1)
        green = np.array([52, 88, 38]) * rng.uniform(0.7, 1.3)
        self._over(crown, green * (1 + 0.3 * cloud(rng, self.sheet.shape, 12))[..., None])

    def _over(self, points: Points, ink: Ink) -> None:
        self.sheet.paint(self.sheet.cover(points, 0.4), ink, 0)


def draw(seed: int, index: int, size: Shape | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """One street, the same for the same (seed, index, size).

    Args:
        seed: of the whole set, at least 0.
        index: of the picture, at least 0.
        size: (height, width) in pixels; None draws each side from ``SIDES``.

    Returns:
        image HxWx3 uint8 RGB, and HxW of label * 256 + instance (``LABELS``): one sign at least.
    """
    rng = np.random.default_rng([zlib.crc32(b"signs"), seed, index])
    sides = rng.integers(SIDES[0], SIDES[1] + 1, 2)
    shape = size or (int(sides[0]), int(sides[1]))
    while True:
        street = _Street(Sheet(shape), rng)
        _compose(street)
        instances = _coded(street)
        if (instances >= PER_LABEL).any():
            return taken(rng, street.sheet.image), instances


def _compose(street: _Street) -> None:
    sheet, rng = street.sheet, street.rng
    height, width = sheet.shape
    horizon = height * rng.uniform(0.55, 0.75)
    sky_and_ground(sheet, rng, horizon)
    left = -0.15 * width
    while left < width:
        wide = width * rng.uniform(0.35, 0.75)
        if rng.random() < 0.8:
            _house(street, left, left + wide, horizon)
        left += wide
    if rng.random() < 0.55:
        _billboard(street, horizon)
    if rng.random() < 0.35:  # a banner across the street, between two poles
        y, deep, sag = height * rng.uniform(0.1, 0.35), height * rng.uniform(0.06, 0.12), rng.uniform(-8, 8)
        x0, x1 = width * rng.uniform(0.05, 0.3), width * rng.uniform(0.65, 0.95)
        for x in (x0 - 4, x1 + 4):
            street.pole(x, y - 10, height * 0.9, 3)
        street.sign(quad(x0, y, x1, y + deep, sag), _BANNER)
    for _ in range(int(rng.integers(0, 3))):
        x, low = width * rng.uniform(0, 1), rng.uniform(horizon, 0.95 * height)
        if rng.random() < 0.5:
            street.tree(x, low, height * rng.uniform(0.1, 0.2))
        else:
            street.pole(x, height * rng.uniform(0.05, 0.3), low, rng.uniform(2, 5))


def _house(street: _Street, left: float, right: float, horizon: float) -> None:
    """A front with a shop below, its sign, at times a sign that juts out or hangs down."""
    sheet, rng = street.sheet, street.rng
    height, wide = sheet.shape[0], right - left
    slant, skew = rng.uniform(-0.06, 0.06) * wide, rng.uniform(-0.04, 0.04) * wide
    top = horizon - height * rng.uniform(0.3, 0.75)
    front = quad(left, top, right, horizon + 0.04 * height, slant, skew)
    facade(sheet, rng, front)
    middle = front.mean(0).clip((0, 0), (sheet.shape[1] - 1, height - 1)).astype(int)
    wall = sheet.image[middle[1], middle[0]].copy()
    shop = part(front, 0.0, 0.68, 1.0, 1.0)
    sheet.paint(sheet.cover(shop, 0.3), wall * 0.7)
    for start in np.arange(0.05, 0.95, rng.uniform(0.22, 0.45)).tolist():
        sheet.paint(sheet.cover(part(shop, start, 0.4, start + 0.16, 0.95), 0.3), rng.uniform(30, 120, 3))
    if rng.random() < 0.8:
        u = rng.uniform(0.02, 0.25)
        street.sign(part(shop, u, -0.08, rng.uniform(0.6, 0.98), 0.28), _STORE, wall)
    if rng.random() < 0.35:
        u, v = rng.uniform(0.1, 0.75), rng.uniform(0.05, 0.3)
        street.sign(part(front, u, v, u + rng.uniform(0.1, 0.16), v + rng.uniform(0.25, 0.4)), _BANNER, wall)
    if rng.random() < 0.3:
        u, v = rng.uniform(0.1, 0.6), rng.uniform(0.02, 0.35)
        street.sign(part(front, u, v, u + rng.uniform(0.2, 0.38), v + rng.uniform(0.1, 0.3)), _ADVERTISEMENT, wall)


def _billboard(street: _Street, horizon: float) -> None:
    sheet, rng = street.sheet, street.rng
    height, width = sheet.shape
    wide = width * rng.uniform(0.2, 0.45)
    tall = wide * rng.uniform(0.35, 0.7)
    left, top = rng.uniform(0, width - wide), height * rng.uniform(0.05, 0.35)
    for share in (0.25, 0.75) if rng.random() < 0.5 else (0.5,):
        street.pole(left + share * wide, top + 0.5 * tall, horizon + 0.1 * height, 0.035 * wide + 1.5)
    label = _INFORMATION if wide < 0.26 * width else _BILLBOARD
    street.sign(quad(left, top, left + wide, top + tall, rng.uniform(-0.1, 0.1) * wide, 0.05 * wide), label)


def _coded(street: _Street) -> NDArray[np.int32]:
    """Owners as label * 256 + instance, counted from 0 in each label; the road's label for all else."""
    owner = street.sheet.owner
    counts = np.bincount(owner.ravel(), minlength=len(street.labels))
    values, used = np.zeros(len(street.labels), np.int32), [0] * len(LABELS)
    for number, label in enumerate(street.labels):
        if number and counts[number] >= _LEAST * owner.size:
            values[number] = label * PER_LABEL + used[label]
            used[label] += 1
    return values[owner]


def write(root: Path, train: int, test: int, seed: int) -> None:
    """Write ``train`` + ``test`` streets under ``root``, in version 2.0."""
    config, masks = VERSIONS[0]
    labels = [{"name": name, "readable": SIGNS.get(name, "Road"), "instances": name in SIGNS} for name in LABELS]
    root.mkdir(parents=True, exist_ok=True)
    (root / config).write_text(json.dumps({"labels": labels, "version": "2.0"}))
    for index in indices(train, test):
        split = "validation" if index >= TEST_FROM else "training"
        image, instances = draw(seed, index)
        for folder in (f"{split}/images", masks.format(split)):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / split / "images" / f"signs-{index:05d}.jpg", quality=90)
        Image.fromarray(instances.astype(np.uint16)).save(root / masks.format(split) / f"signs-{index:05d}.png")
