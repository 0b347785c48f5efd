"""Scenes of things that lie on a ground and hide each other, of wholes with parts, and of things that blend in."""

from __future__ import annotations

import numpy as np

from orchestrator.data.scenes import outlines
from orchestrator.data.scenes.canvas import Canvas, Stencil, height, relief
from orchestrator.data.scenes.materials import Material, away, material
from orchestrator.data.standin.fields import Field


def ground(canvas: Canvas, stuff: Material | None = None) -> Material:
    """Cover the canvas with a material."""
    stuff = stuff or material(canvas.rng)
    canvas.image[:] = stuff.render((canvas.side, canvas.side))
    return stuff


def under(canvas: Canvas, stencil: Stencil) -> Field:
    """The mean colour of what a shape will hide."""
    weight = stencil.cover[::2, ::2]
    colours = canvas.image[stencil.at][::2, ::2]
    return np.asarray(np.tensordot(weight, colours, 2) / (weight.sum() + 1e-3), dtype=np.float32)


def anywhere(canvas: Canvas, outline: outlines.Outline, size: float) -> Stencil | None:
    """A shape at a random place and turn."""
    rng = canvas.rng
    x, y = rng.uniform(0.04, 0.96, 2) * canvas.side
    soft = 0 if canvas.easy or rng.random() < 0.6 else min(rng.uniform(0.3, 2.5), size / 12)
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.8 else 0
    return canvas.stencil(outline, (x, y), size, turn, rng.uniform(0.6, 1), soft)


def lay(canvas: Canvas, stencil: Stencil, stuff: Material, light: float, shaded: bool = True) -> int:
    """Paint a shape of a material with shading, a rim, a shadow, at random; its owner."""
    rng, easy = canvas.rng, canvas.easy
    colours = stuff.render(stencil.shape)
    style = rng.random(3)
    opacity = 1.0 if easy or style[0] > 0.12 else rng.uniform(0.55, 0.9)
    if shaded and style[1] < 0.5:
        colours *= relief(height(stencil.cover, rng.uniform(0.3, 1)), light, rng.uniform(0.1, 0.55))
    if shaded and style[2] < 0.3:
        reach = 1 + canvas.side * rng.uniform(0.005, 0.04)
        shift = (int(-np.sin(light) * reach), int(-np.cos(light) * reach))
        canvas.shadow(stencil, shift, rng.uniform(0.8, 6), rng.uniform(0.25, 0.7))
    owner = canvas.new()
    canvas.paint(stencil, np.clip(colours, 0, 1), owner, opacity)
    return owner


def outlined(canvas: Canvas, stencil: Stencil, strength: float) -> None:
    """Draw the rim of a shape a little darker or lighter; it keeps the pixels it has."""
    edge = 4 * stencil.cover * (1 - stencil.cover)
    inner = stencil.cover.copy()
    inner[1:-1, 1:-1] -= (
        stencil.cover[:-2, 1:-1] + stencil.cover[2:, 1:-1] + stencil.cover[1:-1, :-2] + stencil.cover[1:-1, 2:]
    ) / 4
    rim = np.maximum(edge, np.clip(2 * inner, 0, 1))
    canvas.image[stencil.at] += (np.float32(strength) * rim)[..., None]


def _stuff_for(canvas: Canvas, stencil: Stencil, base: Material) -> Material:
    """A material that stands out clearly in an easy scene, and may hardly do so in a hard one."""
    rng, mean = canvas.rng, under(canvas, stencil)
    if canvas.easy:
        return material(rng, away(rng, mean, rng.uniform(0.25, 0.5)), rng.choice([0.0, 0.04, 0.08, 0.15]))
    if rng.random() < 0.35:  # what lies there already, hardly another colour
        same = base.moved(rng, rng.uniform(0.4, 2.7), np.exp(rng.uniform(-0.5, 0.5)))
        return same.tinted(away(rng, mean, rng.uniform(0.04, 0.12)))
    return material(rng, away(rng, mean, rng.uniform(0.06, 0.3)))


def _sizes(canvas: Canvas, count: int) -> Field:
    """Radii in pixels, large ones first: they lie at the back."""
    top = 0.42 if count < 6 else 0.28
    return np.sort(np.exp(canvas.rng.uniform(np.log(0.035), np.log(top), count)))[::-1] * canvas.side


def objects(canvas: Canvas) -> None:
    """Things of many shapes and sizes on a ground."""
    rng = canvas.rng
    base, light = ground(canvas), rng.uniform(0, 2 * np.pi)
    count = int(rng.integers(3, 15))
    family = outlines.shape if rng.random() < 0.7 else outlines.ALL[rng.integers(len(outlines.ALL))]
    for size in _sizes(canvas, count):
        stencil = anywhere(canvas, family(rng), size)
        if stencil is None:
            continue
        owner = lay(canvas, stencil, _stuff_for(canvas, stencil, base), light)
        if rng.random() < (0.12 if canvas.easy else 0.3):
            outlined(canvas, stencil, rng.choice([-1, 1]) * rng.uniform(0.06, 0.3))
        canvas.group([owner])


def camouflage(canvas: Canvas) -> None:
    """Things of the very stuff they lie on: turned, zoomed, shifted, hardly tinted."""
    rng = canvas.rng
    stuff = material(rng, contrast=rng.uniform(0.15, 0.4), smooth=False)
    base, light = ground(canvas, stuff), rng.uniform(0, 2 * np.pi)
    makers = (outlines.animal, outlines.blob, outlines.bunch, outlines.solid)
    for _ in range(int(rng.integers(1, 4))):
        maker = makers[rng.integers(len(makers))]
        stencil = anywhere(canvas, maker(rng), canvas.side * rng.uniform(0.14, 0.42))
        if stencil is None:
            continue
        zoom = np.exp(rng.choice([-1, 1]) * rng.uniform(0.25, 0.7))
        turned = base.moved(rng, rng.uniform(0.6, 2.5), zoom)
        gap = rng.uniform(0.14, 0.25) if canvas.easy else rng.uniform(0.02, 0.1)
        owner = lay(canvas, stencil, turned.tinted(away(rng, under(canvas, stencil), gap)), light)
        if rng.random() < 0.6:
            outlined(canvas, stencil, rng.choice([-1, 1]) * rng.uniform(0.04, 0.15))
        canvas.group([owner])
