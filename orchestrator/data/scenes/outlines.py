"""Shapes as outlines: rings of points in -1..1, filled (True) or cut out again (False) in turn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.standin.fields import Rng

Points = NDArray[np.float64]  # N x 2, (x, y)
Outline = list[tuple[Points, bool]]

_T = np.linspace(0, 2 * np.pi, 72, endpoint=False)
_CIRCLE: Points = np.stack([np.cos(_T), np.sin(_T)], -1)


def blob(rng: Rng, lumps: float = 0.25, fall: float = 0.8) -> Outline:
    """A circle with a wavy rim; ``lumps`` is how wavy, ``fall`` how little so at short waves."""
    orders = np.arange(2, 8)
    sizes = lumps * rng.uniform(-1, 1, 6) / (orders - 1) ** fall
    rim = 1 + sizes @ np.cos(orders[:, None] * _T + rng.uniform(0, 2 * np.pi, (6, 1)))
    rim = np.maximum(rim, 0.15)
    return [(_CIRCLE * (rim / rim.max())[:, None], True)]


def ellipse(rng: Rng) -> Outline:
    return [(_CIRCLE * (1, rng.uniform(0.3, 1)), True)]


def superellipse(rng: Rng) -> Outline:
    power = 2 / rng.uniform(0.8, 6)
    return [(np.sign(_CIRCLE) * np.abs(_CIRCLE) ** power * (1, rng.uniform(0.35, 1)), True)]


def convex(rng: Rng) -> Outline:
    angles = np.sort(rng.uniform(0, 2 * np.pi, 4) + np.arange(4) * 0.05)
    if rng.random() < 0.6:
        count = int(rng.integers(3, 9))
        angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2 * np.pi / count
    return [(np.stack([np.cos(angles), np.sin(angles)], -1) * (1, rng.uniform(0.5, 1)), True)]


def star(rng: Rng) -> Outline:
    count = int(rng.integers(4, 10))
    radii = np.where(np.arange(2 * count) % 2, rng.uniform(0.3, 0.75), rng.uniform(0.8, 1, 2 * count))
    angles = np.arange(2 * count) * np.pi / count
    return [(np.stack([np.cos(angles), np.sin(angles)], -1) * radii[:, None], True)]


def box(rng: Rng) -> Outline:
    """A rectangle, perhaps with rounded corners."""
    half = np.array([1, rng.uniform(0.25, 1)]) * 0.9
    bend = min(half) * rng.choice([0.02, rng.uniform(0.1, 0.9)])
    return [((half - bend) * np.sign(_CIRCLE + 1e-9) + bend * _CIRCLE, True)]


def crescent(rng: Rng) -> Outline:
    return [(_CIRCLE, True), (_CIRCLE * rng.uniform(0.7, 1) + (rng.uniform(0.35, 0.7), 0), False)]


def ring(rng: Rng) -> Outline:
    """One of the solid shapes with one hole or a few."""
    outer = SOLID[rng.integers(len(SOLID))](rng)
    if rng.random() < 0.6:
        return [*outer, (outer[0][0] * rng.uniform(0.4, 0.8), False)]
    spots = rng.uniform(-0.5, 0.5, (int(rng.integers(1, 4)), 2))
    return [*outer, *((_CIRCLE * rng.uniform(0.1, 0.25) + spot, False) for spot in spots)]


def tube(path: Points, radii: Points) -> Outline:
    """The union of capsules along a path; radii at each of its points."""
    parts: Outline = []
    for a, b, ra, rb in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        way = (b - a) / (np.hypot(*(b - a)) + 1e-9)
        side = np.array([-way[1], way[0]])
        parts.append((np.array([a + side * ra, b + side * rb, b - side * rb, a - side * ra]), True))
    return parts + [(_CIRCLE[::4] * r + p, True) for p, r in zip(path, radii, strict=True)]


def curve(rng: Rng) -> Outline:
    """A bent, thin tube."""
    count = int(rng.integers(2, 14))
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, count))
    path = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], -1), 0)
    path -= (path.min(0) + path.max(0)) / 2
    path *= 0.85 / np.abs(path).max()
    radii = np.full(count, rng.uniform(0.04, 0.16)) * np.linspace(1, rng.uniform(0.3, 1), count)
    return tube(path, radii)


def animal(rng: Rng) -> Outline:
    """A body with a head, legs and perhaps a tail."""
    fat, bend = rng.uniform(0.2, 0.36), rng.uniform(-0.25, 0.25)
    body = np.array([(-0.45, 0), (0, bend / 2), (0.4, bend)])
    head = body[-1] + np.array([rng.uniform(0.25, 0.4), rng.uniform(-0.45, 0.1)])
    parts = tube(body, fat * rng.uniform(0.8, 1.15, 3))
    parts += tube(np.stack([body[-1], head]), fat * np.array([0.6, rng.uniform(0.5, 0.75)]))
    for joint in (body[0], body[0] + 0.15, body[-1], body[-1] - (0.15, 0)):
        knee = joint + np.array([rng.uniform(-0.2, 0.2), fat + rng.uniform(0.1, 0.25)])
        foot = knee + np.array([rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.3)])
        parts += tube(np.stack([joint, knee, foot]), fat * np.array([0.4, 0.28, 0.2]))
    if rng.random() < 0.7:
        parts += tube(np.stack([body[0], body[0] + (-0.45, rng.uniform(-0.5, 0.4))]), fat * np.array([0.35, 0.1]))
    return parts


def bunch(rng: Rng) -> Outline:
    """Some overlapping blobs as one."""
    return [(blob(rng, 0.15)[0][0] * rng.uniform(0.35, 0.6) + rng.uniform(-0.45, 0.45, 2), True) for _ in range(4)]


SOLID: tuple[Callable[[Rng], Outline], ...] = (blob, blob, ellipse, superellipse, convex, box)
ALL: tuple[Callable[[Rng], Outline], ...] = (*SOLID, star, crescent, ring, curve, animal, animal, bunch)


def shape(rng: Rng) -> Outline:
    """Any of the shapes."""
    return ALL[rng.integers(len(ALL))](rng)


def solid(rng: Rng) -> Outline:
    """A shape without holes or thin parts."""
    return SOLID[rng.integers(len(SOLID))](rng)
