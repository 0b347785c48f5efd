"""Cars from behind, each with a plate, written as the licence plates of Kaggle lie on disk: boxes of Pascal VOC.

Stickers, badges and lamps are as light as the plate, have its shape or carry letters.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.standin import SIDES, indices
from orchestrator.data.standin.fields import Rng, Shape, cloud
from orchestrator.data.standin.sheet import Points, Sheet, oval, rounded
from orchestrator.data.standin.street import facade, letters, part, quad, sky_and_ground, taken, within

Box = tuple[int, int, int, int]  #: x0, y0, x1, y1 in pixels from 0, both ends inside
Put = Callable[[list[tuple[float, float]]], Points]  #: from half widths of a car to pixels
PLATE = 1  #: the first plate's owner

_ANNOTATION = """<annotation>
    <folder>images</folder>
    <filename>{name}.png</filename>
    <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
    <segmented>0</segmented>
{objects}</annotation>
"""
_OBJECT = """    <object>
        <name>licence</name>
        <pose>Unspecified</pose>
        <truncated>0</truncated>
        <occluded>0</occluded>
        <difficult>0</difficult>
        <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
    </object>
"""


def draw(seed: int, index: int, size: Shape | None = None) -> tuple[NDArray[np.uint8], list[Box]]:
    """One picture, the same for the same (seed, index, size).

    Args:
        seed: of the whole set, at least 0.
        index: of the picture, at least 0.
        size: (height, width) in pixels; None draws each side from ``SIDES``.

    Returns:
        image HxWx3 uint8 RGB, and the box of each plate: one or two, apart from each other.
    """
    rng = np.random.default_rng([zlib.crc32(b"cars"), seed, index])
    sides = rng.integers(SIDES[0], SIDES[1] + 1, 2)
    sheet = Sheet(size or (int(sides[0]), int(sides[1])))
    height, width = sheet.shape
    horizon = height * rng.uniform(0.3, 0.5)
    sky_and_ground(sheet, rng, horizon)
    left = -0.1 * width
    while left < width:
        wide = width * rng.uniform(0.3, 0.8)
        facade(sheet, rng, quad(left, horizon - height * rng.uniform(0.1, 0.5), left + wide, horizon + 2))
        left += wide
    halves = [(rng.uniform(0.42, 0.58), rng.uniform(0.26, 0.42))]
    if rng.random() < 0.25:
        halves = [(0.26, 0.2), (0.74, 0.2)]
    for number, (middle, half) in enumerate(halves):
        at = (width * middle, height * rng.uniform(0.5, 0.68))
        _car(sheet, rng, at, min(half * width, 0.5 * height), PLATE + number)
    return taken(rng, sheet.image), [_box(sheet.owner == PLATE + number) for number in range(len(halves))]


def _box(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _car(sheet: Sheet, rng: Rng, centre: tuple[float, float], half: float, owner: int) -> None:
    """A body, a rear window, lamps, a bumper, and the plate on it; ``half`` its width in pixels."""
    lean = rng.uniform(-0.04, 0.04)

    def put(points: list[tuple[float, float]]) -> Points:
        x, y = np.array(points).T
        return np.stack([centre[0] + half * x, centre[1] + half * (y + lean * x)], -1)

    def both(points: list[tuple[float, float]]) -> list[Points]:
        return [put([(side * x, y) for x, y in points]) for side in (-1, 1)]

    tall = rng.uniform(0.75, 1.1)
    paint = rng.uniform(25, 235) * rng.uniform(0.35, 1.0, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(25, 235))
    shade = 1.1 - 0.35 * (np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]][0] - centre[1]) / half
    ink = paint * (np.clip(shade, 0.5, 1.5) + 0.05 * cloud(rng, sheet.shape, 60))[..., None]
    sheet.darken(sheet.cover(put([(-1.05, 0.7), (1.05, 0.7), (1.0, 0.86), (-1.0, 0.86)]), 0.06 * half), 0.75)
    for wheel in both([(0.62, 0.4), (0.92, 0.4), (0.92, 0.82), (0.62, 0.82)]):
        sheet.paint(sheet.cover(rounded(wheel, 2), 0.4), np.array([26, 26, 28]))
    roof = [(-0.62, -tall), (0.62, -tall), (0.8, -0.25), (1.0, -0.1), (1.0, 0.55), (0.9, 0.68)]
    sheet.paint(
        sheet.cover(rounded(put([*roof, (-0.9, 0.68), (-1.0, 0.55), (-1.0, -0.1), (-0.8, -0.25)]), 2), 0.4), ink
    )
    window = put([(-0.54, -tall + 0.1), (0.54, -tall + 0.1), (0.68, -0.27), (-0.68, -0.27)])
    sheet.paint(sheet.cover(rounded(window, 2), 0.4), np.array([34, 42, 52]) * rng.uniform(0.6, 2.2))
    _stickers(sheet, rng, window)
    lamp = np.array([(176, 30, 26), (200, 60, 40), (214, 206, 200)])[rng.integers(3)]
    for lamps in both([(0.66, -0.1), (0.96, -0.08), (0.98, 0.16), (0.7, 0.12)]):
        sheet.paint(sheet.cover(rounded(lamps, 1), 0.4), lamp * rng.uniform(0.8, 1.2))
    bumper = put([(-1.0, 0.34), (1.0, 0.34), (0.97, 0.62), (-0.97, 0.62)])
    sheet.paint(sheet.cover(rounded(bumper, 2), 0.5), 0.9 * ink if rng.random() < 0.6 else np.array([44, 44, 46]))
    badge = put([(-0.05, -0.14), (0.05, -0.14), (0.05, -0.05), (-0.05, -0.05)])
    sheet.paint(sheet.cover(rounded(badge, 2), 0.3), np.array([205, 205, 210]))
    _plate(sheet, rng, put, rng.uniform(0.0, 0.42), owner)


def _stickers(sheet: Sheet, rng: Rng, window: Points) -> None:
    """In the window, at times with letters."""
    for _ in range(int(rng.integers(0, 3))):
        u, v, wide, high = (
            rng.uniform(0.1, 0.7),
            rng.uniform(0.5, 0.75),
            rng.uniform(0.08, 0.24),
            rng.uniform(0.12, 0.22),
        )
        corners = part(window, u, v, u + wide, v + high)
        sheet.paint(sheet.cover(corners, 0.3), rng.uniform(90, 250, 3))
        if rng.random() < 0.5:
            letters(sheet, rng, part(corners, 0.1, 0.25, 0.9, 0.75), int(rng.integers(2, 6)), rng.uniform(0, 90, 3))


def _plate(sheet: Sheet, rng: Rng, put: Put, at: float, owner: int) -> None:
    """White, yellow or dark, with a rim, letters, at times a coloured end and two screws."""
    half, high = rng.uniform(0.2, 0.34), rng.uniform(0.07, 0.12)
    corners = put([(-half, at - high), (half, at - high), (half, at + high), (-half, at + high)])
    ground, ink = [((232, 232, 228), (24, 24, 30)), ((230, 190, 60), (20, 20, 20)), ((36, 40, 52), (226, 226, 226))][
        rng.choice(3, p=[0.7, 0.18, 0.12])
    ]
    sheet.paint(sheet.cover(corners, 0.3), np.array(ink) * 1.4, owner)
    worn = np.array(ground) * rng.uniform(0.65, 1.05)
    sheet.paint(sheet.cover(part(corners, 0.02, 0.08, 0.98, 0.92), 0.3), worn)
    start = 0.05
    if rng.random() < 0.35:
        sheet.paint(sheet.cover(part(corners, 0.02, 0.08, 0.12, 0.92), 0.3), np.array([30, 60, 150]))
        start = 0.14
    letters(sheet, rng, part(corners, start, 0.24, 0.95, 0.78), int(rng.integers(5, 9)), np.array(ink))
    for u in (0.3, 0.7):
        (screw,) = within(corners, np.array([u]), np.array([0.14]))
        sheet.paint(sheet.cover(oval((screw[0], screw[1]), (0.8, 0.8)), 0.2), np.array([120, 120, 120]), opacity=0.6)


def write(root: Path, train: int, test: int, seed: int) -> None:
    """Write ``train`` + ``test`` pictures under ``root``. The set has no split of its own: the ingest draws one."""
    for kind in ("images", "annotations"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for index in indices(train, test):
        image, boxes = draw(seed, index)
        name, (height, width) = f"Cars{index}", image.shape[:2]
        Image.fromarray(image).save(root / "images" / f"{name}.png", compress_level=1)
        objects = "".join(_OBJECT.format(*box) for box in boxes)
        text = _ANNOTATION.format(name=name, width=width, height=height, objects=objects)
        (root / "annotations" / f"{name}.xml").write_text(text)
