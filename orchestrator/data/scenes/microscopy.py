"""Scenes of many like cells: bright on dark, dark on bright, or stained."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from orchestrator.data.scenes import outlines
from orchestrator.data.scenes.canvas import Canvas, Stencil, height
from orchestrator.data.scenes.materials import ORGANIC, SMOOTH, tones
from orchestrator.data.standin.fields import Field, Rng


@dataclass(frozen=True)
class _Look:
    """Colours of ground and cells, and how the cells of one scene vary."""

    ground: Field
    cell: Field
    vary: float  # of brightness between cells
    grain: float  # of the texture inside
    rim: float  # how much brighter (darker under 0) the rim is than the middle
    texture: float  # of the ground
    soft: float  # of the edges, pixels


def _rgb(hue: float, saturation: float, value: float) -> Field:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32)


def _look(rng: Rng, easy: bool) -> _Look:
    kind = rng.choice(4, p=[0.5, 0.1, 0.28, 0.12])
    vary, grain = rng.uniform(0.05, 0.2 if easy else 0.4), rng.uniform(0.02, 0.25)
    rim, soft = rng.uniform(-0.6, 0.15), rng.uniform(0.3, 0.9 if easy else 2.5)
    if kind == 0:  # fluorescence: grey, often hardly exposed
        dark = rng.uniform(0.0, 0.08)
        bright = rng.uniform(0.25, 0.75) if easy or rng.random() < 0.4 else dark + rng.uniform(0.06, 0.3)
        grey = np.ones(3, np.float32)
        return _Look(grey * dark, grey * bright, vary, grain, rim, rng.uniform(0, 0.02), soft)
    if kind == 1:  # fluorescence in a colour
        hue = rng.random()
        ground = _rgb(hue, 0.8, rng.uniform(0, 0.12))
        return _Look(ground, _rgb(hue, rng.uniform(0.3, 1), rng.uniform(0.3, 0.8)), vary, grain, rim, 0.02, soft)
    if kind == 2:  # stained: mostly violet on pink or grey
        hue = rng.normal(0.75, 0.05) if rng.random() < 0.75 else rng.random()
        pale = _rgb(hue + rng.uniform(-0.02, 0.16), rng.uniform(0.03, 0.4), rng.uniform(0.7, 0.97))
        deep = _rgb(hue, rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.7))
        if not easy:
            deep = deep + (pale - deep) * np.float32(rng.uniform(0, 0.55))
        return _Look(pale, deep, vary, grain * 1.5, -rim, rng.uniform(0.02, 0.1), soft)
    bright = rng.uniform(0.45, 0.95)
    gap = rng.uniform(0.25, 0.5) if easy else rng.uniform(0.07, 0.3)
    tint = _rgb(rng.random(), rng.uniform(0, 0.15), 1)
    return _Look(tint * bright, tint * max(0.03, bright - gap), vary, grain, -rim, rng.uniform(0.01, 0.08), soft)


def _places(rng: Rng, count: int, radius: float, side: int, near: float) -> list[tuple[float, float]]:
    """Middles of cells at least about ``near`` diameters apart, in clumps or all over."""
    clumpy = rng.uniform(0, 0.9)
    chosen: list[tuple[float, float]] = []
    for _ in range(4 * count):
        if chosen and rng.random() < clumpy:
            x0, y0 = chosen[rng.integers(len(chosen))]
            angle, reach = rng.uniform(0, 2 * np.pi), 2 * radius * near * rng.uniform(1, 1.25)
            x, y = x0 + reach * np.cos(angle), y0 + reach * np.sin(angle)
        else:
            x, y = rng.uniform(-0.02, 1.02, 2) * side
        gaps = [(x - a) ** 2 + (y - b) ** 2 for a, b in chosen]
        if -radius < x < side + radius and -radius < y < side + radius:
            if not gaps or min(gaps) > (2 * radius * near) ** 2:
                chosen.append((float(x), float(y)))
            if len(chosen) == count:
                break
    return chosen


def _cell(canvas: Canvas, stencil: Stencil, look: _Look, patch: Field, zoom: float) -> int:
    """Paint one cell: a dome, a rim, grain, perhaps some nucleoli."""
    rng = canvas.rng
    dome = height(stencil.cover, 0.8)
    h, w = stencil.shape
    y, x = rng.integers(0, canvas.side - h + 1), rng.integers(0, canvas.side - w + 1)
    level = 1 + np.float32(look.rim) * (1 - dome) ** 2 + np.float32(look.grain) * patch[y : y + h, x : x + w]
    light = max(0.3, 1 + rng.normal(0, look.vary)) if rng.random() < 0.95 else rng.uniform(1.4, 2.2)
    amount = np.clip(level * np.float32(light), 0.25, 2.5)[..., None]
    colours = look.ground + (look.cell - look.ground) * amount
    owner = canvas.new()
    if zoom > 0 and rng.random() < 0.35:  # a thin seam towards the cells it lies on
        canvas.shadow(stencil, (0, 0), 1.2, 0.35)
    canvas.paint(stencil, np.clip(colours, 0, 1), owner)
    return owner


def _ground(canvas: Canvas, look: _Look) -> None:
    """An uneven ground with fibres or clouds, ghosts of cells out of focus, and specks of dirt."""
    rng, side = canvas.rng, canvas.side
    canvas.image[:] = look.ground
    if look.texture > 0:
        field = 0.7 * tones(rng, (side, side), SMOOTH if rng.random() < 0.4 else ORGANIC, rng.uniform(0.8, 3))
        field += tones(rng, (side, side), SMOOTH, 1.5)
        canvas.image += (np.float32(look.texture) * field)[..., None] * rng.uniform(0.3, 1, 3).astype(np.float32)
    ghosts = int(rng.integers(0, 6)) if not canvas.easy and rng.random() < 0.4 else 0
    for _ in range(ghosts):
        size = rng.uniform(0.04, 0.12) * side
        ghost = canvas.stencil(
            outlines.blob(rng), tuple(rng.uniform(0, side, 2)), size, soft=size * rng.uniform(0.4, 0.6)
        )
        if ghost is not None:
            canvas.paint(ghost, look.cell, opacity=rng.uniform(0.1, 0.35))
    np.clip(canvas.image, 0, 1, out=canvas.image)


def _debris(canvas: Canvas, look: _Look) -> None:
    rng = canvas.rng
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 12))):
            size = rng.uniform(0.003, 0.012) * canvas.side
            speck = canvas.stencil(outlines.blob(rng), tuple(rng.uniform(0, canvas.side, 2)), size, soft=0.7)
            if speck is not None:
                canvas.paint(speck, np.clip(look.cell * rng.uniform(0.8, 2), 0, 1))


def cells(canvas: Canvas) -> None:
    """Ten to sixty cells of one kind, each a mask."""
    rng, side = canvas.rng, canvas.side
    look = _look(rng, canvas.easy)
    _ground(canvas, look)
    radius = side * np.exp(rng.uniform(np.log(0.03), np.log(0.15)))
    near = rng.uniform(0.72, 1.3)
    room = 0.9 * side**2 / (4 * radius**2 * near**2)
    count = int(np.clip(rng.uniform(0.15, 1) * room, 5, 60))
    lumps, longest = rng.uniform(0.02, 0.35) ** 1.3, rng.uniform(0.4, 0.95)
    main, spread = rng.uniform(0, np.pi), rng.uniform(0.2, 3)
    vary = rng.uniform(0.05, 0.3)
    patch = tones(rng, (side, side), SMOOTH if rng.random() < 0.4 else ORGANIC, rng.uniform(0.9, 1.8))
    for x, y in _places(rng, count, radius, side, near):
        size = radius * np.exp(rng.normal(0, vary))
        soft = min(look.soft * rng.uniform(0.6, 1.4), size / 5)
        aspect = rng.uniform(longest, 1)
        turn = main + rng.normal(0, spread)
        stencil = canvas.stencil(outlines.blob(rng, lumps, 1.4), (x, y), size / np.sqrt(aspect), turn, aspect, soft)
        if stencil is not None:
            canvas.group([_cell(canvas, stencil, look, patch, near < 1)])
    _debris(canvas, look)
