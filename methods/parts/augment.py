"""Photometric augmentation that leaves the mask where it is, drawn from each sample's own seed."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

#: The habits of SimCLR and MoCo: our choice, the paper's strengths are unknown.
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
JITTER_P, GRAY_P, BLUR_P = 0.8, 0.2, 0.5
BLUR_SIGMA = (0.1, 2.0)


def photometric(image: Tensor, seeds: Tensor, strength: float = 1.0) -> Tensor:
    """Colour jitter, grayscale and blur of Bx3xSxS uint8, each image from its seed (B int64).

    ``strength`` scales the jitter. No geometric change, so the mask need not move.
    """
    return torch.stack([_one(x, int(seed), strength) for x, seed in zip(image, seeds.tolist(), strict=True)])


def _one(image: Tensor, seed: int, strength: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    if uniform(0, 1) < JITTER_P:
        names = list(JITTER)
        for i in torch.randperm(len(names), generator=generator).tolist():
            image = _jitter(image, names[i], min(JITTER[names[i]] * strength, 0.99), uniform)
    if uniform(0, 1) < GRAY_P:
        image = TF.rgb_to_grayscale(image, num_output_channels=3)
    if uniform(0, 1) < BLUR_P:
        # a tenth of the side is SimCLR's kernel for 224 px
        kernel = 2 * (image.shape[-1] // 20) + 1
        image = TF.gaussian_blur(image, [kernel, kernel], [uniform(*BLUR_SIGMA)])
    return image


def _jitter(image: Tensor, name: str, amount: float, uniform) -> Tensor:  # type: ignore[no-untyped-def]
    if name == "hue":
        return TF.adjust_hue(image, uniform(-min(amount, 0.5), min(amount, 0.5)))
    change = {
        "brightness": TF.adjust_brightness,
        "contrast": TF.adjust_contrast,
        "saturation": TF.adjust_saturation,
    }
    return change[name](image, uniform(1 - amount, 1 + amount))
