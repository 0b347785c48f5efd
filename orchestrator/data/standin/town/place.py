"""A street as it is drawn: its solids, its road, its light, and where it is seen from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.layouts.street import CITYSCAPES_CLASSES
from orchestrator.data.standin.fields import Field
from orchestrator.data.standin.town.solids import Solids

(
    ROAD,
    WALK,
    BUILDING,
    WALL,
    FENCE,
    POLE,
    LIGHT,
    SIGN,
    GREEN,
    TERRAIN,
    SKY,
    PERSON,
    RIDER,
    CAR,
    TRUCK,
    BUS,
    _,
    MOTORCYCLE,
    BICYCLE,
) = range(len(CITYSCAPES_CLASSES))

STREET, PAVING, GRASS, FACADE, PLAIN, LEAVES, BRICK, BARS, CABIN, BODY, COACH, BOARD, LAMPS, SPOKES = range(
    14
)  #: skins

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Street:
    """What the road is: along x, perhaps crossed along y."""

    half: float  #: of its width
    crossing: tuple[float, float] | None  #: x of its middle, half of its width
    zebras: tuple[tuple[float, float, float, float, int], ...]  #: x0, x1, y0, y1, and the axis across its stripes
    line: float  #: how bright its markings are
    grain: float  #: how uneven it is

    def on(self, x: Field, y: Field) -> Mask:
        """Whether a point of the ground is road."""
        road = np.abs(y) <= self.half
        return road if self.crossing is None else road | (np.abs(x - self.crossing[0]) <= self.crossing[1])

    def striped(self, x: Field, y: Field) -> tuple[Mask, Mask]:
        """Whether it belongs to a zebra crossing, and to one of its stripes."""
        inside, stripe = np.zeros(x.shape, bool), np.zeros(x.shape, bool)
        for x0, x1, y0, y1, axis in self.zebras:
            here = (x > x0) & (x < x1) & (y > y0) & (y < y1)
            inside |= here
            stripe |= here & ((((x, y)[axis] - (x0, y0)[axis]) % 1.1) < 0.55)
        return inside, stripe


@dataclass(frozen=True)
class Weather:
    """Light and air."""

    sun: Field  #: where it stands, of length 1
    strength: float  #: of its light, against that of the whole sky
    sky: Field  #: at the horizon and above, 2 x 3
    clouds: float  #: how much is covered: low is much
    haze: float  #: metres


@dataclass(frozen=True)
class Place:
    """A street, and the point from which it is seen."""

    solids: Solids
    eye: Field
    street: Street
    weather: Weather
    tile: Field  #: noise in 0..1, periodic
    shade: Field  #: of the ground around the eye: 1 is lit
