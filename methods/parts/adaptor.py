"""The bottleneck adaptor, and which blocks of the encoder get one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

#: Names of sets of blocks; ``all`` is the published choice.
BLOCK_CHOICES = ("all", "global", "first_half", "last_half")


class Bottleneck(nn.Module):
    """W_up GELU(W_down x): ...xC to ...xC through r = max(1, C // scale) channels."""

    def __init__(self, width: int, scale: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, max(1, width // scale))
        self.up = nn.Linear(max(1, width // scale), width)
        self.apply(init_adaptor)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.gelu(self.down(x)))


def init_adaptor(module: nn.Module) -> None:
    """SAM-Adapter's initialisation: linear weights truncated normal 0.02, convolutions by fan-out, zero bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def chosen_blocks(encoder: ImageEncoderViT, choice: str) -> list[int]:
    """The numbers of the blocks in a set of ``BLOCK_CHOICES``."""
    depth = len(encoder.blocks)
    if choice == "global":
        return [i for i, block in enumerate(encoder.blocks) if block.window_size == 0]
    if choice == "first_half":
        return list(range(depth // 2))
    if choice == "last_half":
        return list(range(depth // 2, depth))
    return list(range(depth))


def encoder_width(encoder: ImageEncoderViT) -> int:
    """C, the encoder's channels."""
    return int(encoder.patch_embed.proj.out_channels)


def sample_tokens(seeds: Tensor, total: int, count: int) -> Tensor:
    """Bxcount token numbers an image without repeats, drawn from each sample's own seed; all where count is 0."""
    if count <= 0 or count >= total:
        return torch.arange(total, device=seeds.device).expand(len(seeds), -1)
    rows = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.randperm(total, generator=generator)[:count])
    return torch.stack(rows).to(seeds.device)
