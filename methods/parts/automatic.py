"""SAM's automatic masks: a grid of points over an image, what SAM thinks good and stable of them, no two alike.

The steps and the default thresholds are ``segment_anything.SamAutomaticMaskGenerator``'s (arXiv 2304.02643,
section 7, appendix B), without its crops. What differs is the order of the work, for speed: masks are sifted on the
decoder's own grid (a quarter of the input), and only those that stay are brought to the image's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor
from torchvision.ops import nms

from methods.backbone.calls import encode, normalise, upscale
from methods.parts.prompts import answer, boxes, point_prompts

STABILITY_OFFSET = 1.0  #: logits by which the threshold moves, either way, to see how stable a mask is
AT_ONCE = 256  #: points whose masks are in memory together


@dataclass(frozen=True)
class Sieve:
    """Which masks stay. The defaults are SamAutomaticMaskGenerator's."""

    points: int = 32  #: a side of the grid
    predicted_iou: float = 0.88  #: SAM's own opinion of a mask, at least
    stability: float = 0.95  #: IoU of the mask at two thresholds, at least
    overlap: float = 0.7  #: IoU of two masks' boxes above which the worse one goes


@torch.no_grad()
def automatic_masks(sam: Sam, image: Tensor, sieve: Sieve) -> Tensor:
    """All masks that SAM finds in an image, the largest first.

    Args:
        image: 3xHxW, 0 to 255, on SAM's device.

    Returns:
        MxHxW bool; M may be 0. Masks may overlap, and some pixels lie in none.
    """
    height, width = image.shape[-2:]
    side = int(sam.image_encoder.img_size)
    scale = side / max(height, width)
    valid = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    shown = F.interpolate(image[None].float(), valid, mode="bilinear", antialias=True, align_corners=False)
    shown = F.pad(shown, (0, side - valid[1], 0, side - valid[0]))
    embedding = encode(sam.image_encoder, normalise(sam, shown, torch.tensor([valid], device=image.device)))
    logits = _sifted(sam, embedding, _grid(sieve.points, valid, image.device), valid, sieve)
    if not logits.shape[1]:
        return torch.zeros(0, height, width, dtype=torch.bool, device=image.device)
    masks = upscale(logits, side)[..., : valid[0], : valid[1]]
    full = F.interpolate(masks, (height, width), mode="bilinear", align_corners=False)[0] > 0
    full = full[full.flatten(1).any(1)]
    return full[full.flatten(1).sum(1).argsort(descending=True, stable=True)]


def contours(masks: Tensor) -> Tensor:
    """Where masks MxHxW (bool) end within the image: HxW bool, one pixel wide on either side."""
    if not len(masks):
        return masks.new_zeros(masks.shape[-2:])
    planes = masks[:, None].float()
    grown, shrunk = F.max_pool2d(planes, 3, 1, 1), -F.max_pool2d(-planes, 3, 1, 1)
    return (grown != shrunk)[:, 0].any(0)


def _grid(points: int, valid: tuple[int, int], device: torch.device) -> Tensor:
    """The middles of ``points`` x ``points`` cells: Nx2 (x, y) in input pixels."""
    ticks = (torch.arange(points, device=device) + 0.5) / points
    y, x = torch.meshgrid(ticks * valid[0], ticks * valid[1], indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def _sifted(sam: Sam, embedding: Tensor, grid: Tensor, valid: tuple[int, int], sieve: Sieve) -> Tensor:
    """Logits 1xMxaxa of the masks that stay."""
    kept, scores = [], []
    for points in grid.split(AT_ONCE):
        masks, iou = answer(sam, embedding, point_prompts(points[None]))
        masks, iou = masks[0, :, 1:].flatten(0, 1).float(), iou[0, :, 1:].flatten().float()
        good = iou > sieve.predicted_iou
        masks, iou = masks[good], iou[good]
        shown = _shown(masks, valid, int(sam.image_encoder.img_size))
        stable = _stability(shown) >= sieve.stability
        kept.append(masks[stable])
        scores.append(iou[stable])
    masks, iou = torch.cat(kept), torch.cat(scores)
    if not len(masks):
        return masks[None]
    shown = _shown(masks, valid, int(sam.image_encoder.img_size)) > 0
    seen = shown.flatten(1).any(1)
    masks, iou, shown = masks[seen], iou[seen], shown[seen]
    return masks[nms(_boxes(shown), iou, sieve.overlap)][None]


def _shown(masks: Tensor, valid: tuple[int, int], side: int) -> Tensor:
    """The part of the decoder's grid that shows the image."""
    share = masks.shape[-1] / side
    return masks[:, : max(1, round(valid[0] * share)), : max(1, round(valid[1] * share))]


def _boxes(masks: Tensor) -> Tensor:
    """The tight boxes of masks MxHxW: Mx4."""
    side = max(masks.shape[-2:])
    return boxes(F.pad(masks, (0, side - masks.shape[-1], 0, side - masks.shape[-2])))


def _stability(logits: Tensor) -> Tensor:
    """IoU of each mask at a higher and a lower threshold: M."""
    high = (logits > STABILITY_OFFSET).flatten(1).sum(1)
    low = (logits > -STABILITY_OFFSET).flatten(1).sum(1)
    return high / low.clamp_min(1)
