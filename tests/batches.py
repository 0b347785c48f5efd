"""Batches that tests make themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from methods import registry
from methods.backbone.build import build
from methods.base import Batch, Method
from methods.parts.labeller import Labeller
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


def make_method(name: str, options: Mapping[str, Any] | None = None) -> Method:
    """A method on vit_t with its options for small machines, the same weights at every call."""
    torch.manual_seed(3)
    kind = registry.load(name)
    small = {k.removeprefix("method."): v for k, v in kind.defaults(small=True).items() if k.startswith("method.")}
    if "points" in small:
        small["points"] = 4  # of SAM's grid: quick
    return kind(build("vit_t"), kind.Options(**{**small, **(options or {})}))


def as_in_training(batch: Batch, method: Method) -> Batch:
    """The batch as the engine would give it: as many masks an image, with prompts, and with what comes before."""
    if method.needs_prompts:
        return asked_for(batch, 2)
    if isinstance(method, Labeller):
        return with_offline(batch, method)
    return dataclasses.replace(batch, mask=batch.mask.repeat(1, method.masks, 1, 1))


def with_offline(batch: Batch, method: Labeller) -> Batch:
    """The batch with what the method's offline stage makes of its images."""
    stage = method.offline(*batch.image.shape[-2:])
    if stage is None:
        return batch
    made = [stage.make(image) for image in batch.image]
    return dataclasses.replace(batch, offline={name: torch.stack([one[name] for one in made]) for name in made[0]})
