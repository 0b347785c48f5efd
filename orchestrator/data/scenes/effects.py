"""What the camera and the file do to a finished scene: light, colour, blur, noise, JPEG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from orchestrator.data.standin.fields import Field, Rng

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _light(rng: Rng, image: Field) -> Field:
    """A gradient of brightness, a cast, another exposure."""
    side = image.shape[0]
    if rng.random() < 0.4:
        y, x = np.linspace(-1, 1, side, dtype=np.float32)[:, None], np.linspace(-1, 1, side, dtype=np.float32)
        slopes = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
        image *= (1 + slopes[0] * y + slopes[1] * x)[..., None]
    if rng.random() < 0.4:
        image *= rng.uniform(0.8, 1.2, 3).astype(np.float32)
    if rng.random() < 0.04:
        image = 1 - np.clip(image, 0, 1)
    if rng.random() < 0.06:
        image = image[..., rng.permutation(3)]
    if rng.random() < 0.15:
        image = np.repeat((image @ _LUMA)[..., None], 3, axis=2)
    return image


def _curve(rng: Rng, easy: bool, dark: bool) -> NDArray[np.uint8]:
    """The tone of each of 256 levels after gamma and contrast; what is dark already is not crushed further."""
    t = np.linspace(0, 1, 256)
    if rng.random() < 0.5:
        most = 0.35 if easy else 0.6
        t = t ** np.exp(rng.uniform(-most, 0 if dark else most))
    if not dark and rng.random() < 0.4:
        middle, gain = rng.uniform(0.3, 0.7), rng.uniform(0.75, 1.3) if easy else rng.uniform(0.45, 1.4)
        t = middle + gain * (t - middle)
    return np.clip(255 * t, 0, 255).astype(np.uint8)


def _noise(rng: Rng, image: NDArray[np.uint8], easy: bool) -> NDArray[np.uint8]:
    """Gaussian noise, the same or not in the channels, or noise that grows with the light."""
    strength = rng.uniform(1, 5) if easy else np.exp(rng.uniform(np.log(1), np.log(22)))
    channels = 3 if rng.random() < 0.4 else 1
    noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32) * np.float32(strength)
    if rng.random() < 0.5:
        noise *= np.sqrt(image[..., :channels] / np.float32(128)) + np.float32(0.1)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def finish(rng: Rng, image: Field, easy: bool) -> NDArray[np.uint8]:
    """A scene in 0..1 -> the picture taken of it; the edges stay where they are."""
    level = np.clip(_light(rng, image), 0, 1) * np.float32(255)
    taken = _curve(rng, easy, float(level[::4, ::4].mean()) < 45)[level.astype(np.uint8)]
    if rng.random() < (0.3 if easy else 0.6):
        sigma = rng.uniform(0.3, 0.8) if easy else rng.uniform(0.3, 2)
        taken = np.asarray(Image.fromarray(taken).filter(ImageFilter.GaussianBlur(float(sigma))))
    if rng.random() < (0.4 if easy else 0.7):
        taken = _noise(rng, taken, easy)
    if rng.random() < 0.3:
        file = io.BytesIO()
        Image.fromarray(taken).save(file, "JPEG", quality=int(rng.integers(60 if easy else 35, 96)))
        taken = np.asarray(Image.open(file))
    return np.ascontiguousarray(taken)
