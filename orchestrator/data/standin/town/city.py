"""A random street: what stands where. Cityscapes' classes, but for trains."""

from __future__ import annotations

import zlib

import numpy as np

from orchestrator.data.standin.fields import Rng, band, cloud
from orchestrator.data.standin.town import place, things
from orchestrator.data.standin.town.light import shadows
from orchestrator.data.standin.town.place import Place, Weather
from orchestrator.data.standin.town.plots import ground_and_houses
from orchestrator.data.standin.town.solids import GROUND, Solids
from orchestrator.data.standin.town.street_plan import STEP, Plan

_MAKERS = ((things.car, 2.4), (things.truck, 4.6), (things.bus, 6.4))  # and half of the room that they take


def build(seed: int, index: int) -> Place:
    """A street, the same for the same (seed, index)."""
    rng = np.random.default_rng([zlib.crc32(b"city"), seed, index])
    plan = Plan(rng)
    grey = rng.uniform(62, 130) * rng.uniform(0.95, 1.05, 3)
    dry = np.array([118, 104, 74]) * rng.uniform(0.8, 1.2)
    plan.site.put(
        GROUND, (0, 0, 0), (400, 400, 1e-3), place.ROAD, place.STREET, grey.astype(np.float32), dry.astype(np.float32)
    )
    ground_and_houses(plan)
    _furniture(plan)
    _traffic(plan)
    _people(plan)
    solids, weather = Solids(plan.site.solids), _weather(rng)
    noise = cloud(rng, (256, 256), 28, 1.6) + 0.7 * band(rng, (256, 256), 5)
    tile = np.clip(0.5 + 0.2 * noise, 0, 1).astype(np.float32)
    shade = shadows(solids, plan.eye, weather.sun)
    return Place(solids, plan.eye, plan.street, weather, tile, shade)


def _weather(rng: Rng) -> Weather:
    around, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.2)
    sun = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], np.float32)
    skies = [[(206, 218, 230), (110, 155, 215)], [(214, 216, 218), (182, 190, 200)], [(228, 214, 196), (140, 165, 205)]]
    kind = rng.integers(3)
    sky = (np.array(skies[kind]) * rng.uniform(0.85, 1.08)).astype(np.float32)
    strength = rng.uniform(0.08, 0.25) if kind == 1 else rng.uniform(0.35, 0.65)
    return Weather(sun, float(strength), sky, float(rng.uniform(0.3, 0.75)), float(rng.uniform(150, 600)))


def _furniture(plan: Plan) -> None:
    """Trees and lamps along the walks, signs, traffic lights at the crossing."""
    rng, street = plan.rng, plan.street
    for side in (-1, 1):
        edge = side * (street.half + 0.7)
        inward = -side * np.pi / 2
        planted = rng.random() < 0.6
        for every, kind in ((plan.kind.trees * rng.uniform(0.8, 1.4), "tree"), (rng.uniform(14, 30), "lamp")):
            if kind == "tree" and not planted:
                continue
            for x in np.arange(-70 + rng.uniform(0, every), 70, every).tolist():
                if plan.beside(x) and plan.clear(x, edge, 1.2):
                    site = plan.site.stand(x, edge, STEP, inward)
                    things.tree(site, rng.uniform(4.5, 8.5)) if kind == "tree" else things.lamp(site)
        for x in rng.uniform(-35, 35, int(rng.integers(3, 7))).tolist():
            if plan.beside(x) and plan.clear(x, edge, 0.8):
                yaw = rng.choice([0, np.pi]) + rng.normal(0, 0.2)
                things.sign(plan.site.stand(x, edge, STEP, yaw))
    if street.crossing is not None and rng.random() < 0.75:
        middle, wide = street.crossing
        for side in (-1, 1):
            for way in (-1, 1):
                x, y = middle + way * (wide + 0.7), side * (street.half + 0.6)
                if plan.clear(x, y, 0.5):
                    yaw = (np.pi if way > 0 else 0) + np.pi * (rng.random() < 0.5)
                    reach = rng.uniform(2.5, 4.5) * -side * np.cos(yaw) if rng.random() < 0.35 else 0
                    things.light(plan.site.stand(x, y, STEP, yaw), reach)
    elif street.zebras:
        x = street.zebras[0][0]
        for side in (-1, 1):
            things.light(plan.site.stand(x, side * (street.half + 0.6), STEP, np.pi * (rng.random() < 0.5)))


def _traffic(plan: Plan) -> None:
    """Rows that park at the kerbs, and lanes that drive."""
    rng, street = plan.rng, plan.street
    for side in (-1, 1):
        lanes = [(side * (street.half - 1.15), 7.0 / plan.kind.busy, 0.9, street.half > 4.4 and rng.random() < 0.75)]
        lanes.append(
            (side * (street.half - 3.4 if street.half > 5 else street.half * 0.5), 26 / plan.kind.busy, 0.7, True)
        )
        if street.half <= 5 and lanes[0][3]:
            lanes.pop()
        for y, gap, cars, used in lanes:
            x = -75.0 + rng.uniform(0, gap)
            while used and x < 75:
                maker, long = _MAKERS[0 if rng.random() < cars else int(rng.integers(1, 3))]
                x += long
                off = abs(y - plan.eye[1])
                blind = abs(x) < long + (2.2 if off < 2.3 else 0.3) and off < 3.1
                if plan.beside(x) and not blind:
                    yaw = (0 if side > 0 else np.pi) + np.pi * (rng.random() < 0.15) + rng.normal(0, 0.03)
                    maker(plan.site.stand(x, y + rng.normal(0, 0.08), 0, yaw))
                    plan.driven.append((x, y, long))
                x += long + rng.exponential(gap) * 0.6
    if street.crossing is not None:
        for _ in range(int(rng.integers(0, 4))):
            x, y = street.crossing[0] + rng.choice([-1, 1]) * street.crossing[1] * 0.5, rng.uniform(-45, 45)
            if plan.clear(x, y, 4.5) and abs(y) > street.half + 5:
                things.car(plan.site.stand(x, y, 0, np.pi / 2 * rng.choice([-1, 1])))


def _people(plan: Plan) -> None:
    rng, street = plan.rng, plan.street
    for _ in range(int(rng.poisson(17 * plan.kind.busy)) + 3):
        side = int(rng.choice([-1, 1]))
        x, walk = rng.normal(0, 13), plan.walks[side]
        y, ground = side * (street.half + rng.uniform(0.6, max(walk, 0.9))), STEP
        if street.zebras and rng.random() < 0.2:
            x0, x1, y0, y1, _ = street.zebras[rng.integers(len(street.zebras))]
            x, y, ground = rng.uniform(x0, x1), rng.uniform(y0, y1), 0.0
        elif not plan.beside(x):
            continue
        if plan.clear(x, y, 0.3):
            things.person(plan.site.stand(x, y, ground, rng.uniform(0, 2 * np.pi)))

    for _ in range(int(rng.poisson(7 * plan.kind.busy)) + 1):
        side, x = int(rng.choice([-1, 1])), rng.normal(0, 12)
        ridden = rng.random() < 0.5
        y = side * (street.half + (-rng.uniform(0.5, 3.2) if ridden else rng.uniform(0.7, plan.walks[side])))
        if plan.clear(x, y, 0.8) and (plan.driveable(x, y) if ridden else plan.beside(x)):
            yaw = (0 if side > 0 else np.pi) + rng.normal(0, 0.1) if ridden else rng.uniform(0, 2 * np.pi)
            maker = things.rider if ridden else (things.bicycle, things.motorcycle)[rng.random() < 0.5]
            maker(plan.site.stand(x, y, 0 if ridden else STEP, yaw))
