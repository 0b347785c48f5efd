"""What is seen along rays: solids, in metres: x ahead, y to the right, z up from the road."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.standin.fields import Field

GROUND, BOX, DRUM, EGG = range(
    4
)  #: the plane z = 0; a box, its sides perhaps slanted; an upright cylinder; an ellipsoid

_CORNERS = np.array(list(product((-1, 1), repeat=3)), np.float32)

FEET = (0, 2, 6, 4)  #: of the corners: the four below, round the box; one more is the one above

NEAR = 0.02  #: metres: nothing nearer is seen

Ints = NDArray[np.intp]

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Solid:
    """One convex thing. Its own axes are turned by ``yaw`` from x to y about its centre."""

    kind: int
    centre: Triple
    half: Triple  #: sizes along its own axes
    label: int
    skin: int  #: how it is painted (``skins``)
    ink: Sequence[float] | Field
    accent: Sequence[float] | Field
    dice: tuple[float, ...]  #: four numbers in 0..1, that vary how its skin looks
    yaw: float = 0
    taper: tuple[float, float] = (0, 0)  #: of a box: how much its half sizes in x and y shrink from foot to top
    rough: float = 0  #: of an ellipsoid: how ragged its outline is, 0 to 1


class Solids:
    """Many as arrays: N, or 2 x N, 3 x N and so on."""

    def __init__(self, solids: Sequence[Solid]) -> None:
        def column(name: str) -> Field:
            return np.array([getattr(solid, name) for solid in solids], np.float32).T.copy()

        self.kind, self.label, self.skin = (
            np.array([getattr(s, name) for s in solids], np.int16) for name in ("kind", "label", "skin")
        )
        self.centre, self.half, self.taper = column("centre"), column("half"), column("taper")
        self.ink, self.accent, self.dice = column("ink"), column("accent"), column("dice")
        self.rough, yaw = column("rough"), column("yaw")
        self.cos: Field = np.cos(yaw)
        self.sin: Field = np.sin(yaw)

    def __len__(self) -> int:
        return len(self.kind)

    def own(self, x: Field, y: Field, which: Ints | slice = slice(None)) -> tuple[Field, Field]:
        """(x, y) turned into the axes of solids."""
        c, s = self.cos[which], self.sin[which]
        return c * x + s * y, c * y - s * x

    def corners(self, shrink: float = 1) -> Field:
        """3 x N x 8, of their bounding boxes."""
        x, y, z = (self.half[:, :, None] * np.float32(shrink)) * _CORNERS.T[:, None]
        c, s = self.cos[:, None], self.sin[:, None]
        return np.stack([c * x - s * y, s * x + c * y, z]) + self.centre[:, :, None]

    def reach(self, eye: Field) -> tuple[Field, Field]:
        """The least and the greatest level distance from a point to their bounding boxes."""
        x, y = self.own(eye[0] - self.centre[0], eye[1] - self.centre[1])
        x, y = np.abs(x), np.abs(y)
        near = np.hypot(np.maximum(x - self.half[0], 0), np.maximum(y - self.half[1], 0))
        far = np.hypot(x + self.half[0], y + self.half[1])
        return np.asarray(near, dtype=np.float32), np.asarray(far, dtype=np.float32)
