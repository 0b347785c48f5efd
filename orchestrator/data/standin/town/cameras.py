"""Cameras: where each pixel looks, and which pixels a solid may be in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.standin.fields import Field, Shape
from orchestrator.data.standin.town.solids import FEET, NEAR, Solids

_EDGES = np.array([(i, j) for i in range(8) for j in range(i) if bin(i ^ j).count("1") == 1])


class Camera(Protocol):
    """Where each pixel looks."""

    @property
    def shape(self) -> Shape:
        """Height and width in pixels."""

    @property
    def pixel(self) -> float:
        """The angle that a pixel in the middle covers, in radians."""

    def directions(self) -> Field:
        """3 x H x W, of length 1, through the middles of the pixels."""

    def windows(self, solids: Solids, eye: Field) -> NDArray[np.int64]:
        """4 x N: the rows from and to, and the columns from and to, that each solid may be in. Columns may be
        past the last one, which goes on with the first."""


@dataclass(frozen=True)
class Panorama:
    """Equirectangular: the width is 360 degrees; the height, at as many degrees a pixel, lies around the horizon."""

    shape: Shape
    yaw: float = 0  #: radians: where its middle looks, from x to y

    @property
    def pixel(self) -> float:
        return 2 * np.pi / self.shape[1]

    def directions(self) -> Field:
        height, width = self.shape
        across = (np.arange(width) + 0.5 - width / 2) * self.pixel + self.yaw
        up = (height / 2 - 0.5 - np.arange(height))[:, None] * self.pixel
        level = np.cos(up)
        rays = (level * np.cos(across), level * np.sin(across), np.broadcast_to(np.sin(up), self.shape))
        return np.stack(rays).astype(np.float32)

    def windows(self, solids: Solids, eye: Field) -> NDArray[np.int64]:
        height, width = self.shape
        near, far = solids.reach(eye)
        top = solids.centre[2] + solids.half[2] - eye[2]
        low = solids.centre[2] - solids.half[2] - eye[2]
        highest = np.arctan2(top, np.where(top > 0, near, far))
        lowest = np.arctan2(low, np.where(low > 0, far, near))
        middle = np.arctan2(solids.centre[1] - eye[1], solids.centre[0] - eye[0])
        feet = solids.corners()[:2, :, FEET] - eye[:2, None, None]
        turn = np.arctan2(feet[1], feet[0]) - middle[:, None]
        turn = (turn + np.pi) % (2 * np.pi) - np.pi
        middle = (middle - self.yaw) / self.pixel + width / 2
        left, right = middle + turn.min(1) / self.pixel, middle + turn.max(1) / self.pixel
        inside = near <= 0
        left, right = np.where(inside, 0, left), np.where(inside, width, right)
        rows = np.ceil(height / 2 - 0.5 - highest / self.pixel), np.floor(height / 2 + 0.5 - lowest / self.pixel)
        first = np.ceil(left - 0.5).astype(np.int64)
        wide = np.minimum(np.floor(right - 0.5).astype(np.int64) + 1 - first, width)
        first %= width
        return np.stack([*np.clip(rows, 0, height).astype(np.int64), first, first + wide])


@dataclass(frozen=True)
class Pinhole:
    """An ordinary camera."""

    shape: Shape
    yaw: float = 0  #: radians, from x to y
    pitch: float = 0  #: radians, up
    field: float = np.pi / 2  #: radians, from its left to its right edge

    @property
    def focal(self) -> float:
        """In pixels."""
        return self.shape[1] / 2 / float(np.tan(self.field / 2))

    @property
    def pixel(self) -> float:
        return 1 / self.focal

    def axes(self) -> Field:
        """Rows: to the right, up, ahead."""
        c, s, cp, sp = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.pitch), np.sin(self.pitch)
        return np.array([(-s, c, 0), (-c * sp, -s * sp, cp), (c * cp, s * cp, sp)], np.float32)

    def directions(self) -> Field:
        height, width = self.shape
        x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2)[None] / self.focal
        y = (height / 2 - 0.5 - np.arange(height, dtype=np.float32))[:, None] / self.focal
        right, up, ahead = self.axes()[:, :, None, None]
        rays = right * x + up * y + ahead
        return np.asarray(rays / np.sqrt(1 + x * x + y * y), dtype=np.float32)

    def windows(self, solids: Solids, eye: Field) -> NDArray[np.int64]:
        points = np.tensordot(self.axes(), solids.corners() - eye[:, None, None], 1)
        start, end = points[:, :, _EDGES[:, 0]], points[:, :, _EDGES[:, 1]]
        with np.errstate(all="ignore"):  # where an edge goes through the plane of the camera, it is cut there
            part = (NEAR - start[2]) / (end[2] - start[2])
            cut = start + part * (end - start)
            cut[2] = np.where((part > 0) & (part < 1), NEAR, -1)
            x, y, ahead = np.concatenate([points, cut], 2)
            seen = ahead >= NEAR * 0.999
            x, y = x / ahead * self.focal + self.shape[1] / 2, self.shape[0] / 2 - y / ahead * self.focal
        ends = []
        for along, limit in ((y, self.shape[0]), (x, self.shape[1])):
            first = np.ceil(np.where(seen, along, np.inf).min(1) - 0.5)
            last = np.floor(np.where(seen, along, -np.inf).max(1) + 0.5)
            ends += [np.clip(first, 0, limit), np.clip(last, 0, limit)]
        return np.stack(ends).astype(np.int64)
