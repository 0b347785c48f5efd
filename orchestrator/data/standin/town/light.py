"""Rendering a street: what a camera sees in the light, behind haze, under a sky."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from orchestrator.data.standin.fields import Field, sample, smooth
from orchestrator.data.standin.town.cameras import Camera
from orchestrator.data.standin.town.place import PAVING, SKY, TERRAIN, Mask, Place
from orchestrator.data.standin.town.rays import cast
from orchestrator.data.standin.town.skins import SKINS, Hits, kerb_of
from orchestrator.data.standin.town.solids import BOX, DRUM, EGG, FEET, GROUND, Ints, Solids

_MAP, _METRE = 384, 4  # the shadows on the ground: so many pixels, so many of them a metre


@dataclass(frozen=True)
class View:
    """A picture before it is photographed, and what it shows; ``kerb`` and ``zebra`` are parts of walks and road."""

    image: Field
    labels: NDArray[np.uint8]
    kerb: Mask
    zebra: Mask


def render(place: Place, camera: Camera) -> View:
    """What a camera at the place's eye sees."""
    rays = camera.directions()
    index, depth = cast(place.solids, place.eye, camera, rays, place.tile)
    flat, seen = rays.reshape(3, -1), index.ravel() >= 0
    image = _sky(place, flat)
    labels = np.where(seen, place.solids.label[index.ravel()], SKY).astype(np.uint8)
    kerb, zebra = np.zeros((2, index.size), bool)
    of, far, ray = index.ravel()[seen], depth.ravel()[seen], flat[:, seen]
    hits, normal = _met(place, of, far, ray, camera.pixel)
    paint = np.empty((3, len(of)), np.float32)
    skins = place.solids.skin[of]
    for skin in np.unique(skins).tolist():
        where = skins == skin
        paint[:, where] = SKINS[skin](hits.chosen(where), place)
    ground = hits.of == 0
    road = place.street.on(hits.at[0], hits.at[1])
    inner = labels[seen]
    inner[ground & ~road] = TERRAIN
    labels[seen] = inner
    kerb[seen] = (skins == PAVING) & kerb_of(hits, place)
    zebra[seen] = ground & place.street.striped(hits.at[0], hits.at[1])[0]
    image[:, seen] = _lit(place, paint, hits, normal, far, image[:, seen])
    shape = camera.shape
    return View(image.T.reshape(*shape, 3), labels.reshape(shape), kerb.reshape(shape), zebra.reshape(shape))


def _met(place: Place, of: Ints, far: Field, ray: Field, pixel: float) -> tuple[Hits, Field]:
    """Where the rays end, and the directions that the surfaces face there."""
    solids = place.solids
    at = place.eye[:, None] + far * ray
    off = at - solids.centre[:, of]
    own = np.stack([*solids.own(off[0], off[1], of), off[2]])
    half, kind = solids.half[:, of], solids.kind[of]
    taper = solids.taper[:, of] * ((own[2] / half[2] + 1) / 2)
    part = own / half
    part[:2] = own[:2] / np.maximum(half[:2] - taper, 1e-3)
    face = np.abs(part).argmax(0)
    face[kind == GROUND] = 2
    out = np.zeros_like(own)
    np.put_along_axis(out, face[None], np.sign(np.take_along_axis(part, face[None], 0)), 0)
    out[2] += np.where((kind == BOX) & (face < 2), np.take_along_axis(solids.taper[:, of], face[None] % 2, 0)[0], 0) / (
        2 * half[2]
    )
    out = np.where(kind == GROUND, np.array([[0], [0], [1]], np.float32), out)
    curved = own / half**2
    curved[2] *= kind == EGG
    out = np.where((kind == EGG) | (kind == DRUM), curved, out)
    out /= np.sqrt((out * out).sum(0)) + 1e-9
    c, s = solids.cos[of], solids.sin[of]
    normal = np.stack([c * out[0] - s * out[1], s * out[0] + c * out[1], out[2]])
    slant = np.maximum(np.abs((normal * ray).sum(0)), 0.08)
    return Hits(of, at, own, face, far * np.float32(pixel) / slant), normal


def _lit(place: Place, paint: Field, hits: Hits, normal: Field, far: Field, sky: Field) -> Field:
    """Paint in the light, behind haze."""
    weather = place.weather
    toward = np.clip((normal * weather.sun[:, None]).sum(0), 0, 1)
    flat = (normal[2] > 0.9) & (hits.at[2] < 0.3)
    y, x = ((hits.at[axis, flat] - place.eye[axis]) * _METRE + _MAP / 2 for axis in (1, 0))
    lit = sample(place.shade, np.clip(y, 0, _MAP - 2), np.clip(x, 0, _MAP - 2))
    toward[flat] *= lit
    open_sky = 0.72 + 0.28 * normal[2]
    open_sky[flat] *= 0.55 + 0.45 * lit
    open_sky *= 0.78 + 0.22 * np.clip(hits.at[2] / 1.5, 0, 1) + 0.22 * flat
    colours = paint * ((1.08 - 0.6 * weather.strength) * open_sky + 1.1 * weather.strength * toward)
    veil = 1 - np.exp(-far / weather.haze)
    return np.asarray(colours + veil * (weather.sky[0][:, None] * 0.95 - colours), dtype=np.float32)


def _sky(place: Place, ray: Field) -> Field:
    up = np.clip(ray[2], 0, 1)
    low, high = place.weather.sky[:, :, None]
    colours = low + smooth(up, 0, 0.75) * (high - low)
    y, x = (ray[axis] / (up + 0.25) for axis in (1, 0))
    over = 0.7 * sample(place.tile, 14 * y, 14 * x) + 0.3 * sample(place.tile, 45 * y, 45 * x)
    cover = smooth(over, place.weather.clouds, place.weather.clouds + 0.35) * smooth(up, 0.02, 0.2)
    return np.asarray(colours + 0.8 * cover * (238 - colours), dtype=np.float32)


def shadows(solids: Solids, eye: Field, sun: Field) -> Field:
    """Where the sun's light reaches the ground around a point: 1 is lit."""
    points = solids.corners(0.85)
    fall = points[2] / max(float(sun[2]), 0.25)
    x, y = ((points[a] - sun[a] * fall - eye[a]) * _METRE + _MAP / 2 for a in (0, 1))
    sheet = Image.new("L", (_MAP, _MAP), 255)
    pen = ImageDraw.Draw(sheet)
    tall = solids.centre[2] + solids.half[2] > 0.3
    near = (x.max(1) > 0) & (x.min(1) < _MAP) & (y.max(1) > 0) & (y.min(1) < _MAP) & tall
    feet = list(FEET)
    for k in np.flatnonzero(near).tolist():
        spots = list(zip(x[k].tolist(), y[k].tolist(), strict=True))
        ring = [*feet, feet[0]]
        pen.polygon([spots[i] for i in feet], fill=0)
        pen.polygon([spots[i + 1] for i in feet], fill=0)
        for i, j in pairwise(ring):
            pen.polygon([spots[i], spots[j], spots[j + 1], spots[i + 1]], fill=0)
    return np.asarray(sheet.filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float32) / np.float32(255)
