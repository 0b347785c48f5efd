"""Scenes cut into regions, such as walls, sky and ground, with boxes, windows and bars in them."""

from __future__ import annotations

import numpy as np

from orchestrator.data.scenes.canvas import Canvas, Stencil
from orchestrator.data.scenes.materials import SMOOTH, Material, away, material, tones
from orchestrator.data.scenes.objects import lay, under
from orchestrator.data.standin.fields import Field, Rng


def _cuts(rng: Rng, side: int) -> Field:
    """The number of the region of each pixel: cells around points, or bands; borders straight or wavy."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    if rng.random() < 0.5:
        wave = np.float32(rng.choice([0, 0.01, 0.04]))
        y += wave * tones(rng, y.shape, SMOOTH, 1)
        x += wave * tones(rng, y.shape, SMOOTH, 1)
    if rng.random() < 0.6:
        points = rng.uniform(0, 1, (int(rng.integers(3, 11)), 2)).astype(np.float32)
        if rng.random() < 0.3:
            far = [np.abs(y - a) + np.abs(x - b) for a, b in points]
        else:
            far = [(y - a) ** 2 + (x - b) ** 2 for a, b in points]
        return np.argmin(far, axis=0).astype(np.float32)
    number = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.choice([np.pi / 2, rng.uniform(0, np.pi)])
        at = rng.uniform(0.2, 0.8)
        number = 2 * number + ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) > at - 0.5)
    return np.unique(number, return_inverse=True)[1].reshape(number.shape).astype(np.float32)


def _stuff(canvas: Canvas, mean: Field, smooth: bool | None = None) -> Material:
    rng = canvas.rng
    gap = rng.uniform(0.2, 0.45) if canvas.easy else rng.uniform(0.05, 0.25)
    reach = rng.choice([0.0, 0.04, 0.1]) if canvas.easy else rng.choice([0.05, 0.1, 0.2, 0.3])
    return material(rng, away(rng, mean, gap), float(reach), smooth)


def _quad(canvas: Canvas, corners: list[tuple[float, float]]) -> Stencil | None:
    """A polygon in pixels of the canvas."""
    return canvas.stencil([(np.array(corners), True)], (0, 0), 1)


def _crate(canvas: Canvas) -> None:
    """A box with a front, a top and a side, each of them a mask, and perhaps windows on the front."""
    rng, side = canvas.rng, canvas.side
    w, h = rng.uniform(0.1, 0.4, 2) * side
    x, y = rng.uniform(0, side - w), rng.uniform(0.1 * side, side - 0.5 * h)
    dx, dy = rng.uniform(-0.4, 0.4) * w, -rng.uniform(0.1, 0.4) * h
    near = x + w if dx > 0 else x
    faces = [
        [(x, y), (x + w, y), (x + w, y + h), (x, y + h)],
        [(x, y), (x + w, y), (x + w + dx, y + dy), (x + dx, y + dy)],
        [(near, y), (near + dx, y + dy), (near + dx, y + dy + h), (near, y + h)],
    ]
    owners, stuff = [], None
    for corners, bright in zip(faces, rng.permutation([1.0, 0.78, 1.22]), strict=True):
        stencil = _quad(canvas, corners)
        if stencil is None:
            continue
        stuff = stuff or _stuff(canvas, under(canvas, stencil))
        owners.append(lay(canvas, stencil, stuff.tinted(stuff.mean * np.float32(bright)), 0, shaded=False))
        canvas.group([owners[-1]])
    if owners and stuff and rng.random() < 0.5:
        owners += _windows(canvas, (x, y, w, h), stuff)
    canvas.group(owners)


def _windows(canvas: Canvas, front: tuple[float, float, float, float], wall: Material) -> list[int]:
    rng = canvas.rng
    x, y, w, h = front
    glass = _stuff(canvas, wall.mean, True)
    columns, rows = rng.integers(1, 5, 2)
    share, owners = rng.uniform(0.35, 0.75), []
    for column in range(columns):
        for row in range(rows):
            left, top = x + (column + (1 - share) / 2) * w / columns, y + (row + (1 - share) / 2) * h / rows
            right, bottom = left + share * w / columns, top + share * h / rows
            stencil = _quad(canvas, [(left, top), (right, top), (right, bottom), (left, bottom)])
            if stencil is not None:
                owners.append(lay(canvas, stencil, glass, 0, shaded=False))
                canvas.group([owners[-1]])
    return owners


def _bar(canvas: Canvas) -> None:
    """A post or a beam across the picture."""
    rng, side = canvas.rng, canvas.side
    thick = rng.uniform(0.015, 0.08) * side
    bar = np.array([(-2.0 * side, -thick), (2 * side, -thick), (2 * side, thick), (-2 * side, thick)])
    turn = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    stencil = canvas.stencil([(bar, True)], tuple(rng.uniform(0.1, 0.9, 2) * side), 1, float(turn))
    if stencil is not None:
        light = rng.uniform(0, 2 * np.pi)
        canvas.group([lay(canvas, stencil, _stuff(canvas, under(canvas, stencil)), light, shaded=False)])


def tiles(canvas: Canvas) -> None:
    """Regions of different stuff, each a mask, with crates and bars before them."""
    rng, side = canvas.rng, canvas.side
    number = _cuts(rng, side)
    last = material(rng)
    for at in range(int(number.max()) + 1):
        inside = number == at
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            continue
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        stencil = Stencil(box, inside[box].astype(np.float32))
        last = _stuff(canvas, last.mean, True if rng.random() < 0.5 else None)
        owner = canvas.new()
        canvas.paint(stencil, np.clip(last.render(stencil.shape), 0, 1), owner)
        canvas.group([owner])
    for _ in range(int(rng.integers(0, 4))):
        _crate(canvas)
    for _ in range(int(rng.choice([0, 1, 3], p=[0.6, 0.25, 0.15]))):
        _bar(canvas)
