"""Losses between mask logits and ground truth.

Source: tianrun-chen/SAM-Adapter-PyTorch, models/sam.py and models/iou_loss.py (``loss: iou`` for
camouflage and polyps, ``loss: bbce`` for shadows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.parts.distributed import all_sum, global_mean

if TYPE_CHECKING:
    from methods.base import Batch


def counted(batch: Batch) -> Tensor:
    """BxP: which masks of a batch count: no filler's, and none that is prompted for and empty at the input's size."""
    weight = batch.weight[:, None].expand(batch.mask.shape[:2])
    return weight if batch.prompts is None else weight * (batch.mask.flatten(2).amax(2) > 0)


def mask_losses(kind: str, logits: Tensor, mask: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """The losses of ``kind`` (``bce_iou`` or ``bbce``) by name.

    Args:
        logits: BxPxSxS.
        mask: BxPxSxS, 1 = foreground.
        weight: BxP, or B for all masks of an image; 0 marks what does not count (``counted``).
    """
    weight = weight if weight.dim() == 2 else weight[:, None].expand(mask.shape[:2])
    logits, target = logits.float(), mask.float()
    if kind == "bbce":
        return {"bbce": balanced_bce(logits, target, weight)}
    return {"bce": bce(logits, target, weight), "iou": soft_iou(logits, target, weight)}


def bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy, mean over pixels and masks."""
    per_pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return global_mean(per_pixel.flatten(2).mean(2), weight)


def soft_iou(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """mean_bp(1 - sum(s g) / (sum(s + g) - sum(s g))), s = sigmoid(logits)."""
    probability = logits.sigmoid()
    intersection = (probability * target).flatten(2).sum(2)
    union = (probability + target).flatten(2).sum(2) - intersection
    return global_mean(1 - intersection / union, weight)


def balanced_bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """n+/(n+ + n-) BCE(pos_weight = n-/n+), the counts over the whole global batch."""
    masks = weight[..., None, None] * torch.ones_like(target)
    positive = all_sum((target * masks).sum()) + 1e-10
    negative = all_sum(((1 - target) * masks).sum())
    per_pixel = F.binary_cross_entropy_with_logits(logits, target, pos_weight=negative / positive, reduction="none")
    return positive / (positive + negative) * global_mean(per_pixel.flatten(2).mean(2), weight)
