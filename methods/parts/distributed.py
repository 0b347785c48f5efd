"""Exact global losses under DDP, which averages gradients over ranks. All of it is the identity on one rank."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

_alone = False


def world_size() -> int:
    return dist.get_world_size() if not _alone and dist.is_available() and dist.is_initialized() else 1


@contextmanager
def alone() -> Iterator[None]:
    """While it lasts this process computes by itself, whatever ranks wait for it."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def all_sum(value: Tensor) -> Tensor:
    """The sum over ranks of a tensor that carries no gradient."""
    value = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def global_mean(per_sample: Tensor, weight: Tensor) -> Tensor:
    """This rank's share of the weighted mean over the global batch.

    Args:
        per_sample: losses, of samples or of single masks.
        weight: of the same shape; 0 marks what does not count.

    Returns:
        A scalar whose mean over ranks is the global mean, so that DDP's averaged gradient is exact even
        where ranks hold unequal numbers of real samples.
    """
    share = (per_sample * weight).sum()
    return share * world_size() / all_sum(weight.sum()).clamp_min(1e-12)


def gather_live(x: Tensor) -> Tensor:
    """Rows of all ranks in rank order, (W*B)x...; only this rank's own rows carry a gradient."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.detach().contiguous())
    parts[dist.get_rank()] = x
    return torch.cat(parts)


def replicated(loss: Tensor) -> Tensor:
    """A loss that every rank computed over ``gather_live`` rows: the same value, the gradient times W.

    On each rank only its own rows are live, so the sum of the ranks' gradients is the whole gradient, of
    which DDP takes the mean.
    """
    return loss.detach() + (loss - loss.detach()) * world_size()
