"""Windows that slide over a panorama, round its 0/360 degree seam, and how to get from one to the other.

B = panoramas, C = channels, H x W = a panorama's pixels, N = windows of it, h x w = a window's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Box = tuple[int, int, int, int]  #: top, left, bottom, right within a window


@dataclass(frozen=True)
class Overlaps:
    """Pairs of neighbours that share a part of the same place in their windows."""

    first: tuple[int, ...]  #: numbers of windows
    second: tuple[int, ...]
    in_first: Box
    in_second: Box


@dataclass(frozen=True)
class Windows:
    """All windows of a panorama, row by row, from left to right. They wrap round horizontally, never vertically."""

    height: int
    width: int
    h: int
    w: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @staticmethod
    def of(height: int, width: int, size: float, aspect: float, stride: float, rows: bool) -> Windows:
        """``size``: a window's height as a share of the panorama's; ``aspect``: its width, of its height.

        ``stride``: as a share of the window, at most: steps are even, and the last one closes the circle.
        With ``rows`` windows slide vertically, too; else one row stands in the middle.
        """
        h = min(height, max(1, round(size * height)))
        w = min(width, max(1, round(aspect * h)))
        columns = -(-width // max(1, int(stride * w)))
        lefts = tuple(k * width // columns for k in range(columns))
        spare = height - h
        steps = -(-spare // max(1, int(stride * h))) if rows else 0
        tops = tuple(k * spare // steps for k in range(steps + 1)) if steps else (spare // 2,)
        return Windows(height, width, h, w, tops, lefts)

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def crop(self, x: Tensor) -> Tensor:
        """BxCxHxW to windows BxNxCxhxw."""
        cut: Tensor = _Crop.apply(x, self)
        return cut

    def stitch(self, x: Tensor) -> Tensor:
        """Windows BxNxCxhxw to the mean of those that see a pixel: BxCxHxW; 0 where none does."""
        total = x.new_zeros(x.shape[0], x.shape[2], self.height, self.width)
        count = x.new_zeros(self.height, self.width)
        for n, (top, columns) in enumerate(self._places(x.device)):
            total[:, :, top : top + self.h, columns] += x[:, n]
            count[top : top + self.h, columns] += 1
        return total / count.clamp_min(1)

    def seen(self, device: torch.device) -> Tensor:
        """Which pixels some window shows: HxW bool."""
        found = torch.zeros(self.height, self.width, dtype=torch.bool, device=device)
        for top, columns in self._places(device):
            found[top : top + self.h, columns] = True
        return found

    def _places(self, device: torch.device) -> list[tuple[int, Tensor]]:
        steps = torch.arange(self.w, device=device)
        return [(top, (left + steps) % self.width) for top in self.tops for left in self.lefts]

    @cached_property
    def overlaps(self) -> tuple[Overlaps, ...]:
        """Each window with its right neighbour (round the seam), and with the one below."""
        found: dict[tuple[Box, Box], list[tuple[int, int]]] = {}
        columns = len(self.lefts)
        for r, top in enumerate(self.tops):
            for c, left in enumerate(self.lefts):
                here = r * columns + c
                step = (self.lefts[(c + 1) % columns] - left) % self.width
                if 0 < step < self.w:
                    boxes = (0, step, self.h, self.w), (0, 0, self.h, self.w - step)
                    found.setdefault(boxes, []).append((here, r * columns + (c + 1) % columns))
                if r + 1 < len(self.tops) and (down := self.tops[r + 1] - top) < self.h:
                    boxes = (down, 0, self.h, self.w), (0, 0, self.h - down, self.w)
                    found.setdefault(boxes, []).append((here, here + columns))
        return tuple(
            Overlaps(tuple(i for i, _ in pairs), tuple(j for _, j in pairs), *boxes) for boxes, pairs in found.items()
        )


class _Crop(torch.autograd.Function):
    """Slices, whose gradients are added up in place: PyTorch's own make a whole panorama of each, or take an index."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: Windows) -> Tensor:
        ctx.windows = windows
        round_ = torch.cat([x, x[..., : windows.w]], dim=-1)
        at = ((top, left) for top in windows.tops for left in windows.lefts)
        return torch.stack([round_[:, :, t : t + windows.h, w : w + windows.w] for t, w in at], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        windows = ctx.windows
        b, _, c = gradient.shape[:3]
        round_ = gradient.new_zeros(b, c, windows.height, windows.width + windows.w)
        for n, (t, w) in enumerate((top, left) for top in windows.tops for left in windows.lefts):
            round_[:, :, t : t + windows.h, w : w + windows.w] += gradient[:, n]
        total = round_[..., : windows.width].clone()
        total[..., : windows.w] += round_[..., windows.width :]
        return total, None


def shared(x: Tensor, overlaps: Overlaps) -> tuple[Tensor, Tensor]:
    """What both windows of each pair show: two BxPxCxhxw of windows BxNxCxhxw."""
    return _cut(x, overlaps.first, overlaps.in_first), _cut(x, overlaps.second, overlaps.in_second)


def _cut(x: Tensor, which: tuple[int, ...], box: Box) -> Tensor:
    top, left, bottom, right = box
    return x[:, list(which), :, top:bottom, left:right]
