"""Who else trains along: the rank's place, and the few exchanges of plain Python objects between ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """This rank among ``world`` of them; alone by default."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, in rank order, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether it is true on any rank, said on every rank; cheap enough for every step. ``device``: the ranks'."""
        if self.world == 1:
            return value
        flag = torch.tensor(int(value), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())
