"""Where the points of a face lie in a picture, and what one face has that another has not.

Faces are drawn in face units: (0, 0) between the cheeks, x to the picture's right, y down, the cheeks at x = -1 and 1,
the chin at about y = 1.4 and the crown at about -1.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.data.standin.fields import Field, Rng, Shape, grid
from orchestrator.data.standin.sheet import Points

SKIN = np.array(
    [(250, 216, 194), (236, 192, 162), (220, 172, 136), (190, 138, 102), (146, 98, 68), (104, 68, 48)], np.float32
)
HAIR = np.array(
    [(28, 24, 24), (44, 32, 26), (78, 54, 38), (120, 84, 52), (196, 160, 104), (150, 76, 42), (168, 164, 160)],
    np.float32,
)


@dataclass(frozen=True)
class Pose:
    """A head before the camera."""

    centre: tuple[float, float]  #: of the face, (x, y) in pixels
    unit: float  #: pixels
    yaw: float = 0  #: radians, to the picture's right
    pitch: float = 0  #: radians, up
    roll: float = 0  #: radians, clockwise

    def at(self, points: ArrayLike, depth: ArrayLike | None = None, lift: float = 0) -> Points:
        """Points of the face (N x 2) in pixels: on its front, ``lift`` before it, or at a ``depth`` of their own."""
        x, y = np.asarray(points, dtype=np.float64).T
        z = 0.6 * np.sqrt(np.clip(1 - x**2 - (y / 1.6) ** 2, 0, 1)) + lift if depth is None else np.asarray(depth)
        across = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        forward = z * np.cos(self.yaw) - x * np.sin(self.yaw)
        down = y * np.cos(self.pitch) - forward * np.sin(self.pitch)
        c, s = np.cos(self.roll), np.sin(self.roll)
        turned = np.stack([c * across - s * down, s * across + c * down], -1)
        return np.asarray(self.centre) + self.unit * turned

    def grid(self, shape: Shape) -> tuple[Field, Field]:
        """(y, x) of every pixel in face units, as if the head were seen from the front."""
        return _grid(self, shape)


@lru_cache(maxsize=2)
def _grid(pose: Pose, shape: Shape) -> tuple[Field, Field]:
    y, x = grid(shape)
    short, unit = np.float32(min(shape)), np.float32(pose.unit)
    y = (y * short + np.float32(shape[0] / 2 - pose.centre[1])) / unit
    x = (x * short + np.float32(shape[1] / 2 - pose.centre[0])) / unit
    c, s = np.float32(np.cos(pose.roll)), np.float32(np.sin(pose.roll))
    return c * y - s * x, c * x + s * y


@dataclass(frozen=True)
class Look:
    """One face's measures and colours."""

    jaw: float
    chin: float
    eyes: float  #: from the middle to the middle of an eye
    eye: tuple[float, float]  #: half its width, and how far it is open
    brow: float  #: y
    nose: tuple[float, float]  #: its half width, and the y of its end
    mouth: tuple[float, float, float]  #: y, half its width, how far it is open
    smile: float
    skin: Field
    hair: Field
    lips: Field
    iris: Field
    style: str  #: of the hair
    fringe: str
    volume: float  #: of the hair
    length: float  #: y where it ends


def look(rng: Rng) -> Look:
    """Any face."""
    tone = rng.uniform(0, len(SKIN) - 1.001)
    skin = SKIN[int(tone)] + (tone % 1) * (SKIN[int(tone) + 1] - SKIN[int(tone)])
    skin = (skin * rng.uniform(0.94, 1.05, 3)).astype(np.float32)
    hair = (HAIR[rng.integers(len(HAIR))] * rng.uniform(0.8, 1.2)).astype(np.float32)
    if rng.random() < 0.12:  # as light as the skin
        hair = (skin * rng.uniform(0.75, 0.95)).astype(np.float32)
    red = skin * np.array([0.95, 0.62, 0.62], np.float32) + np.array([18, 4, 8], np.float32)
    paint = np.array([rng.uniform(150, 205), rng.uniform(30, 80), rng.uniform(50, 100)], np.float32)
    lips = red + np.float32(rng.uniform(0.3, 0.8) if rng.random() < 0.35 else 0) * (paint - red)
    lips += np.float32(rng.uniform(0, 0.75)) * (skin - lips) * (rng.random() < 0.6)
    iris = np.array([(60, 40, 28), (84, 58, 34), (96, 112, 84), (88, 118, 146), (40, 28, 22)], np.float32)
    style = str(rng.choice(["short", "long", "bob", "shaven", "tied"], p=[0.32, 0.3, 0.16, 0.06, 0.16]))
    return Look(
        jaw=rng.uniform(0.74, 0.92),
        chin=rng.uniform(1.32, 1.48),
        eyes=rng.uniform(0.4, 0.46),
        eye=(rng.uniform(0.19, 0.23), rng.uniform(0.6, 1.2)),
        brow=rng.uniform(-0.5, -0.4),
        nose=(rng.uniform(0.2, 0.3), rng.uniform(0.42, 0.54)),
        mouth=(rng.uniform(0.78, 0.88), rng.uniform(0.32, 0.46), rng.uniform(0.06, 0.22) if rng.random() < 0.45 else 0),
        smile=rng.uniform(-0.03, 0.14),
        skin=skin,
        hair=hair,
        lips=lips.astype(np.float32),
        iris=iris[rng.integers(len(iris))],
        style=style,
        fringe=str(rng.choice(["none", "straight", "swept"], p=[0.4, 0.2, 0.4])),
        volume=rng.uniform(0.02, 0.3) if style in ("long", "bob") else rng.uniform(-0.05, 0.12),
        length={"long": rng.uniform(2.0, 3.4), "bob": rng.uniform(0.9, 1.5)}.get(style, rng.uniform(-0.1, 0.3)),
    )


def mirrored(points: ArrayLike) -> Points:
    """A right half, from the top down, as the whole of a symmetric outline."""
    right = np.asarray(points, dtype=np.float64)
    return np.concatenate([right, right[::-1] * (-1, 1)])
