"""How the solids of a street are painted: of pixels, their places on the solids, to colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orchestrator.data.standin.fields import Field, sample, smooth
from orchestrator.data.standin.town.place import Mask, Place
from orchestrator.data.standin.town.solids import EGG, Ints

_KERB_WIDE = 0.22  # metres

_GLASS = np.array([[40], [47], [56]], np.float32)


@dataclass(frozen=True)
class Hits:
    """Pixels that show solids: number, place (3 x n), place in the solid's axes, which of these faces out, size."""

    of: Ints
    at: Field
    own: Field
    face: Ints
    blur: Field  #: metres that a pixel covers

    def chosen(self, where: Mask) -> Hits:
        return Hits(self.of[where], self.at[:, where], self.own[:, where], self.face[where], self.blur[where])


def _noise(place: Place, u: Field, v: Field) -> Field:
    """The tile at its nearest pixel."""
    rows, columns = place.tile.shape
    return place.tile[np.floor(v).astype(np.int32) % rows, np.floor(u).astype(np.int32) % columns]


def _hash(*numbers: Field) -> Field:
    """Something in 0..1 that looks drawn at random."""
    mixed = sum(np.float32(k) * n for k, n in zip((12.9898, 78.233, 37.719), numbers, strict=False))
    return np.asarray(np.abs(np.sin(mixed) * 437.585) % 1, dtype=np.float32)


def _fine(hits: Hits, size: Field | float) -> Field:
    """How much of a pattern of that size is still seen, 1 to 0."""
    return np.asarray(1 / (1 + (1.5 * hits.blur / size) ** 4), dtype=np.float32)


def _mix(one: Field, other: Field, share: Field) -> Field:
    return np.asarray(one + share * (other - one), dtype=np.float32)


def _inks(hits: Hits, place: Place) -> tuple[Field, Field, Field]:
    solids = place.solids
    return solids.ink[:, hits.of], solids.accent[:, hits.of], solids.dice[:, hits.of]


def _along(hits: Hits, place: Place) -> tuple[Field, Field, Field]:
    """On a face: metres from its left edge, metres from its foot, and how long it is."""
    half = place.solids.half[:, hits.of]
    side = np.where(hits.face == 0, half[1], half[0])
    u = np.where(hits.face == 0, hits.own[1], hits.own[0]) + side
    return u, hits.own[2] + half[2], 2 * side


def _grass(hits: Hits, place: Place) -> Field:
    ink, accent, _ = _inks(hits, place)
    x, y = hits.at[:2]
    bare = smooth(sample(place.tile, y * 9, x * 9), 0.45, 0.75)
    blades = _noise(place, x * 60, y * 60) - 0.5
    return _mix(ink, accent, bare) * (1 + 0.7 * blades * _fine(hits, 0.15))


def _street(hits: Hits, place: Place) -> Field:
    street, (x, y) = place.street, hits.at[:2]
    ink, accent, _ = _inks(hits, place)
    wide = sample(place.tile, y * 11, x * 5) - 0.5
    fine = _noise(place, x * 70, y * 70) - 0.5
    paint = ink * (1 + street.grain * (0.8 * wide + 0.7 * fine * _fine(hits, 0.12)))
    crossed = np.zeros(len(x), bool)
    if street.crossing is not None:
        crossed = np.abs(x - street.crossing[0]) < street.crossing[1] + 4
    lines = (np.abs(y) < 0.1) & ((x % 6) < 3.2) | (np.abs(np.abs(y) - street.half + 0.35) < 0.07)
    lines &= ~crossed
    if street.crossing is not None:
        lines |= (np.abs(x - street.crossing[0]) < 0.1) & ((y % 6) < 3) & (np.abs(y) > street.half + 4)
        lines |= (np.abs(np.abs(x - street.crossing[0]) - street.crossing[1] - 4.4) < 0.2) & (np.abs(y) < street.half)
    lines |= street.striped(x, y)[1]
    worn = np.asarray(np.clip(1.2 - 0.7 * fine, 0, 1) * _fine(hits, 0.6), dtype=np.float32)
    paint = np.where(lines, _mix(np.asarray(paint, dtype=np.float32), np.full_like(paint, street.line), worn), paint)
    beside = accent * (0.75 + 0.5 * _noise(place, x * 30, y * 30))
    return np.where(street.on(x, y), paint, beside)


def kerb_of(hits: Hits, place: Place) -> Mask:
    """The edge of a walk, where it borders a road."""
    x, y, z = hits.at
    reach = np.float32(_KERB_WIDE)
    near = [place.street.on(x + dx, y + dy) for dx, dy in ((reach, 0), (-reach, 0), (0, reach), (0, -reach))]
    return np.logical_or.reduce(near) | ((hits.face < 2) & (z > 0))


def _paving(hits: Hits, place: Place) -> Field:
    ink, accent, dice = _inks(hits, place)
    x, y = hits.at[:2]
    size = 0.5 + 1.5 * dice[0]
    i, j = np.floor(x / size), np.floor(y / size)
    seam = (x / size - i < 0.08) | (y / size - j < 0.08)
    tone = 1 + (0.16 * (_hash(i, j) - 0.5) - 0.22 * seam) * _fine(hits, size)
    tone += 0.25 * (sample(place.tile, y * 14, x * 14) - 0.5)
    kerb = kerb_of(hits, place)
    stone = accent * (1 - 0.2 * (((x + y) % 1.0) < 0.06) * _fine(hits, 0.7))
    return np.where(kerb, stone, ink * tone)


def _facade(hits: Hits, place: Place) -> Field:
    ink, accent, dice = _inks(hits, place)
    u, v, long = _along(hits, place)
    wide, high = 1.5 + 2.2 * dice[0], 2.8 + 0.9 * dice[1]
    wide = long / np.maximum(np.round(long / wide), 1)
    i, j = np.floor(u / wide), np.floor(v / high)
    fu, fv = u / wide - i, v / high - j
    shop = (j == 0) & (dice[3] > 0.35)
    pane = (np.abs(fu - 0.5) < 0.17 + 0.22 * dice[2]) & (np.abs(fv - 0.56) < 0.2 + 0.12 * ((dice[3] * 7) % 1))
    pane = np.where(shop, (np.abs(fu - 0.5) < 0.43) & (np.abs(fv - 0.42) < 0.33), pane)
    inner = np.where(shop, True, (np.abs(fu - 0.5) < 0.12 + 0.22 * dice[2]) & (np.abs(fu - 0.5) > 0.02))
    glass = np.array([[58], [68], [80]], np.float32) * (0.45 + 1.3 * _hash(i, j, hits.of.astype(np.float32) % 97))
    glass = glass * (0.8 + 0.4 * (v / high - j))
    rows = (v * 3.2) % 1
    brick = 1 - 0.16 * (rows < 0.22) * _fine(hits, 0.3) * (dice[2] > 0.5)
    wall = ink * (brick + 0.22 * (sample(place.tile, v * 6, (u + 50 * dice[0]) * 6) - 0.5))
    wall = wall * (1 - 0.14 * ((u < 0.35) | (u > long - 0.35)))
    wall = np.where((np.abs(fv) < 0.06) & (dice[1] > 0.5), wall * 0.82, wall)
    wall = np.where(shop & (fv > 0.8), accent * (0.75 + 0.5 * (_hash(np.floor(u * 2.2), j) > 0.5) * (fv < 0.92)), wall)
    seen = _fine(hits, wide)
    dull = _mix(
        wall, np.broadcast_to(np.array([[62], [70], [80]], np.float32), wall.shape), np.float32(0.3) * (1 - seen)
    )
    painted = np.where(pane, _mix(wall, np.where(inner, glass, wall * 1.12), seen), dull)
    return np.where(hits.face == 2, ink * 0.7, painted)


def _plain(hits: Hits, place: Place) -> Field:
    ink, accent, dice = _inks(hits, place)
    tone = 1 + 0.16 * (_noise(place, (hits.own[0] + hits.own[1]) * 25, hits.own[2] * 25) - 0.5)
    half = place.solids.half[2, hits.of]
    band = (np.abs(hits.own[2] / half - (2 * dice[1] - 1)) < 0.25 * dice[2]) & (dice[0] > 0.6)
    return np.where(band, accent, ink) * tone


def _leaves(hits: Hits, place: Place) -> Field:
    ink, accent, _ = _inks(hits, place)
    (x, y, _), (_, _, z) = hits.own, hits.at
    u = np.where(hits.face == 0, y, x) + 7.3 * place.solids.dice[0, hits.of]
    v = np.where(hits.face == 2, y, z)
    fine = _noise(place, u * 34, v * 34) - 0.5
    clumps = sample(place.tile, v * 13, u * 13) - 0.5
    tone = 0.95 + 1.2 * fine * _fine(hits, 0.25) + 1.1 * clumps
    return _mix(ink, accent, np.clip(0.3 + 1.5 * clumps, 0, 1)) * np.clip(tone, 0.25, 1.8)


def _brick(hits: Hits, place: Place) -> Field:
    ink, accent, dice = _inks(hits, place)
    u, v, _ = _along(hits, place)
    j = np.floor(v / 0.25)
    i = np.floor(u / 0.6 + 0.5 * (j % 2))
    seam = (v / 0.25 - j < 0.2) | (u / 0.6 + 0.5 * (j % 2) - i < 0.09)
    stones = dice[0] > 0.5
    tone = 1 + np.where(stones, 0.25 * (_hash(i, j) - 0.5) - 0.25 * seam, 0) * _fine(hits, 0.35)
    stain = sample(place.tile, v * 12, u * 8) - 0.5
    top = v > 2 * place.solids.half[2, hits.of] - 0.14
    return np.where(top, accent, ink * (tone + 0.35 * stain))


def _bars(hits: Hits, place: Place) -> Field:
    ink, accent, dice = _inks(hits, place)
    u, v, _ = _along(hits, place)
    size = 0.25 + 0.3 * dice[0]
    high = 2 * place.solids.half[2, hits.of]
    bar = (u / size % 1 < 0.3 + 0.45 * dice[1]) | (np.abs(v / high - 0.85) < 0.07) | (np.abs(v / high - 0.15) < 0.07)
    bar |= u % 2.4 < 0.16
    share = np.where(bar, 1.0, 0.0) * _fine(hits, size) + 0.55 * (1 - _fine(hits, size))
    behind = accent * (0.7 + 0.6 * _noise(place, u * 20, v * 20))
    return _mix(behind, ink, share.astype(np.float32))


def _cabin(hits: Hits, place: Place) -> Field:
    """The upper part of a car: glass between posts, a painted roof."""
    ink, _, dice = _inks(hits, place)
    half = place.solids.half[:, hits.of]
    x, y, z = hits.own / half
    along = np.where(hits.face == 0, y, x)
    post = (np.abs(along) > 0.9) | ((np.abs(along + 0.05) < 0.06) & (hits.face == 1)) | (z > 0.8)
    glass = _GLASS * (0.7 + 1.4 * dice[3] * np.clip(z, 0, 1) + 0.5 * dice[2])
    return np.where((hits.face == 2) | post, ink, glass)


def _body(hits: Hits, place: Place) -> Field:
    """The lower part of a car: lamps, plates, doors."""
    ink, _, _ = _inks(hits, place)
    half = place.solids.half[:, hits.of]
    x, y, z = hits.own / half
    front, side = hits.face == 0, hits.face == 1
    lamp = front & (np.abs(y) > 0.55) & (z > 0.0) & (z < 0.65)
    ahead = np.array([[235], [235], [220]], np.float32)
    paint = np.where(lamp, np.where(x > 0, ahead, np.array([[170], [24], [20]], np.float32)), ink)
    paint = np.where(front & (np.abs(y) < 0.3) & (z > -0.4) & (z < -0.1), np.float32(215), paint)
    paint = np.where(front & (x > 0) & (np.abs(y) < 0.5) & (z > 0.1) & (z < 0.6), ink * 0.35, paint)
    doors = side & ((np.abs(x - 0.05) < 0.015) | (np.abs(np.abs(x) - 0.42) < 0.015))
    return np.where(doors | ((z < -0.72) & (hits.face < 2)), paint * 0.45, paint * (1 + 0.12 * z))


def _coach(hits: Hits, place: Place) -> Field:
    """A bus, or the cab of a lorry: a band of windows, a stripe below."""
    ink, accent, dice = _inks(hits, place)
    half = place.solids.half[:, hits.of]
    x, y, z = hits.own / half
    u, _, long = _along(hits, place)
    post = np.where(hits.face == 1, (u / 1.5 % 1) < 0.1, np.abs(y) > 0.9) | (u < 0.25) | (u > long - 0.25)
    low = np.where((hits.face == 0) & (x > 0), -0.25, 0.05)
    pane = (z > low) & (z < 0.62) & ~post & (hits.face < 2)
    paint = np.where((np.abs(z + 0.35) < 0.14 * dice[2] + 0.05) & (hits.face < 2), accent, ink)
    lamp = (hits.face == 0) & (np.abs(y) > 0.65) & (np.abs(z + 0.7) < 0.08)
    paint = np.where(lamp, np.where(x > 0, np.float32(235), np.array([[180], [30], [24]], np.float32)), paint)
    paint = np.where((z > 0.72) & (hits.face == 0) & (np.abs(y) < 0.6), np.array([[60], [50], [30]], np.float32), paint)
    return np.where(
        pane, _GLASS * (0.8 + 0.9 * dice[3] * _hash(np.floor(u / 1.5), hits.face.astype(np.float32))), paint
    )


def _board(hits: Hits, place: Place) -> Field:
    """A traffic sign: rim and symbol in front, grey behind."""
    ink, accent, dice = _inks(hits, place)
    half = place.solids.half[:, hits.of]
    x, y, z = hits.own / half
    out = np.where(place.solids.kind[hits.of] == EGG, np.hypot(y, z), np.maximum(np.abs(y), np.abs(z)))
    mark = np.where(dice[0] > 0.5, (np.abs(z) < 0.18) & (np.abs(y) < 0.6), (np.abs(y) < 0.2) & (np.abs(z) < 0.55))
    paint = np.where((out > 0.74) | mark, accent, ink)
    return np.where(x < 0, np.float32(118), paint)


def _lamps(hits: Hits, place: Place) -> Field:
    """A traffic light: three lamps, one of them lit."""
    ink, _, dice = _inks(hits, place)
    half = place.solids.half[:, hits.of]
    _, y, z = hits.own / half
    paint = ink.copy()
    colours = np.array([(70, 230, 130), (250, 190, 50), (250, 50, 40)], np.float32)
    for k, middle in enumerate((-0.62, 0.0, 0.62)):
        disc = np.hypot(y / 0.62, (z - middle) / 0.27) < 1
        lit = np.clip(dice[0] * 3, 0, 2.99).astype(np.int32) == k
        paint = np.where(disc & (hits.face == 0), colours[k][:, None] * np.where(lit, 1.25, 0.3), paint)
    return paint


def _spokes(hits: Hits, place: Place) -> Field:
    """A bicycle's wheel: a tyre, and what is seen through it."""
    ink, accent, _ = _inks(hits, place)
    x, _, z = hits.own / place.solids.half[:, hits.of]
    turn = np.arctan2(z, x) * np.float32(9 / np.pi)
    return np.where((np.hypot(x, z) > 0.78) | ((turn % 1 < 0.15) & (_fine(hits, 0.15) > 0.5)), ink, accent)


SKINS: tuple[Callable[[Hits, Place], Field], ...] = (
    _street, _paving, _grass, _facade, _plain, _leaves, _brick, _bars, _cabin, _body, _coach, _board, _lamps,
    _spokes,
)  # fmt: skip
# fmt: skip
