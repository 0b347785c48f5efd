"""Scenes of wholes with parts: each part is a mask, each whole is one, and sometimes a flock is one."""

from __future__ import annotations

import numpy as np

from orchestrator.data.scenes import outlines
from orchestrator.data.scenes.canvas import Canvas, Stencil
from orchestrator.data.scenes.materials import away, material
from orchestrator.data.scenes.objects import anywhere, ground, lay, under


def _layout(canvas: Canvas, stencil: Stencil, outline: outlines.Outline) -> list[Stencil]:
    """Where the parts of a whole lie: bands, spots, nested copies of it, or one end of it."""
    rng = canvas.rng
    ys, xs = stencil.at
    y, x = (ys.start + ys.stop) / 2, (xs.start + xs.stop) / 2
    size = max(stencil.shape) / 2
    kind, turn = rng.integers(4), rng.uniform(0, np.pi)
    found: list[Stencil | None] = []
    if kind == 0:
        bar = np.array([(-2.0, -1), (2, -1), (2, 1), (-2, 1)])
        count = int(rng.integers(1, 5))
        for at in (np.arange(count) - (count - 1) / 2) * 1.7 / count:
            middle = (x - np.sin(turn) * at * size, y + np.cos(turn) * at * size)
            found.append(canvas.stencil([(bar * (1, 0.35 / count), True)], middle, size, turn))
    elif kind == 1:
        inside = np.argwhere(stencil.cover > 0.9)
        for _ in range(int(rng.integers(2, 6)) if len(inside) else 0):
            sy, sx = inside[rng.integers(len(inside))] + (ys.start, xs.start)
            found.append(canvas.stencil(outlines.solid(rng), (sx, sy), size * rng.uniform(0.12, 0.35), turn))
    elif kind == 2:
        for share in np.sort(rng.uniform(0.25, 0.85, int(rng.integers(1, 4))))[::-1]:
            found.append(canvas.stencil(outline, (x, y), size * share, rng.uniform(0, 0.2)))
    else:
        cut = rng.uniform(-0.2, 0.5)
        half = np.array([(-2, cut), (2, cut), (2, 3), (-2, 3)])
        found.append(canvas.stencil([(half, True)], (x, y), size, turn))
        found.append(canvas.stencil(outlines.blob(rng), (x, y), size * rng.uniform(0.2, 0.4), turn))
    return [part for part in found if part is not None]


def hierarchies(canvas: Canvas) -> None:
    """Some wholes with two to five parts each."""
    rng = canvas.rng
    ground(canvas)
    light = rng.uniform(0, 2 * np.pi)
    wholes: list[list[int]] = []
    for size in np.sort(rng.uniform(0.1, 0.4, int(rng.integers(1, 6))))[::-1] * canvas.side:
        outline = outlines.shape(rng)
        stencil = anywhere(canvas, outline, size)
        if stencil is None:
            continue
        reach = rng.uniform(0.25, 0.5) if canvas.easy else rng.uniform(0.08, 0.3)
        stuff = material(rng, away(rng, under(canvas, stencil), reach), rng.choice([0.0, 0.05, 0.1]))
        owners = [lay(canvas, stencil, stuff, light)]
        shared = material(rng, away(rng, stuff.mean, reach), rng.choice([0.0, 0.05, 0.15]))
        for part in _layout(canvas, stencil, outline):
            inside = canvas.within(part, owners)
            if not inside.solid.any():
                continue
            other = shared if rng.random() < 0.6 else material(rng, away(rng, under(canvas, inside), reach), 0.05)
            owners.append(lay(canvas, inside, other, light, shaded=False))
            canvas.group([owners[-1]])
        canvas.group(owners)
        if rng.random() < 0.3:
            canvas.group(owners[:1])  # what the parts leave of the whole
        wholes.append(owners)
    _flock(canvas, light)
    if len(wholes) > 1 and rng.random() < 0.2:
        canvas.group(wholes[-1] + wholes[-2])


def _flock(canvas: Canvas, light: float) -> None:
    """Like things near each other, each a mask and all of them one."""
    rng = canvas.rng
    if rng.random() < 0.5:
        return
    outline, size = outlines.solid(rng), rng.uniform(0.03, 0.08) * canvas.side
    middle = rng.uniform(0.25, 0.75, 2) * canvas.side
    stuff, owners = None, []
    for _ in range(int(rng.integers(3, 9))):
        x, y = middle + rng.normal(0, 2.2 * size, 2)
        stencil = canvas.stencil(outline, (x, y), size * rng.uniform(0.8, 1.2), rng.uniform(0, 2 * np.pi))
        if stencil is None:
            continue
        stuff = stuff or material(rng, away(rng, under(canvas, stencil), 0.3), 0.05)
        owners.append(lay(canvas, stencil, stuff, light))
        canvas.group([owners[-1]])
    canvas.group(owners)
