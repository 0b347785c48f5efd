"""The lines of a random street, along which all else stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.data.standin.fields import Field, Rng
from orchestrator.data.standin.town.place import Street
from orchestrator.data.standin.town.solids import BOX
from orchestrator.data.standin.town.things import Site

END = 130.0  # metres: how far the street goes, each way

STEP = 0.15  # metres: how high a walk is

_FREE = 1.6  # metres around the camera where nothing stands


@dataclass(frozen=True)
class _Kind:
    """What a neighbourhood is like."""

    built: float  #: how much of the street is built up
    storeys: tuple[int, int]
    setback: float  #: metres at most, before houses
    trees: float  #: metres between them
    busy: float  #: how many cars and people


_KINDS = (
    _Kind(0.92, (3, 8), 0.6, 22, 1.3),
    _Kind(0.75, (2, 5), 3, 15, 1.0),
    _Kind(0.6, (1, 3), 7, 11, 0.7),
    _Kind(0.35, (1, 5), 9, 8, 0.6),
)


class Plan:
    """The lines of the street that the others stand along."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.site = rng, Site(rng)
        self.kind = _KINDS[rng.integers(len(_KINDS))]
        half = float(rng.uniform(3.4, 7.2))
        self.walks = {side: float(rng.uniform(1.8, 4.6)) for side in (-1, 1)}
        self.cross_walk = float(rng.uniform(1.8, 3.5))
        crossing = None
        if rng.random() < 0.65:
            far = rng.uniform(6, 16) if rng.random() < 0.6 else rng.uniform(16, 45)
            crossing = (float(far * rng.choice([-1, 1])), float(rng.uniform(3, 5.5)))
        self.street = Street(
            half, crossing, tuple(self._zebras(half, crossing)), rng.uniform(150, 225), rng.uniform(0.2, 0.6)
        )
        on_walk = rng.random() < 0.15
        y = half + rng.uniform(0.4, 1.4) if on_walk else rng.uniform(-0.8, 0.8) * (half - 0.8)
        self.driven: list[tuple[float, float, float]] = []  #: vehicles: x, y, half their length
        self.eye = np.array([0, y * rng.choice([-1, 1]), rng.uniform(1.5, 2.2)], np.float32)

    def _zebras(
        self, half: float, crossing: tuple[float, float] | None
    ) -> Iterator[tuple[float, float, float, float, int]]:
        rng = self.rng
        if crossing is None:
            if rng.random() < 0.5:
                x = rng.uniform(4, 14) * rng.choice([-1, 1])
                yield x - 1.7, x + 1.7, -half, half, 1
            return
        x, wide = crossing
        for side in (-1, 1):
            if rng.random() < 0.7:
                middle = x + side * (wide + 2.4)
                yield middle - 1.5, middle + 1.5, -half, half, 1
            if rng.random() < 0.6:
                middle = side * (half + 2.4)
                yield x - wide, x + wide, middle - 1.5, middle + 1.5, 0

    def spans(self) -> list[tuple[float, float]]:
        """The parts of the street beside which there are walks, without the crossing."""
        if self.street.crossing is None:
            return [(-END, END)]
        x, wide = self.street.crossing
        return [(-END, x - wide), (x + wide, END)]

    def clear(self, x: float, y: float, room: float = 0) -> bool:
        """Whether the camera is far enough."""
        return float(np.hypot(x, y - self.eye[1])) > _FREE + room

    def driveable(self, x: float, y: float) -> bool:
        """Whether no vehicle stands there."""
        return all(abs(x - at) > long + 1.1 or abs(y - off) > 1.5 for at, off, long in self.driven)

    def slab(
        self, x: tuple[float, float], y: tuple[float, float], label: int, skin: int, *inks: Field, step: float = STEP
    ) -> None:
        """Flat ground, as high as a walk."""
        half = ((x[1] - x[0]) / 2, (y[1] - y[0]) / 2, step / 2)
        dice = (0.3, 0.5, 0.5, 0.5)
        self.site.stand(sum(x) / 2, sum(y) / 2).put(BOX, (0, 0, 0), half, label, skin, *inks, dice=dice)

    def beside(self, x: float) -> bool:
        """Whether there is a walk at x."""
        return self.street.crossing is None or abs(x - self.street.crossing[0]) > self.street.crossing[1] + 1.2
