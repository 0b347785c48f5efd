"""Cross-task complementary fusion (CTCF): SAM says where a thing is, the assistant what it is.

For each instance of a window the shares of the classes that the assistant sees in it are counted; the largest one,
``Y_max``, names the whole instance (GoodSAM's Eq. 3). That gives the ensemble map E; E_H keeps what is sure of it.

The sources leave open, and these are our readings: overlapping masks lie one on another from large to small, so that
each pixel is counted for the smallest that holds it; a pixel under no mask keeps the assistant's class in E and has
no part in E_H. GoodSAM++ weighs each pixel by the assistant's confidence, and compares ``Y_max`` with the mean over
the instances of the same area level.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.parts.labeller import VOID

NO_INSTANCE = 255  #: in a map of instances; so a window has 255 at most


@dataclass(frozen=True)
class Rule:
    """What makes an instance sure."""

    theta: float  #: the least share of the class that names it
    weighted: bool = False  #: pixels count by the assistant's confidence
    by_level: bool = False  #: the least share is its area level's mean, in place of ``theta``
    #: Quantiles of an image's instance areas that part small from medium, and medium from large.
    cuts: tuple[float, float] = (0.33, 0.66)


@dataclass(frozen=True)
class Fused:
    """E and M of windows BxNxhxw."""

    ensemble: Tensor  #: int64, E: a class everywhere
    sure: Tensor  #: bool, M: where E_H = E
    share: Tensor  #: BxNx255, Y_max of each instance; 0 where there is none

    @property
    def confident(self) -> Tensor:
        """E_H: E where it is sure, else 255."""
        return self.ensemble.masked_fill(~self.sure, VOID)


@torch.no_grad()
def fuse(logits: Tensor, instances: Tensor, rule: Rule) -> Fused:
    """E and M from the assistant's logits BxNxCxhxw and SAM's instances BxNxhxw uint8 (255 = none)."""
    classes = logits.shape[2]
    labels = logits.argmax(2)
    weight = logits.softmax(2).amax(2) if rule.weighted else torch.ones_like(labels, dtype=logits.dtype)
    counts = _histogram(labels, instances, weight, classes)
    total = counts.sum(-1)
    most, name = counts.max(-1)
    share = most / total.clamp_min(1e-12)
    sure = share >= (_level_means(share, _areas(instances), rule.cuts) if rule.by_level else rule.theta) - 1e-6
    sure &= total > 0
    return Fused(
        torch.where(instances == NO_INSTANCE, labels, _spread(name, instances)), _spread(sure, instances), share
    )


def instance_map(masks: Tensor) -> Tensor:
    """Masks MxHxW, the largest first, laid one on another: HxW uint8, the number of the topmost, 255 where none is.

    Where there are more than 255, the smallest are left out.
    """
    found = torch.full(masks.shape[-2:], NO_INSTANCE, dtype=torch.uint8, device=masks.device)
    for number, mask in enumerate(masks[:NO_INSTANCE]):
        found[mask] = number
    return found


def _histogram(labels: Tensor, instances: Tensor, weight: Tensor, classes: int) -> Tensor:
    """BxNx255xC: the weight of each class in each instance."""
    b, n = labels.shape[:2]
    window = torch.arange(b * n, device=labels.device).view(b, n, 1, 1)
    place = (window * (NO_INSTANCE + 1) + instances) * classes + labels
    size = b * n * (NO_INSTANCE + 1) * classes
    # in double precision: a sum of ones is exact, and one of confidences does not hang on its order
    counts = torch.bincount(place.flatten(), weight.flatten().double(), minlength=size)
    return counts.view(b, n, NO_INSTANCE + 1, classes)[:, :, :NO_INSTANCE]


def _areas(instances: Tensor) -> Tensor:
    """BxNx255: pixels of each instance."""
    alike = torch.ones_like(instances, dtype=torch.float64)
    return _histogram(torch.zeros_like(instances, dtype=torch.int64), instances, alike, 1)[..., 0]


def _level_means(share: Tensor, areas: Tensor, cuts: tuple[float, float]) -> Tensor:
    """The mean share of each instance's area level in its image: BxNx255."""
    means = torch.zeros_like(share)
    for b in range(len(share)):
        there = areas[b] > 0
        if not there.any():
            continue
        sizes = areas[b][there].double()
        edges = torch.quantile(sizes, torch.tensor(cuts, dtype=sizes.dtype, device=sizes.device))
        level = torch.bucketize(areas[b].double().contiguous(), edges)
        for k in range(len(cuts) + 1):
            at = there & (level == k)
            if at.any():
                means[b][at] = share[b][at].mean()
    return means


def _spread(values: Tensor, instances: Tensor) -> Tensor:
    """What is said of instances BxNx255 at each of their pixels: BxNxhxw; 0 where there is none."""
    padded = F.pad(values, (0, 1))
    return padded.gather(2, instances.flatten(2).long()).view(instances.shape)
