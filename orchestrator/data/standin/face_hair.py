"""Hair, hats, and what lies behind and below a face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.standin.face_pose import Look, Pose, mirrored
from orchestrator.data.standin.fields import Field, Rng, Shape, band, cloud, sample, smooth
from orchestrator.data.standin.sheet import Points, Sheet, rounded, stroke
from orchestrator.data.standin.textures import TILE, colour, palette, texture

Ink = NDArray[np.float32]  #: HxWx3


def background(rng: Rng, shape: Shape, look: Look) -> Ink:
    """Out of focus: a wall, leaves, lights; now and then as dark or light as the hair."""
    first, second = palette(rng)[rng.integers(0, 4, 2)]
    if rng.random() < 0.3:
        first = look.hair * np.float32(rng.uniform(0.8, 1.3))
    elif rng.random() < 0.15:
        first = look.skin * np.float32(rng.uniform(0.7, 1.0))
    share = smooth(cloud(rng, shape, rng.uniform(60, 160)), -1.5, 1.5)[..., None]
    image = first + share * (second - first)
    if rng.random() < 0.45:
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / np.float32(rng.uniform(1.2, 3))
        image += 0.5 * (colour(sample(texture(rng), y, x), palette(rng)) - image)
    spots = Sheet(shape)
    spots.image[:] = image
    for _ in range(int(rng.integers(0, 12)) if rng.random() < 0.5 else 0):
        at, size = rng.uniform(0, 1, 2) * shape[::-1], rng.uniform(5, 26)
        t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        spot = spots.cover(at + size * np.stack([np.cos(t), np.sin(t)], -1), rng.uniform(1, 6))
        spots.paint(spot, rng.uniform(60, 255, 3), opacity=rng.uniform(0.15, 0.6))
    return spots.image


def strands(rng: Rng, shape: Shape, look: Look, pose: Pose) -> Ink:
    """The colour of hair at every pixel: strands run away from the crown, and a sheen lies across them."""
    y, x = pose.grid(shape)
    x = x + np.float32(0.1) * cloud(rng, shape, 90)
    reach, angle = np.hypot(y + 1.1, x), np.arctan2(x, -(y + 1.1))
    tile = band(rng, (TILE, TILE), rng.uniform(5, 9), 0.8) + 0.5 * band(rng, (TILE, TILE), 24, 0.8)
    fine = sample(tile, (reach * 18).astype(np.float32), (angle * np.float32(TILE * 3 / np.pi)).astype(np.float32))
    sheen = np.exp(-(((reach - rng.uniform(0.4, 0.8)) / 0.22) ** 2)) * rng.uniform(0, 0.5)
    level = 1 + 0.14 * fine + sheen * (1 + 0.6 * fine) + 0.12 * cloud(rng, shape, 60)
    return np.asarray(look.hair * np.clip(level, 0.3, 2.2)[..., None] + 6 * sheen[..., None], dtype=np.float32)


def _ragged(rng: Rng, points: Points, size: float) -> Points:
    """An outline with the ends of strands sticking out."""
    points = rounded(points, 4)
    return points + rng.normal(0, size, (len(points), 1)) * rng.normal(0, 1, (len(points), 2))


def _outer(look: Look) -> list[tuple[float, float]]:
    """The right half of the hair's outline, from the crown to the ear."""
    v = look.volume
    return [(0, -1.74 - v), (0.5, -1.68 - v), (0.92, -1.36 - v), (1.14 + v, -0.8), (1.14 + 0.8 * v, -0.25)]


def hair_behind(sheet: Sheet, rng: Rng, look: Look, pose: Pose, ink: Ink, owner: int) -> None:
    """What of the hair is behind neck and ears."""
    if look.style == "shaven":
        return
    half = _outer(look)
    if look.style in ("long", "bob"):
        wide = 1.1 + look.volume + rng.uniform(-0.05, 0.25)
        half += [(wide, look.length * 0.5), (wide, look.length * 0.85), (wide * 0.8, look.length), (0.2, look.length)]
    else:
        half += [(0.9, 0.35), (0.2, 0.6)]
    whole = mirrored(half)
    whole[:, 0] += rng.normal(0, 0.03, len(whole))
    points = _ragged(rng, pose.at(whole, np.full(len(whole), -0.35)), 0.012 * pose.unit)
    sheet.paint(sheet.cover(points, 0.5), 0.72 * ink, owner)


def hair_before(sheet: Sheet, rng: Rng, look: Look, pose: Pose, ink: Ink, owner: int) -> None:
    """The hair over forehead, temples and perhaps cheeks, and its shadow on them."""
    outer = _outer(look)
    parting = rng.choice([-1, 1]) * rng.uniform(0.2, 0.5)
    top = -1.12 + rng.uniform(-0.05, 0.08)
    sides = {
        "none": [(0.88, -0.5), (0.78, -0.85), (0.5, top + 0.02), (0.2, top)],
        "straight": [(0.9, -0.45), (0.75, look.brow - 0.06), (0.4, look.brow - 0.1), (0.1, look.brow - 0.06)],
        "swept": [(0.9, -0.35), (0.84, -0.62), (0.62, -0.9), (0.3, top + 0.1)],
    }[look.fringe]
    left = [(-x, y) for x, y in sides[::-1]]
    middle = [(parting, top - 0.04)] if look.fringe == "swept" else []
    lower = (0.97, 0.12 if look.style == "short" else -0.1)
    line = [lower, *sides, *middle, *left, (-lower[0], lower[1])]
    rim = [(-x, y) for x, y in outer[::-1]] + outer
    depths = np.concatenate([np.full(len(rim), -0.15), np.full(len(line), np.nan)])
    points = np.array(rim + line)
    depths[len(rim) :] = 0.6 * np.sqrt(
        np.clip(1 - points[len(rim) :, 0] ** 2 - (points[len(rim) :, 1] / 1.6) ** 2, 0, 1)
    )
    shapes = [] if look.style == "shaven" else [(points, depths)]
    shapes += _locks(rng, look) if look.style in ("long", "bob") else []
    unit = pose.unit
    covers = [sheet.cover(_ragged(rng, pose.at(p, d), 0.014 * unit), 0.6) for p, d in shapes]
    if look.style != "shaven":
        covers.append(sheet.cover([_strand(rng, look, pose) for _ in range(34)], 0.4))
    for p, d in shapes:
        sheet.darken(sheet.cover(pose.at(p + np.array([0, 0.06]), d), 0.05 * unit), rng.uniform(0.15, 0.4))
    for cover in covers:
        sheet.paint(cover, ink, owner)


def _locks(rng: Rng, look: Look) -> list[tuple[Points, Field]]:
    """Hair that falls before the ears on both sides; now and then over an eye's corner."""
    found = []
    for side in (-1, 1):
        inner = rng.uniform(0.86, 1.0) if rng.random() < 0.75 else rng.uniform(0.55, 0.75)
        if rng.random() < 0.12:
            continue  # tucked behind the ear
        wide, end = 1.14 + look.volume, look.length * rng.uniform(0.9, 1.0)
        wave = rng.uniform(-0.07, 0.07, 4)
        points = [
            (0.6, -1.3), (1.05 + look.volume, -0.9), (wide, 0), (wide + wave[0], end * 0.6), (wide + 0.1, end),
            (inner - 0.12, end * 0.97), (inner - 0.1 + wave[1], end * 0.6), (inner + wave[2], 0.35),
            (inner * 0.97, -0.1), (inner * 0.9, -0.7), (0.4, -1.15),
        ]  # fmt: skip
        found.append((np.array(points) * (side, 1), np.full(len(points), 0.05, np.float32)))
    return found


def _strand(rng: Rng, look: Look, pose: Pose) -> Points:
    """A thin line of hair across the edge of the fringe."""
    x = rng.uniform(-0.85, 0.85)
    end = (
        look.brow + rng.uniform(-0.15, 0.2)
        if look.fringe == "straight"
        else -0.95 + 0.45 * x**2 + rng.uniform(-0.2, 0.12)
    )
    path = np.stack([np.linspace(0.5 * x, x, 6) + rng.normal(0, 0.05) * np.linspace(0, 1, 6) ** 2,
                     np.linspace(-1.5, end, 6)], -1)  # fmt: skip
    return stroke(pose.at(path), np.linspace(0.06, 0.008, 6) * pose.unit)


def hat(sheet: Sheet, rng: Rng, look: Look, pose: Pose, owner: int) -> None:
    """A woollen cap or one with a band."""
    low, v = rng.uniform(-0.85, -0.66), max(look.volume, 0) + 0.06
    right = [(0.0, -2.0 - v), (0.6, -1.9 - v), (1.05 + v / 2, -1.45), (1.2 + v, low - 0.1)]
    rim = np.array([(-x, y) for x, y in right[::-1]] + right)
    brim = np.linspace(1.16 + v, -1.16 - v, 12)
    depth = 0.55 * np.sqrt(1 - (brim / 1.6) ** 2)
    edge = pose.at(np.stack([brim, low + 0.02 * np.cos(brim)], -1), depth)
    points = np.concatenate([pose.at(rim, np.full(len(rim), -0.1)), edge])
    y, x = pose.grid(sheet.shape)
    knit = sample(texture(rng), y * np.float32(60), x * np.float32(60))
    wool = rng.uniform(20, 220, 3)
    dome = np.clip(1.1 - 0.35 * x**2, 0.4, 1.2)[..., None]
    ink = wool * (0.7 + 0.6 * knit[..., None]) * dome
    sheet.darken(sheet.cover(points + np.array([0, 0.07 * pose.unit]), 0.05 * pose.unit), 0.4)
    sheet.paint(sheet.cover(rounded(points, 2), 0.5), ink, owner)
    belt = np.concatenate([points[len(rim) :], (points[len(rim) :] - (0, 0.26 * pose.unit))[::-1]])
    sheet.darken(sheet.cover(belt, 0.8), rng.uniform(0.1, 0.35))


def body(sheet: Sheet, rng: Rng, look: Look, pose: Pose, owners: dict[str, int]) -> None:
    """Neck, clothes, and perhaps a chain; the chin's shadow falls on the neck."""
    shoulders = Pose(pose.centre, pose.unit, 0, 0, 0.3 * pose.roll)

    def put(points: Points) -> Points:
        return shoulders.at(points, np.zeros(len(points)))

    thick, unit = rng.uniform(0.5, 0.66), pose.unit
    half = [(thick, 0.4), (thick * 0.98, 1.4), (thick * 1.15, 1.8), (1.5, 2.15), (2.2, 3.2)]
    neck = put(mirrored(half))
    y, x = pose.grid(sheet.shape)
    round_ = np.clip(1.02 - 0.35 * np.abs(x / 0.8) ** 2.5 - 0.1 * x, 0.5, 1.1)[..., None]
    sheet.paint(sheet.cover(rounded(neck, 2), 0.5), look.skin * round_ * np.float32(0.9), owners["neck"])
    chin = pose.at([(-0.8, 0.6), (-0.5, 1.5), (0, 1.75), (0.5, 1.5), (0.8, 0.6)], np.full(5, 0.2))
    sheet.darken(sheet.cover(rounded(chin), 0.09 * unit), rng.uniform(0.25, 0.5))
    if rng.random() < 0.2:
        t = np.linspace(-1, 1, 20)
        chain = put(np.stack([0.7 * t, 2.15 - 0.42 * t**2], -1))
        metal = np.array([(214, 190, 120), (220, 220, 224)], np.float32)[rng.integers(2)]
        sheet.paint(sheet.cover(stroke(chain, 0.06 * unit), 0.4), metal, owners["neck_l"])
    deep = rng.uniform(-0.1, 0.5)
    half = [(0.0, 2.0 + deep), (0.35, 1.95 + 0.6 * deep), (0.72, 1.78), (1.6, 2.1), (2.3, 2.6), (2.6, 6.0)]
    coat = put(mirrored(half))
    if rng.random() < 0.4:
        zoom = np.float32(rng.uniform(40, 90))
        ink = colour(sample(texture(rng), y * zoom, x * zoom), palette(rng))
    else:
        dye = rng.uniform(15, 235, 3)
        ink = (dye * (1 + 0.1 * cloud(rng, sheet.shape, 60))[..., None]).astype(np.float32)
    sheet.darken(sheet.cover(coat, 0.05 * unit), 0.2)
    sheet.paint(sheet.cover(rounded(coat, 2), 0.5), ink, owners["cloth"])
