"""One function a task: (rng, shape) -> RGB HxWx3 float32 in 0..255 and mask HxW bool."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from orchestrator.data.standin.fields import (
    SHARE,
    Field,
    Rng,
    Shape,
    animal,
    band,
    blob,
    cloud,
    grid,
    sample,
    smooth,
    turned,
)
from orchestrator.data.standin.textures import colour, palette, texture

Scene = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _pixels(rng: Rng, shape: Shape) -> tuple[Field, Field]:
    """(y, x) in pixels from a random origin."""
    y, x = grid(shape)
    short = min(shape)
    return y * short + np.float32(rng.uniform(0, 256)), x * short + np.float32(rng.uniform(0, 256))


def _slope(field: Field, angle: float) -> Field:
    """How fast a field rises towards ``angle``, a pixel."""
    dy, dx = np.gradient(field)
    return np.asarray(dx * np.cos(angle) + dy * np.sin(angle), dtype=np.float32)


def _shifted(field: Field, angle: float, pixels: float) -> Field:
    step = np.round([pixels * np.sin(angle), pixels * np.cos(angle)]).astype(int)
    return np.roll(field, tuple(step), axis=(0, 1))


def camouflage(rng: Rng, shape: Shape) -> Scene:
    """An animal or a lump in the texture of its ground; ``ease`` sets every difference at once."""
    ease = rng.uniform(0.2, 1)
    short = min(shape)
    distance = (animal(rng, shape) if rng.random() < 0.75 else 0.2 * blob(rng, shape, 0.35)) * np.float32(short)
    inside = smooth(distance, 0.8, -0.8)
    tile, base = texture(rng), rng.uniform(0, 2 * np.pi)
    y, x = _pixels(rng, shape)
    turn = rng.choice([-1, 1]) * (0.3 + 0.9 * ease)
    zoom = np.exp(rng.choice([-1, 1]) * (0.25 + 0.25 * ease))
    ground = sample(tile, *turned(y, x, base))
    coat = sample(tile, *turned(y + 91, x + 57, base + turn, zoom))
    tone = ground + inside * (coat - ground) + 0.08 * cloud(rng, shape, 90)
    image = colour(tone + inside * (rng.choice([-1, 1]) * (0.03 + 0.05 * ease)), palette(rng))
    tint = rng.normal(0, 1, 3).astype(np.float32)
    image *= 1 + (0.03 + 0.05 * ease) * inside[..., None] * tint / np.linalg.norm(tint)
    for channel in (0, 2):  # the ground has hues too, or a threshold on hue would find the object
        image[..., channel] *= 1 + 0.03 * cloud(rng, shape, 60)
    light = rng.uniform(0, 2 * np.pi)
    relief = np.tanh(-np.minimum(distance, 0) / (0.05 * short))
    shade = 1 + (1.5 + 1.5 * ease) * inside * _slope(ndimage.gaussian_filter(relief, 2), light)
    cast = (1 - inside) * np.exp(-np.maximum(_shifted(distance, light + np.pi, 4), 0) / 4)
    shade = (shade - (0.22 + 0.25 * ease) * cast) * (1 + 0.1 * cloud(rng, shape, 140))
    return image * shade[..., None], distance < 0


def _polygon(rng: Rng, shape: Shape) -> Field:
    """A straight-edged shape, 1 inside: what a house or a post casts."""
    h, w = shape
    y, x = rng.uniform(0.25, 0.75, 2) * shape
    turn, count = rng.uniform(0, 2 * np.pi), int(rng.integers(4, 8))
    angles = turn + 2 * np.pi * (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count
    reach = min(shape) * rng.uniform(0.18, 0.5, count)
    reach[::2] *= rng.uniform(0.8, 1.7)
    while True:
        sheet = Image.new("F", (w, h))
        corners = zip(x + reach * np.cos(angles), y + reach * np.sin(angles), strict=True)
        ImageDraw.Draw(sheet).polygon([(float(px), float(py)) for px, py in corners], fill=1)
        inside = np.asarray(sheet, dtype=np.float32)
        if SHARE[0] <= inside.mean() <= SHARE[1]:
            return inside
        reach *= 0.9 if inside.mean() > SHARE[1] else 1.1


def _ground(rng: Rng, shape: Shape) -> NDArray[np.float32]:
    """Grass, asphalt or slabs in even light."""
    y, x = _pixels(rng, shape)
    y, x = turned(y, x, rng.uniform(0, np.pi), rng.uniform(0.6, 1.1))
    tone = 0.62 + rng.uniform(0.3, 0.8) * (sample(texture(rng), y, x) - 0.5) + 0.07 * cloud(rng, shape, 70)
    if rng.random() < 0.35:
        slab = rng.uniform(40, 80)
        joint = np.minimum(np.abs(y / slab % 1 - 0.5), np.abs(x / slab % 1 - 0.5)) * slab
        tone = tone - 0.3 * smooth(joint, 2, 0.8)
    return colour(tone, palette(rng))


def shadow(rng: Rng, shape: Shape) -> Scene:
    """Things and dark patches on the ground first; then the shadow multiplies all of it."""
    image = _ground(rng, shape)
    for _ in range(rng.integers(1, 4)):
        patch = smooth(0.1 * blob(rng, shape, 0.3) + rng.uniform(0, 0.08), 0.004, -0.004)[..., None]
        tint = palette(rng)[rng.integers(0, 3)] * rng.uniform(0.5, 1.1)
        grey = image.mean(-1, keepdims=True)
        image += patch * (tint * (0.35 + 0.65 * grey / grey.mean()) - image)
    kind = rng.random()
    if kind < 0.45:
        hard = _polygon(rng, shape)
    else:
        hard = smooth(animal(rng, shape) if kind < 0.75 else 0.2 * blob(rng, shape, 0.4), 0.004, -0.004)
    soft = ndimage.gaussian_filter(hard, rng.uniform(0.8, 3.5))
    depth = rng.uniform(0.4, 0.72) * (1 + 0.06 * cloud(rng, shape, 60))
    blue = np.array([1.05, 1.0, rng.uniform(0.84, 0.94)], np.float32)
    image *= (1 + 0.06 * cloud(rng, shape, 160))[..., None]
    return image * (1 - (soft * depth)[..., None] * blue), soft > 0.5


def _view(rng: Rng, shape: Shape) -> NDArray[np.bool_]:
    """What the endoscope sees: a disc, or a rectangle with cut corners."""
    y, x = grid(shape)
    y, x = np.abs(y) / np.abs(y).max(), np.abs(x) / np.abs(x).max()
    if rng.random() < 0.35:
        return np.asarray(np.hypot(x, y) < rng.uniform(1.02, 1.2))
    edge = rng.uniform(0.94, 1.0)
    return np.asarray((x < edge) & (y < edge) & (x + y < rng.uniform(1.45, 1.7)))


def polyp(rng: Rng, shape: Shape) -> Scene:
    """A height map (folds, unevenness, the bump) under a lamp beside the lens, wet, coloured as tissue."""
    ease, short = rng.uniform(0.2, 1), min(shape)
    view = _view(rng, shape)
    y, x = grid(shape)
    wobble = cloud(rng, shape, 120, 3)
    y0, x0 = rng.uniform(-0.6, 0.6, 2)
    depth = np.hypot(y - y0, (x - x0) * rng.uniform(0.75, 1.3)) * (1 + 0.12 * wobble) + 0.02
    ring = np.log(depth) * rng.uniform(5, 9) + 1.1 * wobble + rng.uniform(0, 6)
    folds = (1 - np.abs(np.sin(ring))) ** 2 * rng.uniform(0.1, 0.9)
    bump = blob(rng, shape, 0.1)
    bump += 0.03 * band(rng, shape, 40)
    dome = np.sqrt(np.clip(1 - (1 + np.minimum(bump, 0)) ** 2, 0, 1))
    inside = smooth(bump, 0.05, -0.05)
    height = short * (0.04 * folds * (1 - inside) + (0.05 + 0.06 * ease) * dome) + 0.5 * band(rng, shape, 36)
    dy, dx = np.gradient(ndimage.gaussian_filter(height, 1.8))
    light = np.arctan2(-y0, -x0) + rng.uniform(-0.5, 0.5)
    facing = 1 / np.sqrt(1 + dx * dx + dy * dy)
    towards = -(dx * np.cos(light) + dy * np.sin(light)) * facing
    lamp = smooth(depth, 0.02, rng.uniform(0.3, 0.6)) * (1 - 0.28 * (x * x + y * y) * 2)
    lamp = (0.22 + 0.78 * np.maximum(lamp, inside * 0.8)) * (0.5 + 0.5 * facing + 0.4 * towards)
    image = _tissue(rng, shape, inside, ease) * (lamp * rng.uniform(0.85, 1.2))[..., None]
    wet = band(rng, shape, 12, 0.7) + 0.9 * cloud(rng, shape, 60) + 2.2 * towards + 0.3 * inside * dome
    glint = smooth(wet, rng.uniform(2.4, 3), 3.3) * smooth(lamp, 0.3, 0.6)
    image += glint[..., None] * (np.array([255, 248, 240], np.float32) - image) * 0.95
    return image * view[..., None] + 6, (bump < 0) & view


def _tissue(rng: Rng, shape: Shape, inside: Field, ease: float) -> NDArray[np.float32]:
    """Colour of the wall and, nearly the same, of the bump."""
    pale = np.array([226, 142, 112], np.float32) * rng.uniform(0.88, 1.1, 3).astype(np.float32)
    red = pale * np.array([0.82, 0.58, 0.58], np.float32)
    tone = smooth(cloud(rng, shape, 90), -2.2, 2.2)[..., None]
    image = pale + tone * (red - pale)
    course = band(rng, shape, rng.uniform(34, 60), 0.8)
    vessel = np.exp(-((course / 0.13) ** 2)) * smooth(cloud(rng, shape, 80), -0.6, 1.2) * (1 - 0.85 * inside)
    image *= 1 - vessel[..., None] * np.array([0.1, 0.26, 0.22], np.float32)
    tint = np.array([0.02, -0.13, -0.1], np.float32) * rng.choice([-0.8, 1]) * ease
    pits = 0.03 * band(rng, shape, 6) * inside
    return np.asarray(image * (1 + inside[..., None] * tint + pits[..., None]), dtype=np.float32)


def binary(rng: Rng, shape: Shape) -> Scene:
    """A thing of one texture and palette on a ground of others."""
    distance = animal(rng, shape) if rng.random() < 0.5 else 0.2 * blob(rng, shape, 0.3)
    inside = smooth(distance, 0.004, -0.004)[..., None]
    y, x = _pixels(rng, shape)
    ground = colour(sample(texture(rng), *turned(y, x, rng.uniform(0, 6))), palette(rng))
    vivid = rng.uniform(0.45, 1.25, 3).astype(np.float32)
    thing = colour(sample(texture(rng), *turned(y, x, rng.uniform(0, 6))), palette(rng)) * vivid
    image = ground + inside * (thing - ground)
    return image * (1 + 0.1 * cloud(rng, shape, 120))[..., None], distance < 0
