"""The fused losses against plain autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from methods.parts.mask_errors import focal_and_dice


def plain(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    dice = 1 - (2 * (p * target).sum((-2, -1)) + 1) / (p.sum((-2, -1)) + target.sum((-2, -1)) + 1)
    return (weights * entropy * (p - target) ** 2).sum((-2, -1)), dice


def test_values_and_gradients_are_autograds() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(2, 3, 2, 8, 8, generator=generator, dtype=torch.float64) * 4).requires_grad_()
    target = torch.rand(2, 3, 1, 8, 8, generator=generator, dtype=torch.float64).round(decimals=1)
    weights = torch.softmax(torch.randn(2, 3, 1, 64, generator=generator, dtype=torch.float64), -1).unflatten(
        -1, (8, 8)
    )
    scale = torch.rand(2, 2, 3, 2, generator=generator, dtype=torch.float64)
    found, expected = focal_and_dice(logits, target, weights), plain(logits, target, weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    (gradient,) = torch.autograd.grad((found[0] * scale[0] + found[1] * scale[1]).sum(), logits)
    (wanted,) = torch.autograd.grad((expected[0] * scale[0] + expected[1] * scale[1]).sum(), logits)
    torch.testing.assert_close(gradient, wanted)


def test_it_is_the_focal_loss_of_its_paper_for_hard_targets() -> None:
    logits, target = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[1.0, 0.0]]])
    focal, _ = focal_and_dice(logits, target, torch.full((1, 1, 2), 0.5))
    right = torch.stack([logits[0, 0, 0].sigmoid(), 1 - logits[0, 0, 1].sigmoid()])
    assert torch.allclose(focal, (-((1 - right) ** 2) * right.log()).mean())


def test_a_perfect_mask_costs_nothing() -> None:
    target = torch.zeros(1, 16, 16)
    target[:, 4:9, 3:12] = 1
    focal, dice = focal_and_dice((target * 2 - 1) * 50, target, torch.full((1, 16, 16), 1 / 256))
    assert focal.item() < 1e-6 and dice.item() < 1e-6
