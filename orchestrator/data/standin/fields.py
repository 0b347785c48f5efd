"""What the stand-ins are drawn from: noise, and signed distances to shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

Field = NDArray[np.float32]  # HxW
Rng = np.random.Generator
Shape = tuple[int, int]  # height, width in pixels

SHARE = (0.04, 0.42)  # of the pixels that belong to the object


def _spectrum(rng: Rng, shape: Shape, stretch: float, gain: Callable[[Field], Field]) -> Field:
    """Periodic Gaussian noise, mean 0, deviation 1; ``gain`` weighs cycles a pixel, ``stretch`` draws out x."""
    y = fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    x = fft.rfftfreq(shape[1]).astype(np.float32)[None]
    white = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    field = fft.irfft2(white * gain(np.hypot(y, x * stretch) + 1e-6), s=shape)
    return np.asarray((field - field.mean()) / (field.std() + 1e-9), dtype=np.float32)


def band(rng: Rng, shape: Shape, pixels: float, octaves: float = 0.5, stretch: float = 1) -> Field:
    """Noise around one wavelength."""
    return _spectrum(rng, shape, stretch, lambda f: np.exp(-0.5 * (np.log2(f * pixels) / octaves) ** 2))


def cloud(rng: Rng, shape: Shape, pixels: float, slope: float = 2.5, stretch: float = 1) -> Field:
    """Noise that falls off with frequency below a wavelength."""

    step = 4 if pixels >= 60 else 1  # wide clouds need no fine grid
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    wave = np.float32(pixels / step)
    field = _spectrum(rng, coarse, stretch, lambda f: (1 + (f * wave) ** 2) ** np.float32(-slope / 2))
    return field if step == 1 else upsample(field, shape)


def grid(shape: Shape, step: int = 1) -> tuple[Field, Field]:
    """(y, x) of the pixels from the middle, in short sides: -0.5 to 0.5 along the shorter one."""
    short = np.float32(min(shape))
    y, x = np.mgrid[0 : shape[0] : step, 0 : shape[1] : step].astype(np.float32)
    return (y - shape[0] / 2) / short, (x - shape[1] / 2) / short


def upsample(field: Field, shape: Shape) -> Field:
    """A field drawn on a coarser grid, HxW."""
    grown = Image.fromarray(field).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(grown, dtype=np.float32)


def _fit(distance: Field) -> Field:
    """Move the zero line of a distance so that the inside has an allowed share of the image."""
    low, high = np.quantile(distance[::3, ::3], SHARE)
    return distance - np.clip(0, low, high).astype(np.float32)


def _capsule(y: Field, x: Field, a: Field, b: Field, thick: tuple[float, float]) -> Field:
    """Distance to the line from a to b (y, x), whose radius runs from one thickness to the other."""
    along = b - a
    t = ((y - a[0]) * along[0] + (x - a[1]) * along[1]) / (float(along @ along) + 1e-6)
    t = np.clip(t, 0, 1)
    return np.hypot(y - a[0] - t * along[0], x - a[1] - t * along[1]) - (thick[0] + t * (thick[1] - thick[0]))


def animal(rng: Rng, shape: Shape) -> Field:
    """Distance to a body with head, legs and perhaps a tail; negative inside, in short sides."""
    y, x = grid(shape, 2)
    turn, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.26, 0.5)
    fat, bend = length * rng.uniform(0.22, 0.36), rng.uniform(-0.7, 0.7)

    def step(start: Field, angle: float, reach: float) -> Field:
        return start + reach * np.array([np.sin(turn + angle), np.cos(turn + angle)], np.float32)

    rump = np.asarray(rng.uniform(-0.16, 0.16, 2), np.float32)
    rump = step(rump, 0, -length / 2)
    waist, tail = step(rump, 0, length / 2), step(rump, np.pi - bend, length * 0.7)
    chest = step(waist, bend, length / 2)
    head = step(chest, bend * 2, fat * 1.5)
    parts = [
        _capsule(y, x, rump, waist, (fat * 0.8, fat)),
        _capsule(y, x, waist, chest, (fat, fat * 0.8)),
        _capsule(y, x, chest, head, (fat * 0.6, fat * rng.uniform(0.45, 0.7))),
        _capsule(y, x, rump, tail, (fat * 0.45, fat * 0.08)),
    ]
    for joint, side in ((rump, 1), (rump, -1), (chest, 1), (chest, -1)):
        angle = side * rng.uniform(0.9, 1.9)
        knee = step(joint, angle, fat * rng.uniform(1.2, 1.7))
        foot = step(knee, angle + rng.uniform(-0.9, 0.9), fat * rng.uniform(0.7, 1.2))
        parts += [
            _capsule(y, x, joint, knee, (fat * 0.45, fat * 0.28)),
            _capsule(y, x, knee, foot, (fat * 0.28, fat * 0.15)),
        ]
    soft = 0.15 * fat  # smooth union: joints without creases
    joined = -soft * np.log(sum(np.exp(np.clip(-part / soft, -60, 60)) for part in parts))
    return _fit(upsample((joined + 0.004 * band(rng, y.shape, 24)).astype(np.float32), shape))


def blob(rng: Rng, shape: Shape, lumps: float = 0.14) -> Field:
    """Distance-like field of a rounded lump; negative inside, -1 in its middle."""
    y, x = grid(shape, 2)
    half = np.array([shape[0], shape[1]]) / min(shape) / 2
    y0, x0 = rng.uniform(-0.6, 0.6, 2) * half
    turn, radius, aspect = rng.uniform(0, np.pi), rng.uniform(0.12, 0.3), rng.uniform(0.7, 1)
    u = (x - x0) * np.cos(turn) + (y - y0) * np.sin(turn)
    v = (y - y0) * np.cos(turn) - (x - x0) * np.sin(turn)
    angle = np.arctan2(v, u)
    rim = sum(lumps / k * rng.uniform(-1, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5))
    distance = np.hypot(u, v / aspect) / (radius * (1 + rim)) - 1
    return _fit(upsample(np.asarray(distance, dtype=np.float32), shape))


def sample(tile: Field, y: Field, x: Field) -> Field:
    """A periodic tile read at any (y, x) in its pixels, bilinear; HxW."""
    rows, columns = tile.shape
    y0, x0 = np.floor(y), np.floor(x)
    fy, fx = y - y0, x - x0
    top, left = y0.astype(np.intp) % rows, x0.astype(np.intp) % columns
    bottom, right = (top + 1) % rows, (left + 1) % columns
    upper = tile[top, left] * (1 - fx) + tile[top, right] * fx
    lower = tile[bottom, left] * (1 - fx) + tile[bottom, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, dtype=np.float32)


def smooth(field: Field, low: float, high: float) -> Field:
    """0 below low, 1 above high, a smooth step between (high < low turns it round)."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def turned(y: Field, x: Field, angle: float, zoom: float = 1) -> tuple[Field, Field]:
    """(y, x) in a frame that is turned by ``angle`` (radians) and whose pattern is ``zoom`` times as large."""
    c, s = np.float32(np.cos(angle) / zoom), np.float32(np.sin(angle) / zoom)
    return y * c - x * s, y * s + x * c
