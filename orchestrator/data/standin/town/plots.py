"""What a street is lined with: walks, houses, gardens, walls, fences and hedges."""

from __future__ import annotations

import numpy as np

from orchestrator.data.standin.town import place, things
from orchestrator.data.standin.town.solids import BOX, EGG
from orchestrator.data.standin.town.street_plan import END, STEP, Plan
from orchestrator.data.standin.town.things import leaf, paint


def ground_and_houses(plan: Plan) -> None:
    rng, street = plan.rng, plan.street
    stone = (rng.uniform(85, 165) * rng.uniform(0.94, 1.06, 3)).astype(np.float32)
    kerb = (stone * rng.uniform(0.8, 1.35)).clip(50, 225)
    dry = np.array([128, 110, 80], np.float32)
    for side in (-1, 1):
        wide, verge = plan.walks[side], rng.random() < 0.9 - plan.kind.built * 0.75
        for start, end in plan.spans():
            plan.slab(
                (start, end), _sorted(side, street.half, street.half + wide), place.WALK, place.PAVING, stone, kerb
            )
            if verge and wide > 2.6:
                strip = _sorted(side, street.half + 0.3, street.half + 1.4)
                plan.slab(
                    (start + 3, end - 3), strip, place.TERRAIN, place.GRASS, leaf(rng) * 1.15, dry, step=STEP + 0.03
                )
            back = street.half + wide
            for x, edge in ((end, end < END), (start, start > -END)):
                if edge:  # the walk along the street that crosses
                    inner = x - plan.cross_walk if x == end else x + plan.cross_walk
                    plan.slab(_pair(inner, x), _sorted(side, back, END), place.WALK, place.PAVING, stone, kerb)
            first = start + plan.cross_walk if start > -END else start
            last = end - plan.cross_walk if end < END else end
            _lots(plan, side, first, last)
        if street.crossing is not None:
            _beyond(plan, side)
        _backdrop(plan, side)
    for way in (-1, 1):  # what closes the view
        for _ in range(5):
            x, y = way * (END + rng.uniform(0, 60)), rng.uniform(-60, 60)
            if rng.random() < 0.5:
                _house(plan, (x - 8, x + 8), (y - 12, y + 12), int(rng.integers(3, 9)))
            else:
                things.tree(plan.site.stand(x, y), rng.uniform(8, 16))


def _pair(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a < b else (b, a)


def _sorted(side: int, near: float, far: float) -> tuple[float, float]:
    """A range of y on one side of the street."""
    return _pair(side * near, side * far)


def _lots(plan: Plan, side: int, first: float, last: float) -> None:
    """Houses, gardens, walls and parks along one side."""
    rng, kind = plan.rng, plan.kind
    front = plan.street.half + plan.walks[side]
    x = first
    while x < last - 3:
        end = min(x + rng.uniform(9, 24), last)
        if last - end < 6:
            end = last
        deep = rng.uniform(12, 20)
        built = rng.random() < kind.built
        setback = rng.uniform(0, kind.setback) if built else deep
        green = leaf(rng) * 1.15
        paved = setback < 1.2 or rng.random() < 0.25
        stone = (paint(rng, 0) * 0.8, paint(rng, 0)) if paved else (green, np.array([128, 110, 80], np.float32))
        ground = (place.WALK, place.PAVING) if paved else (place.TERRAIN, place.GRASS)
        plan.slab((x, end), _sorted(side, front, front + deep + 25), *ground, *stone)
        if built:
            depth = _sorted(side, front + setback, front + setback + deep)
            narrow = rng.uniform(0, 3) if rng.random() < 0.3 else 0
            _house(plan, (x, end - narrow), depth, int(rng.integers(kind.storeys[0], kind.storeys[1] + 1)))
        if setback > 1.5:
            _garden(plan, side, x, end, front, min(setback, 9))
            _border(plan, side, x, end, front)
        x = end


def _beyond(plan: Plan, side: int) -> None:
    """Houses and trees along the street that crosses, past those of the corner."""
    assert plan.street.crossing is not None
    rng, (x, wide) = plan.rng, plan.street.crossing
    for hand in (-1, 1):
        y = plan.street.half + plan.walks[side] + 24
        near = x + hand * (wide + plan.cross_walk)
        while y < 95:
            long = rng.uniform(10, 22)
            if rng.random() < 0.7:
                _house(plan, _pair(near, near + hand * 12), _sorted(side, y, y + long), int(rng.integers(1, 7)))
            elif plan.clear(near + hand * 3, side * y, 4):
                things.tree(plan.site.stand(near + hand * 3, side * (y + 3), STEP), rng.uniform(5, 10))
            y += long


def _backdrop(plan: Plan, side: int) -> None:
    """What is seen behind gaps in the row: far houses and trees."""
    rng, crossing = plan.rng, plan.street.crossing
    for x in np.arange(-100 + rng.uniform(0, 9), 100, 10).tolist():
        y = side * (plan.street.half + rng.uniform(55, 80))
        if crossing is not None and abs(x - crossing[0]) < crossing[1] + 14:
            continue
        if rng.random() < 0.45:
            _house(plan, (x - rng.uniform(4, 9), x + rng.uniform(4, 9)), (y - 6, y + 6), int(rng.integers(1, 6)))
        else:
            ink, wide = leaf(rng), rng.uniform(4, 9)
            half = (wide, wide, rng.uniform(2.5, 6))
            plan.site.stand(x, y).put(EGG, (0, 0, -1), half, place.GREEN, place.LEAVES, ink, ink * 1.3, rough=0.5)


def _house(plan: Plan, x: tuple[float, float], y: tuple[float, float], storeys: int) -> None:
    rng, site = plan.rng, plan.site
    ink, accent = paint(rng, 0.05), paint(rng, 0.35)
    ink = ink + rng.uniform(0, 0.5) * (ink.mean() - ink)  # houses are seldom as bright as cars
    half = ((x[1] - x[0]) / 2, (y[1] - y[0]) / 2, storeys * rng.uniform(1.45, 1.7) + 0.3)
    site.stand(sum(x) / 2, sum(y) / 2).put(BOX, (0, 0, 0), half, place.BUILDING, place.FACADE, ink, accent)
    if storeys < 6 and rng.random() < 0.7:
        tiles = np.array([(118, 62, 48), (82, 76, 74), (62, 60, 64), (140, 92, 70)], np.float32)[rng.integers(4)]
        high, lean = rng.uniform(0.8, 2.2), min(half[0], half[1]) * 0.9
        roof = (half[0] + 0.3, half[1] + 0.3, high)
        along = (rng.choice([0.1, lean]), lean)
        site.put(BOX, (0, 0, 2 * half[2]), roof, place.BUILDING, place.BRICK, tiles, tiles * 0.9, taper=along)
    elif rng.random() < 0.5:
        top = (half[0] * 0.4, half[1] * 0.4, rng.uniform(0.5, 1.5))
        site.put(BOX, (0, 0, 2 * half[2]), top, place.BUILDING, place.PLAIN, paint(rng, 0))


def _border(plan: Plan, side: int, x: float, end: float, front: float) -> None:
    """What parts a lot from the walk: a wall, a fence, a hedge, or nothing."""
    rng, site, choice = plan.rng, plan.site, plan.rng.random()
    if choice > 0.78:
        return
    long, gate = (end - x) / 2, rng.uniform(0, 2.5) if rng.random() < 0.5 else 0
    site.stand((x + end) / 2 + gate / 2, side * (front + 0.35), STEP)
    long -= gate / 2
    if choice < 0.3:
        half = (long, 0.15, rng.uniform(0.4, 1.2))
        site.put(BOX, (0, 0, 0), half, place.WALL, place.BRICK, paint(rng, 0.03), paint(rng, 0))
    elif choice < 0.56:
        half = (long, 0.04, rng.uniform(0.4, 1.0))
        site.put(BOX, (0, 0, 0), half, place.FENCE, place.BARS, paint(rng, 0.1), leaf(rng) * 0.9)
    else:
        ink = leaf(rng)
        half = (long, rng.uniform(0.25, 0.5), rng.uniform(0.4, 1.0))
        site.put(BOX, (0, 0, 0), half, place.GREEN, place.LEAVES, ink, ink * 1.3, taper=(0.1, 0.2))


def _garden(plan: Plan, side: int, x: float, end: float, front: float, deep: float) -> None:
    rng = plan.rng
    for _ in range(int((end - x) * deep / 22) + 1):
        at, off = rng.uniform(x + 1, end - 1), side * (front + rng.uniform(1, max(deep - 0.5, 1.2)))
        site = plan.site.stand(at, off, STEP)
        if rng.random() < 0.5 and plan.clear(at, off, 2) and deep > 3:
            things.tree(site, rng.uniform(3.5, 10))
        elif plan.clear(at, off, 1):
            things.bush(site, rng.uniform(0.5, 1.1))
