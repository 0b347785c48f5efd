"""Scenes of smooth lumps on wet tissue of nearly their own colour."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image, ImageDraw

from orchestrator.data.scenes import outlines
from orchestrator.data.scenes.canvas import FRAME, Canvas, Stencil, height, relief
from orchestrator.data.scenes.materials import ORGANIC, SMOOTH, SPOTTED, tones
from orchestrator.data.standin.fields import Field, Rng


def _hue(rng: Rng) -> Field:
    """Mostly the reds and oranges of mucosa."""
    hue = rng.normal(0.03, 0.025) if rng.random() < 0.75 else rng.random()
    rgb = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.3, 0.75), rng.uniform(0.5, 0.95))
    return np.asarray(rgb, dtype=np.float32)


def _skin(rng: Rng, shape: tuple[int, int], rough: float) -> Field:
    """Brightness around 1: clouds and a fine grain."""
    field = rng.uniform(0.3, 1) * tones(rng, shape, SMOOTH, rng.uniform(0.7, 2))
    field += rng.uniform(0.2, 0.8) * tones(rng, shape, SMOOTH if rng.random() < 0.5 else ORGANIC, rng.uniform(0.5, 1.5))
    field = np.asarray(1 + rough * field, dtype=np.float32)
    return field[..., None]


def _vessels(rng: Rng, shape: tuple[int, int]) -> Field:
    """0..1 along thin branching lines: where two waves of a cloud cancel."""
    ridge = np.abs(tones(rng, shape, SMOOTH, rng.uniform(0.5, 1)) + 0.15 * tones(rng, shape, ORGANIC, 1))
    strength = np.clip(0.5 + 0.6 * tones(rng, shape, SMOOTH, 1), 0, 1)
    line = np.clip(1 - ridge / np.float32(rng.uniform(0.06, 0.16)), 0, 1) * strength
    return np.asarray(line[..., None], dtype=np.float32)


def _ground(canvas: Canvas, hue: Field) -> None:
    rng, side = canvas.rng, canvas.side
    shape = (side, side)
    canvas.image[:] = hue * _skin(rng, shape, rng.uniform(0.02, 0.09))
    if rng.random() < 0.6:
        drop = np.array([0.15, 0.6, 0.5], np.float32) * rng.uniform(0.1, 0.5)
        canvas.image *= 1 - drop * _vessels(rng, shape)
    if rng.random() < 0.6:
        _folds(canvas)
    if rng.random() < 0.5:  # the hollow that the camera looks into
        size = rng.uniform(0.08, 0.4) * side
        middle = tuple(rng.uniform(0.05, 0.95, 2) * side)
        hollow = canvas.stencil(outlines.blob(rng), middle, size, soft=size * rng.uniform(0.03, 0.25))
        if hollow is not None:
            owner = canvas.new()
            canvas.paint(hollow, hue * np.float32(rng.uniform(0.05, 0.4)), owner, rng.uniform(0.7, 1))
            if rng.random() < 0.5:
                canvas.group([owner])


def _folds(canvas: Canvas) -> None:
    """Waves of brightness around a far point, each steep on one side."""
    rng, side = canvas.rng, canvas.side
    y, x = np.mgrid[0:side:2, 0:side:2].astype(np.float32) / side
    y0, x0 = rng.uniform(-0.5, 1.5, 2)
    away = np.hypot(y - np.float32(y0), x - np.float32(x0)) * np.float32(rng.uniform(1.5, 6))
    away += np.float32(rng.uniform(0.1, 0.4)) * tones(rng, y.shape, SMOOTH, 1)
    saw = (away % 1) ** np.float32(rng.uniform(1, 4))
    seam = np.clip((away % 1) * 12, 0, 1)
    field = np.asarray(Image.fromarray(saw * seam).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    canvas.image *= (1 + np.float32(rng.uniform(0.1, 0.45)) * (field - 0.4))[..., None]
    if rng.random() < 0.4:  # a tube: darker the farther away
        deep = np.clip((y - np.float32(y0)) ** 2 + (x - np.float32(x0)) ** 2, 0, 1) ** np.float32(0.4)
        canvas.image *= np.repeat(np.repeat(np.float32(0.25) + deep, 2, 0), 2, 1)[:side, :side, None]


def _lump(canvas: Canvas, stencil: Stencil, hue: Field, light: float) -> int:
    """A bump: nearly the colour of the ground, seen by its shading, a dark seam, its own grain."""
    rng, easy = canvas.rng, canvas.easy
    shift = rng.normal(0, 0.09 if easy else 0.035, 3) + (rng.choice([-1, 1]) * (0.16 if easy else 0.05))
    weight = stencil.cover[::4, ::4]
    local = np.tensordot(weight, canvas.image[stencil.at][::4, ::4], 2) / (weight.sum() + 1e-3)
    colour = np.clip(hue * 0.5 + local * 0.5 + shift, 0.03, 1).astype(np.float32)
    if rng.random() < 0.8:
        reach = canvas.side * rng.uniform(0, 0.03)
        moved = (int(-np.sin(light) * reach), int(-np.cos(light) * reach))
        canvas.shadow(stencil, moved, rng.uniform(2, 12), rng.uniform(0.1, 0.6))
    shade = relief(height(stencil.cover, rng.uniform(0.4, 1)), light, rng.uniform(0.1, 0.4))
    colours = colour * shade * _skin(rng, stencil.shape, rng.uniform(0.01, 0.08))
    if rng.random() < 0.3:
        colours *= 1 - np.array([0.1, 0.5, 0.45], np.float32) * 0.5 * _vessels(rng, stencil.shape)
    owner = canvas.new()
    canvas.paint(stencil, np.clip(colours, 0, 1), owner)
    for _ in range(int(rng.integers(0, 6)) if rng.random() < 0.5 else 0):
        _drop(canvas, stencil, light)
    return owner


def _drop(canvas: Canvas, stencil: Stencil, light: float) -> None:
    """A glint on the side of a bump that faces the light."""
    rng = canvas.rng
    ys, xs = stencil.at
    h, w = stencil.shape
    y = (ys.start + ys.stop) / 2 + h * (0.22 * np.sin(light) + rng.normal(0, 0.1))
    x = (xs.start + xs.stop) / 2 + w * (0.22 * np.cos(light) + rng.normal(0, 0.1))
    size = rng.uniform(0.006, 0.02) * canvas.side
    drop = canvas.stencil(outlines.blob(rng), (x, y), size, rng.uniform(0, 3), rng.uniform(0.4, 1), 0.7)
    if drop is not None:
        canvas.paint(drop, np.ones(3, np.float32), opacity=rng.uniform(0.7, 1))


def _glints(canvas: Canvas) -> None:
    """White spots where a fine wave peaks under a wide one."""
    rng, shape = canvas.rng, (canvas.side, canvas.side)
    fine = tones(rng, shape, SPOTTED, rng.uniform(0.9, 1.6))
    wide = tones(rng, shape, SMOOTH, 1)
    spots = np.clip((fine + np.float32(rng.uniform(0.2, 0.9)) * wide - np.float32(rng.uniform(2.0, 2.8))) * 3, 0, 1)
    canvas.image += spots[..., None] * (np.float32(rng.uniform(0.9, 1)) - canvas.image)


def _vignette(canvas: Canvas) -> None:
    """Darker away from a lit spot."""
    rng, side = canvas.rng, canvas.side
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    y0, x0 = rng.uniform(0.25, 0.75, 2).astype(np.float32)
    far = ((y - y0) ** 2 + (x - x0) ** 2) * np.float32(rng.uniform(0.3, 2.2))
    canvas.image *= (np.float32(rng.uniform(1, 1.25)) / (1 + far))[..., None]


def _frame(canvas: Canvas) -> None:
    """Black corners or a round view, perhaps with a panel cut out, and some lines of text."""
    rng, side = canvas.rng, canvas.side
    cover = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(cover)
    style = rng.random()
    if style < 0.6:
        cut, edge = rng.uniform(0.1, 0.3) * side, rng.uniform(0, 0.05) * side
        low, high, end = edge, side - edge, side
        corners = [(low, cut), (cut, 0), (end - cut, 0), (high, cut)]
        corners += [(high, end - cut), (end - cut, end), (cut, end), (low, end - cut)]
        pen.polygon(corners, fill=0)
    elif style < 0.85:
        reach = rng.uniform(0.48, 0.66) * side
        pen.ellipse([side / 2 - reach, side / 2 - reach, side / 2 + reach, side / 2 + reach], fill=0)
    else:
        pen.rectangle([rng.uniform(0, 0.08) * side, rng.uniform(0, 0.05) * side, side, side], fill=0)
    if rng.random() < 0.4:
        pen.rectangle([0, rng.uniform(0.6, 0.8) * side, rng.uniform(0.15, 0.4) * side, side], fill=255)
    black = np.asarray(cover) > 127
    canvas.image[black] = rng.uniform(0, 0.05)
    canvas.owner[black] = FRAME


def _text(canvas: Canvas) -> None:
    """Rows of letters; they hide nothing that a person would cut out of a mask."""
    rng, side = canvas.rng, canvas.side
    sheet = Image.new("L", (side, side))
    pen = ImageDraw.Draw(sheet)
    x, y = rng.uniform(0, 0.15) * side, rng.uniform(0.05, 0.7) * side
    for row in range(int(rng.integers(1, 6))):
        letters = "".join(rng.choice(list("0123456789:/AbCVPQNge. "), int(rng.integers(2, 12))))
        pen.text((x, y + row * 11), letters, fill=255, font_size=float(rng.uniform(8, 11)))
    level = np.asarray(sheet, dtype=np.float32)[..., None] / 255
    canvas.image += level * np.float32(0.8) * (np.float32(rng.uniform(0.7, 1)) - canvas.image)


def lumps(canvas: Canvas) -> None:
    """One to three bumps, each a mask; some of several lobes."""
    rng, side = canvas.rng, canvas.side
    hue, light = _hue(rng), rng.uniform(0, 2 * np.pi)
    _ground(canvas, hue)
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.27, 0.13]))):
        size = side * np.sqrt(rng.uniform(0.03, 0.45) ** 1.2 / np.pi)
        middle = tuple(rng.uniform(0.2, 0.8, 2) * side)
        outline = outlines.bunch(rng) if rng.random() < 0.15 else outlines.blob(rng, rng.uniform(0.05, 0.4), 1.3)
        soft = rng.uniform(0.3, 1) if canvas.easy else rng.uniform(0.5, 5)
        stencil = canvas.stencil(outline, middle, size, rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1), soft)
        if stencil is not None:
            canvas.group([_lump(canvas, stencil, hue, light)])
    if rng.random() < 0.75:
        _glints(canvas)
    if rng.random() < 0.7:
        _vignette(canvas)
    np.clip(canvas.image, 0, 1, out=canvas.image)
    if rng.random() < 0.55:
        _frame(canvas)
    if rng.random() < 0.3:
        _text(canvas)
