"""Points on the contours of masks, and losses between them: what the Point Matching Module is made of.

B = images, P = masks an image, N = points of a contour. Points are (x, y) in shares of the input's side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.parts import prompts as P

BAND = 2  #: cells of the masks' grid on either side of a contour
UNIT = 64.0  #: offsets are counted in 64ths of the side: cells of SAM's image embedding at its own size


def edges(masks: Tensor) -> Tensor:
    """The pixels of masks BxPxGxG (bool, or 0 and 1) that touch what is outside, at a corner too: bool, BxPxGxG.

    The border of the input is no contour: an object may go on behind it.
    """
    inside = masks > 0
    near = _spread(_spread(~inside, -1), -2)
    return inside & near


def _spread(pixels: Tensor, dim: int) -> Tensor:
    """Pixels (bool) and their two neighbours along a dimension; quicker than a pooling, and exact."""
    size = pixels.shape[dim] - 1
    spread = pixels.clone()
    spread.narrow(dim, 1, size).logical_or_(pixels.narrow(dim, 0, size))
    spread.narrow(dim, 0, size).logical_or_(pixels.narrow(dim, 1, size))
    return spread


def _drawn_from(masks: Tensor) -> Tensor:
    """The contours of masks, and all of one that fills the input and has none."""
    return _unless_empty(edges(masks), masks > 0)


def _unless_empty(maps: Tensor, instead: Tensor) -> Tensor:
    """Each of ``maps`` BxPxGxG, or its counterpart in ``instead`` where it is all 0."""
    return torch.where((maps > 0).flatten(2).any(2)[..., None, None], maps, instead)


def points_on(predicted: Tensor, true: Tensor, u: Tensor) -> Tensor:
    """N points drawn from the contours of ``predicted`` BxPxaxa by u BxPxN: BxPxNx2.

    Where nothing is predicted, or all of it, they are the true mask's, BxPxSxS.
    """
    step = true.shape[-1] // predicted.shape[-1]
    cells = true.unflatten(-1, (-1, step)).unflatten(-3, (-1, step))
    return P.picks(_unless_empty(edges(predicted), _drawn_from(cells.amax((-1, -3)))), u, 1)  # the smallest is seen


def true_points(masks: Tensor, count: int, u: Tensor) -> Tensor:
    """``count`` points of the contours of masks BxPxSxS, spread over them, from where u BxPx1 says: BxPxCx2."""
    steps = (torch.arange(count, device=masks.device) + u) / count
    return P.picks(_drawn_from(masks), steps.clamp_max(1 - 2**-24), 1)  # the last may be rounded up to 1


def nearest(points: Tensor, goals: Tensor) -> Tensor:
    """Of goals BxPxCx2 the one nearest to each of points BxPxNx2: BxPxNx2."""
    at = torch.cdist(points, goals).argmin(-1)
    return goals.gather(2, at[..., None].expand(-1, -1, -1, 2))


def offset_errors(points: Tensor, offsets: Tensor, goals: Tensor) -> Tensor:
    """mean_n smoothL1(p_n + d_n - g_n), ``offsets`` in units of 1/``UNIT``: BxP of BxPxNx2 each."""
    wanted = (goals - points) * UNIT
    return F.smooth_l1_loss(offsets, wanted, reduction="none").sum(-1).mean(-1)


def band_errors(logits: Tensor, true: Tensor, u: Tensor) -> Tensor:
    """BCE + Dice of logits BxPxaxa at N points near the contours of masks BxPxSxS, drawn by u BxPxN: BxP."""
    grid = logits.shape[-1]
    coverage = F.avg_pool2d(true.float(), true.shape[-1] // grid)
    edge = edges(coverage > 0.5).float()
    band = F.max_pool2d(edge, 2 * BAND + 1, 1, BAND)
    points = P.picks(_unless_empty(band, coverage), u, 1)
    found, wanted = sampled_own(logits, points), sampled_own(coverage, points)
    entropy = F.binary_cross_entropy_with_logits(found, wanted, reduction="none").mean(-1)
    p = found.sigmoid()
    return entropy + 1 - (2 * (p * wanted).sum(-1) + 1) / (p.sum(-1) + wanted.sum(-1) + 1)


def sampled(maps: Tensor, points: Tensor) -> Tensor:
    """Features BxDxhxw at points BxPxNx2, bilinear: BxPxNxD."""
    found = F.grid_sample(maps.float(), 2 * points - 1, mode="bilinear", padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1)


def sampled_own(maps: Tensor, points: Tensor) -> Tensor:
    """A map for each mask, BxPxaxa, at its own points BxPxNx2, bilinear: BxPxN."""
    b, p = maps.shape[:2]
    found = F.grid_sample(
        maps.flatten(0, 1)[:, None], 2 * points.flatten(0, 1)[:, None] - 1, padding_mode="border", align_corners=False
    )
    return found[:, 0, 0].unflatten(0, (b, p))
