"""Focal and Dice loss of many masks in one pass: pixels are read once and the gradient is written down.

Plain autograd keeps a dozen intermediate maps of every mask, which on a CPU costs more than SAM's decoder.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTH = 1.0  #: pixels added above and below in Dice


def focal_and_dice(logits: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Focal loss (gamma 2) and Dice loss of each mask: ... and ... of ...xHxW.

    Args:
        logits: ...xHxW, float32.
        target: coverage in [0, 1], of a shape that broadcasts to the logits'. Without hard edges the focal
            factor is |p - t|^2, which for t in {0, 1} is the paper's (1 - p_t)^2 (arXiv 1708.02002, eq. 4).
        weights: what each pixel counts in the focal loss; of one mask they sum to 1.
    """
    return _FocalAndDice.apply(logits, target, weights)


class _FocalAndDice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        p = logits.sigmoid()
        error = p - target
        entropy = F.softplus(logits).addcmul_(logits, target, value=-1)
        focal = (error.square().mul_(entropy)).mul_(weights).sum((-2, -1))
        overlap = (p * target).sum((-2, -1))
        both = p.sum((-2, -1)) + target.sum((-2, -1))
        ctx.save_for_backward(p, target, weights, entropy, overlap, both)
        return focal, 1 - (2 * overlap + _SMOOTH) / (both + _SMOOTH)

    @staticmethod
    def backward(ctx: Any, focal_grad: Tensor, dice_grad: Tensor) -> tuple[Tensor, None, None]:
        p, target, weights, entropy, overlap, both = ctx.saved_tensors
        error = p - target
        slope = p * (1 - p)
        # d focal / d logit = w e (e^2 + 2 H p(1-p)), since dH/dlogit = e
        grad = (slope * entropy).mul_(2).addcmul_(error, error).mul_(error).mul_(weights)
        grad.mul_(focal_grad[..., None, None])
        # d dice / d p = (2 I + s) / (S + s)^2 - 2 t / (S + s)
        below = both + _SMOOTH
        constant = dice_grad * (2 * overlap + _SMOOTH) / below.square()
        factor = -2 * dice_grad / below
        inner = (target * factor[..., None, None]).add_(constant[..., None, None])
        return grad.addcmul_(inner, slope), None, None
