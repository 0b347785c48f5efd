"""What stands in a street: vehicles, people, trees, poles, signs and lights, each of a few solids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.data.standin.fields import Field, Rng
from orchestrator.data.standin.town import place
from orchestrator.data.standin.town.solids import BOX, DRUM, EGG, Solid, Triple

# Of walls, cars, clothes and boards alike: what a thing is is not told by its colour.
_PAINTS = np.array(
    [
        (205, 203, 198), (158, 156, 152), (112, 112, 114), (66, 68, 72), (34, 35, 39), (190, 170, 138), (160, 120, 84),
        (148, 78, 60), (112, 50, 44), (222, 208, 172), (120, 130, 142), (78, 92, 120), (96, 110, 84), (176, 150, 110),
        (226, 226, 222), (140, 126, 116),
    ],
    np.float32,
)  # fmt: skip
_BRIGHT = np.array([(170, 34, 34), (36, 72, 150), (216, 176, 50), (44, 120, 74), (206, 104, 40)], np.float32)


def paint(rng: Rng, bright: float = 0.1) -> Field:
    """A colour of anything made by people; ``bright``: how often a strong one."""
    table = _BRIGHT if rng.random() < bright else _PAINTS
    chosen = table[rng.integers(len(table))] * rng.uniform(0.85, 1.12) * rng.uniform(0.95, 1.05, 3)
    return np.asarray(chosen, dtype=np.float32).clip(8, 245)


def leaf(rng: Rng) -> Field:
    """A green, now and then a brown or a red one."""
    tint = (78, 98, 46) if rng.random() < 0.88 else (116, 108, 50)
    return np.asarray(np.array(tint) * rng.uniform(0.65, 1.25) * rng.uniform(0.88, 1.12, 3), dtype=np.float32)


class Site:
    """Solids being put down; ``ground`` is how high the place is on which things stand."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.solids: list[Solid] = []
        self.x = self.y = self.ground = self.yaw = 0.0

    def stand(self, x: float, y: float, ground: float = 0, yaw: float = 0) -> Site:
        """Where the next solids are put, until told otherwise."""
        self.x, self.y, self.ground, self.yaw = x, y, ground, yaw
        return self

    def put(
        self,
        kind: int,
        offset: Triple,
        half: Sequence[float],
        label: int,
        skin: int,
        ink: Field,
        accent: Field | None = None,
        *,
        turn: float = 0,
        dice: Sequence[float] | None = None,
        taper: tuple[float, float] = (0, 0),
        rough: float = 0,
    ) -> None:
        """A solid whose FOOT is ``offset`` away, along the site's own axes."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        dx, dy, dz = offset
        middle = (self.x + c * dx - s * dy, self.y + s * dx + c * dy, self.ground + dz + half[2])
        drawn = tuple(dice) if dice is not None else tuple(self.rng.random(4).tolist())
        accent = ink if accent is None else accent
        sizes = (half[0], half[1], half[2])
        self.solids.append(Solid(kind, middle, sizes, label, skin, ink, accent, drawn, self.yaw + turn, taper, rough))


def _wheels(site: Site, label: int, at: Sequence[float], wide: float, size: float) -> None:
    black = np.array([24, 24, 26], np.float32)
    for x in at:
        for side in (-1, 1):
            site.put(
                EGG, (x, side * (wide - 0.06), 0), (size, 0.14, size), label, place.PLAIN, black, dice=(0, 0, 0, 0)
            )


def car(site: Site) -> None:
    """A saloon, an estate, or a van."""
    rng, label = site.rng, place.CAR
    ink, dice = paint(rng, 0.25), rng.random(4).tolist()
    long, wide, van = rng.uniform(1.85, 2.35), rng.uniform(0.82, 0.94), rng.random() < 0.2
    waist = rng.uniform(0.72, 0.9) + 0.25 * van
    high = rng.uniform(0.5, 0.62) + 0.4 * van
    body = (long, wide, (waist - 0.22) / 2)
    site.put(BOX, (0, 0, 0.22), body, label, place.BODY, ink, dice=dice, taper=(0.12, 0.06))
    back = -0.1 * long if not van and rng.random() < 0.6 else -0.2 * long
    cabin = ((0.58 if back > -0.15 * long else 0.76) * long, wide - 0.06, high / 2)
    lean = (rng.uniform(0.25, 0.5), 0.16)
    site.put(BOX, (back, 0, waist), cabin, label, place.CABIN, ink, dice=dice, taper=lean)
    _wheels(site, label, (-0.62 * long, 0.62 * long), wide, rng.uniform(0.31, 0.36))


def truck(site: Site) -> None:
    """A cab and a load."""
    rng, label = site.rng, place.TRUCK
    ink, load = paint(rng, 0.4), paint(rng, 0.3)
    long, wide, high = rng.uniform(2.0, 3.8), rng.uniform(1.05, 1.25), rng.uniform(0.9, 1.35)
    cab = (0.95, wide - 0.04, rng.uniform(0.95, 1.2))
    site.put(BOX, (long + 1.0, 0, 0.4), cab, label, place.COACH, ink, paint(rng), taper=(0.15, 0.05))
    dark = np.array([40, 40, 42], np.float32)
    site.put(BOX, (0.4, 0, 0.45), (long + 0.8, 0.5 * wide, 0.2), label, place.PLAIN, dark, dice=(0, 0, 0, 0))
    if rng.random() < 0.25:  # an open load
        high *= 0.4
    site.put(BOX, (0, 0, 0.85), (long, wide, high), label, place.PLAIN, load, paint(rng, 0.6))
    _wheels(site, label, (-0.7 * long, long + 0.9), wide, 0.46)


def bus(site: Site) -> None:
    """A long box with windows all round."""
    rng, label = site.rng, place.BUS
    long, wide, high = rng.uniform(4.6, 6.2), 1.26, rng.uniform(1.3, 1.4) + 0.5 * (rng.random() < 0.15)
    body = (long, wide, high)
    site.put(BOX, (0, 0, 0.32), body, label, place.COACH, paint(rng, 0.55), paint(rng, 0.5), taper=(0.1, 0.05))
    _wheels(site, label, (-0.6 * long, 0.62 * long), wide, 0.48)


def person(site: Site) -> None:
    """Someone who stands or walks."""
    rng, label = site.rng, place.PERSON
    tall = rng.uniform(1.5, 1.9) if rng.random() < 0.88 else rng.uniform(1.0, 1.4)
    coat, trousers = paint(rng, 0.3), paint(rng) * 0.8
    flesh = np.array([205, 160, 132], np.float32) * np.float32(rng.uniform(0.4, 1.1))
    stride, broad, still = rng.uniform(0, 0.2) * tall, rng.uniform(0.115, 0.14) * tall, (0.0, 0.0, 0.0, 0.0)
    for side in (-1, 1):
        leg = (side * stride * 0.6, side * 0.05 * tall, 0)
        site.put(DRUM, leg, (0.055 * tall, 0.05 * tall, 0.25 * tall), label, place.PLAIN, trousers, dice=still)
        arm = (-side * stride * 0.5, side * broad * 1.05, 0.42 * tall)
        site.put(EGG, arm, (0.045 * tall, 0.035 * tall, 0.2 * tall), label, place.PLAIN, coat * 0.85, dice=still)
    long = rng.uniform(0, 0.14) * tall
    trunk = (0.085 * tall, broad, (0.4 * tall + long) / 2)
    site.put(EGG, (0, 0, 0.44 * tall - long), trunk, label, place.PLAIN, coat, dice=still)
    head = (0.06 * tall, 0.052 * tall, 0.072 * tall)
    site.put(EGG, (0, 0, 0.85 * tall), head, label, place.PLAIN, flesh, dice=still)
    hair = (0.062 * tall, 0.056 * tall, 0.055 * tall)
    site.put(EGG, (-0.015 * tall, 0, 0.9 * tall), hair, label, place.PLAIN, paint(rng) * 0.45, dice=still)


def _cycle(site: Site, label: int) -> None:
    """Two wheels, a frame, a saddle and a bar; a motorcycle is heavier."""
    rng, ink, black = site.rng, paint(site.rng, 0.4), np.array([28, 28, 30], np.float32)
    heavy = label == place.MOTORCYCLE
    seen = np.asarray(np.ones(3) * rng.uniform(70, 130), dtype=np.float32)
    size, thick = (0.31, 0.09) if heavy else (0.34, 0.035)
    for x in (-0.55, 0.55):
        site.put(EGG, (x, 0, 0), (size, thick, size), label, place.SPOKES, black, black if heavy else seen)
    if heavy:
        site.put(EGG, (0.05, 0, 0.3), (0.52, 0.17, 0.24), label, place.PLAIN, ink)
        site.put(BOX, (-0.35, 0, 0.66), (0.4, 0.13, 0.07), label, place.PLAIN, black)
    else:
        for x, low, long, high in ((0.0, 0.3, 0.36, 0.05), (0.0, 0.68, 0.34, 0.035)):
            site.put(BOX, (x, 0, low), (long, 0.035, high), label, place.PLAIN, ink)
        for x in (-0.22, 0.36):
            site.put(DRUM, (x, 0, 0.3), (0.04, 0.035, 0.29), label, place.PLAIN, ink)
        site.put(BOX, (-0.24, 0, 0.86), (0.14, 0.07, 0.04), label, place.PLAIN, black)
    site.put(BOX, (0.42, 0, 0.92), (0.05, 0.3, 0.045), label, place.PLAIN, black)


def bicycle(site: Site) -> None:
    """One that is parked."""
    _cycle(site, place.BICYCLE)


def motorcycle(site: Site) -> None:
    """One that is parked."""
    _cycle(site, place.MOTORCYCLE)


def rider(site: Site) -> None:
    """Someone on a bicycle, or on a motorcycle."""
    rng, label = site.rng, place.RIDER
    _cycle(site, place.BICYCLE if rng.random() < 0.6 else place.MOTORCYCLE)
    coat, trousers, still = paint(rng, 0.4), paint(rng) * 0.8, (0.0, 0.0, 0.0, 0.0)
    for side, foot in ((-1, 0.15), (1, 0.4)):
        leg = (-0.02, side * 0.13, foot)
        site.put(EGG, leg, (0.13, 0.075, 0.33), label, place.PLAIN, trousers, dice=still)
        arm = (0.2, side * 0.22, 0.95)
        site.put(EGG, arm, (0.24, 0.055, 0.1), label, place.PLAIN, coat * 0.85, dice=still)
    site.put(EGG, (-0.08, 0, 0.82), (0.17, 0.22, 0.35), label, place.PLAIN, coat, dice=still)
    site.put(EGG, (0.02, 0, 1.46), (0.11, 0.095, 0.14), label, place.PLAIN, paint(rng, 0.4), dice=still)


def tree(site: Site, tall: float) -> None:
    """A trunk and a crown of several clumps."""
    rng, label = site.rng, place.GREEN
    bark = np.array([84, 70, 56], np.float32) * np.float32(rng.uniform(0.7, 1.3))
    ink = leaf(rng)
    light, rough = ink * rng.uniform(1.2, 1.5), rng.uniform(0.5, 0.9)
    stem, thick = tall * rng.uniform(0.28, 0.42), rng.uniform(0.1, 0.24)
    site.put(DRUM, (0, 0, 0), (thick, thick, 0.55 * (stem + 0.1 * tall)), label, place.LEAVES, bark, bark * 0.8)
    wide, slim = tall * rng.uniform(0.2, 0.36), rng.random() < 0.2
    for k in range(int(rng.integers(4, 8))):
        size = wide * rng.uniform(0.5, 0.85) * (0.55 if slim else 1)
        turn, off = rng.uniform(0, 2 * np.pi), wide * (0.0 if k == 0 else rng.uniform(0.3, 0.7)) * (0.3 if slim else 1)
        foot = stem + (tall - stem) * rng.uniform(0, 0.5)
        high = min(size * rng.uniform(0.7, 1.1) * (2 if slim else 1), (tall - foot) / 2 + 0.3)
        clump = (size, size * rng.uniform(0.8, 1.1), high)
        where = (off * np.cos(turn), off * np.sin(turn), foot)
        site.put(EGG, where, clump, label, place.LEAVES, ink, light, rough=rough)


def bush(site: Site, size: float) -> None:
    """Two or three clumps on the ground."""
    rng, ink = site.rng, leaf(site.rng)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(-0.6, 0.6, 2) * size
        half = np.array([size, size, size]) * rng.uniform(0.5, 1, 3)
        at = (x, y, -0.3 * half[2])
        site.put(EGG, at, half.tolist(), place.GREEN, place.LEAVES, ink, ink * 1.3, rough=rng.uniform(0.2, 0.6))


def _metal(rng: Rng) -> Field:
    return np.asarray(rng.choice([52, 92, 128, 165]) * rng.uniform(0.85, 1.1) * np.ones(3), dtype=np.float32)


def _pole(site: Site, tall: float, thick: float, ink: Field) -> None:
    site.put(DRUM, (0, 0, 0), (thick, thick, tall / 2), place.POLE, place.PLAIN, ink, dice=(0, 0, 0, 0))


def lamp(site: Site) -> None:
    """A street lamp whose arm reaches along the site's own x, or a bare post."""
    rng, ink = site.rng, _metal(site.rng)
    tall, arm = rng.uniform(4.5, 8.5), rng.uniform(0.5, 1.4)
    _pole(site, tall, rng.uniform(0.08, 0.14), ink)
    if rng.random() < 0.8:
        site.put(BOX, (arm, 0, tall - 0.1), (arm, 0.06, 0.06), place.POLE, place.PLAIN, ink)
        site.put(BOX, (2 * arm, 0, tall - 0.22), (0.38, 0.17, 0.1), place.POLE, place.PLAIN, ink * 0.9)


def sign(site: Site) -> None:
    """One or two traffic signs on a pole, that face the site's own x."""
    rng = site.rng
    tall, size = rng.uniform(2.3, 3.2), rng.uniform(0.34, 0.5)
    _pole(site, tall, rng.uniform(0.045, 0.08), _metal(rng))
    for level in range(1 + (rng.random() < 0.3)):
        foot = tall - 2 * size * (level + 1)
        white, strong = np.array([232, 232, 228], np.float32), paint(rng, 0.85)
        ink, rim = (white, strong) if rng.random() < 0.5 else (strong, white)
        shape = rng.random()
        kind = EGG if shape < 0.4 else BOX
        taper = (0.0, 1.8 * size) if 0.4 <= shape < 0.6 else (0.0, 0.0)
        half = (0.04, size * (rng.uniform(0.8, 1.5) if shape >= 0.6 else 1), size * 0.96)
        site.put(kind, (0.1, 0, foot), half, place.SIGN, place.BOARD, ink, rim, taper=taper)


def light(site: Site, reach: float = 0) -> None:
    """A traffic light that faces the site's own x; one more hangs over the road, ``reach`` to its right."""
    rng, ink = site.rng, _metal(site.rng)
    tall = rng.uniform(2.9, 3.6) if not reach else rng.uniform(5.3, 6.2)
    _pole(site, tall, rng.uniform(0.07, 0.11), ink)
    dark = np.asarray(rng.choice([26, 40, 70]) * np.ones(3), dtype=np.float32)
    dice, half = rng.random(4).tolist(), (0.16, rng.uniform(0.19, 0.24), rng.uniform(0.48, 0.6))
    site.put(BOX, (0.22, 0, 2.35), half, place.LIGHT, place.LAMPS, dark, dice=dice)
    if reach:
        site.put(BOX, (0, reach / 2, tall - 0.15), (0.07, abs(reach) / 2, 0.07), place.POLE, place.PLAIN, ink)
        site.put(BOX, (0.22, reach, tall - 0.8), half, place.LIGHT, place.LAMPS, dark, dice=dice)
