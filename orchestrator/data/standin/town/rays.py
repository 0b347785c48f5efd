"""Casting rays: which solid each pixel sees, and how far away.

A solid is only tested in the pixels that its bounding box can cover.
"""

from __future__ import annotations

import numpy as np

from orchestrator.data.standin.fields import Field
from orchestrator.data.standin.town.cameras import Camera
from orchestrator.data.standin.town.solids import BOX, DRUM, GROUND, NEAR, Ints, Solids

HORIZON = 400.0  # metres: the ground ends there

Directions = tuple[Field, Field, Field]


def cast(solids: Solids, eye: Field, camera: Camera, rays: Field, grain: Field) -> tuple[Ints, Field]:
    """The number of the solid that each pixel sees, -1 for the sky, and its distance; HxW each.

    Args:
        grain: a periodic tile in 0..1 that frays the outlines of what is rough.
    """
    index = np.full(camera.shape, -1, np.intp)
    depth = np.full(camera.shape, np.inf, np.float32)
    with np.errstate(all="ignore"):
        ground = eye[2] / -rays[2]
        below = (rays[2] < 0) & (ground < HORIZON)
        index[below], depth[below] = 0, ground[below]
        windows = camera.windows(solids, eye)
        near = solids.reach(eye)[0]
        x, y = solids.own(eye[0] - solids.centre[0], eye[1] - solids.centre[1])
        origins = np.stack([x, y, eye[2] - solids.centre[2]], 1)
        for k in np.argsort(near).tolist():
            top, low, left, right = windows[:, k].tolist()
            if top >= low or solids.kind[k] == GROUND:
                continue
            for first, last in ((left, min(right, camera.shape[1])), (0, right - camera.shape[1])):
                at = (slice(top, low), slice(first, last))
                if first < last and depth[at].max() > near[k]:
                    _test(solids, k, origins[k], rays[:, at[0], at[1]], depth[at], index[at], grain)
    return index, depth


def _test(solids: Solids, k: int, origin: Field, rays: Field, depth: Field, index: Ints, grain: Field) -> None:
    """Enter solid k where it is nearer than what is there."""
    x, y, z = rays
    if solids.sin[k]:
        x, y = solids.cos[k] * x + solids.sin[k] * y, solids.cos[k] * y - solids.sin[k] * x
    half = solids.half[:, k]
    if solids.kind[k] == BOX and solids.taper[:, k].any():
        far = _slanted(origin, (x, y, z), half, solids.taper[:, k])
    elif solids.kind[k] == BOX:
        far = _box(origin, (x, y, z), half)
    else:
        far = _round(origin, (x, y, z), half, float(solids.rough[k]), grain, solids.kind[k] == DRUM)
    nearer = (far > NEAR) & (far < depth)
    np.copyto(depth, far, where=nearer)
    np.copyto(index, k, where=nearer)


def _box(origin: Field, rays: Directions, half: Field) -> Field:
    """The distance to a box; infinite past it."""
    enter, leave = np.float32(-np.inf), np.float32(np.inf)
    for o, d, h in zip(origin, rays, half, strict=True):
        one, other = (-h - o) / d, (h - o) / d
        enter = np.maximum(enter, np.minimum(one, other))
        leave = np.minimum(leave, np.maximum(one, other))
    return np.where(enter <= leave, enter, np.float32(np.inf))


def _slanted(origin: Field, rays: Directions, half: Field, taper: Field) -> Field:
    """The distance to a box whose sides lean in."""
    lo, hi = (-half[2] - origin[2]) / rays[2], (half[2] - origin[2]) / rays[2]
    enter, leave = np.minimum(lo, hi), np.maximum(lo, hi)
    for axis in (0, 1):
        lean = taper[axis] / (2 * half[2])
        limit = half[axis] - lean * half[2]
        for sign in (-1, 1):  # inside: sign * x + lean * z <= limit
            room = limit - sign * origin[axis] - lean * origin[2]
            speed = sign * rays[axis] + lean * rays[2]
            met = room / speed
            enter = np.where(speed < 0, np.maximum(enter, met), enter)
            leave = np.where(speed > 0, np.minimum(leave, met), leave)
    return np.where(enter <= leave, enter, np.float32(np.inf))


def _round(origin: Field, rays: Directions, half: Field, rough: float, grain: Field, drum: bool) -> Field:
    """The distance to an ellipsoid, or to the side of a cylinder."""
    x, y, z = (d / h for d, h in zip(rays, half, strict=True))
    ox, oy, oz = origin / half
    a, b, c = x * x + y * y, x * ox + y * oy, ox * ox + oy * oy - 1
    if not drum:
        a, b, c = a + z * z, b + z * oz, c + oz * oz
    room = b * b - a * c
    if rough:  # nearer the middle than 1 - rough * grain, where it passes the middle
        passed = -b / a
        u = ((ox + passed * x) * half[0] * 11 + (oy + passed * y) * half[1] * 7).astype(np.int32) % grain.shape[1]
        v = ((oz + passed * z) * half[2] * 11 + 40 * half[0]).astype(np.int32) % grain.shape[0]
        room = np.where(room > rough * grain[v, u] * a, room, np.float32(-1))
    met = (-b - np.sqrt(room)) / a
    if drum:
        met = np.where(np.abs(oz + met * z) <= 1, met, np.float32(np.inf))
    return np.where(room >= 0, met, np.float32(np.inf))
