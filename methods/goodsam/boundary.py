"""Boundary enhancement (BE) and the boundary loss. Both are our readings: the paper's figure of them was not seen.

BE keeps SAM's edges where the assistant sees a change of class nearby, in either of two windows that overlap.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def class_edges(labels: Tensor) -> Tensor:
    """Where a map of classes ...xhxw changes, one pixel wide on either side: bool."""
    planes = labels.flatten(0, -3)[:, None].float()
    edge = F.max_pool2d(planes, 3, 1, 1) != -F.max_pool2d(-planes, 3, 1, 1)
    return edge[:, 0].view(labels.shape)


def dilated(edges: Tensor, radius: int) -> Tensor:
    """Edges ...xhxw (bool), wider by ``radius`` pixels on each side."""
    if radius <= 0:
        return edges
    planes = edges.flatten(0, -3)[:, None].float()
    return F.max_pool2d(planes, 2 * radius + 1, 1, radius)[:, 0].view(edges.shape) > 0


def refined(sam: Tensor, first: Tensor, second: Tensor, tolerance: int) -> Tensor:
    """B_ref: SAM's edges within ``tolerance`` pixels of a change of class in either map. All ...xhxw.

    sam is bool; first and second are the classes that the assistant sees in the two windows.
    """
    return sam & dilated(class_edges(first) | class_edges(second), tolerance)


def soft_edges(probabilities: Tensor) -> Tensor:
    """How much class probabilities ...xCxhxw change within a pixel: ...xhxw in [0, 1], with a gradient."""
    flat = probabilities.flatten(0, -4)
    change = F.max_pool2d(flat, 3, 1, 1) - flat
    return change.amax(-3).view(*probabilities.shape[:-3], *probabilities.shape[-2:])


def edge_errors(kind: str, soft: Tensor, target: Tensor) -> Tensor:
    """The loss between soft edges BxPxhxw and true ones (bool), of each image: B.

    ``bce``: cross-entropy in which edge and rest weigh the same. ``dice``: 1 - Dice. Where no edge is, both
    say how much edge was invented.
    """
    soft, truth = soft.flatten(1).clamp(1e-6, 1 - 1e-6), target.flatten(1).float()
    if kind == "dice":
        return 1 - (2 * (soft * truth).sum(1) + 1) / (soft.sum(1) + truth.sum(1) + 1)
    on = -(soft.log() * truth).sum(1) / truth.sum(1).clamp_min(1)
    off = -((1 - soft).log() * (1 - truth)).sum(1) / (1 - truth).sum(1).clamp_min(1)
    return (on + off) / 2


def consistency(kind: str, first: Tensor, second: Tensor) -> Tensor:
    """L_CC (Eq. 1, its form not known) between logits BxPxCxhxw of the same places: B.

    ``kl``: symmetric KL of the softmaxes, halved. ``mse``: mean squared difference of the softmaxes.
    """
    if kind == "mse":
        return (first.softmax(2) - second.softmax(2)).square().sum(2).flatten(1).mean(1)
    a, b = first.log_softmax(2), second.log_softmax(2)
    return ((a.exp() - b.exp()) * (a - b)).sum(2).flatten(1).mean(1) / 2
