"""Batches that tests make themselves."""

from __future__ import annotations

import dataclasses

import torch

from methods.base import Batch
from methods.parts.sampler import PromptRule, draw_prompts


def make_batch(size: int = 4, seed: int = 0, side: int = 256) -> Batch:
    """Bright discs on dark noise: something that can be learned. B = ``size``."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = torch.randint(0, 90, (size, 3, side, side), generator=generator)
    centres = torch.randint(side // 4, 3 * side // 4, (size, 2), generator=generator)
    mask = torch.stack([(rows - r) ** 2 + (columns - c) ** 2 < (side // 5) ** 2 for r, c in centres.tolist()])
    image = torch.where(mask[:, None], image + 140, image).to(torch.uint8)
    return Batch(
        image=image,
        mask=mask[:, None].to(torch.uint8),
        valid=torch.full((size, 2), side),
        size=torch.full((size, 2), side),
        index=torch.arange(size),
        seed=torch.arange(size) + 11 + seed,
        weight=torch.ones(size),
    )


def asked_for(batch: Batch, masks: int = 1, kind: str = "point") -> Batch:
    """The batch with its mask ``masks`` times, each prompted for anew."""
    batch = dataclasses.replace(batch, mask=batch.mask.repeat(1, masks, 1, 1))
    return dataclasses.replace(batch, prompts=draw_prompts(batch.mask, batch.seed, PromptRule(kind)))


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    """All tensors of a batch, in the order of its fields."""
    found: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    batch.map(note)
    return found
