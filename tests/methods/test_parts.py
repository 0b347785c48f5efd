"""The shared parts: losses as published, contrast by its formula, augmentation by its seed."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import Batch
from methods.parts import contrast
from methods.parts import prompts as P
from methods.parts.adaptor import sample_tokens
from methods.parts.augment import photometric
from methods.parts.contrast import sample_contrast, token_contrast
from methods.parts.losses import counted, mask_losses


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


@given(st.integers(1, 3), st.integers(2, 7), st.floats(0.05, 1.0))
@settings(max_examples=25, deadline=None)
def test_token_contrast_is_its_formula(b: int, k: int, tau: float) -> None:
    x, y = torch.randn(b, k, 5), torch.randn(b, k, 5)
    for n in range(b):
        terms = []
        for i in range(k):
            s = [math.exp(cosine(x[n, i], y[n, j]) / tau) for j in range(k)]
            terms.append(-math.log(s[i] / sum(s)))
        assert float(token_contrast(x, y, tau)[n]) == pytest.approx(sum(terms) / k, rel=1e-3, abs=1e-4)


def test_token_contrast_leaves_out_the_same_object() -> None:
    x, y = torch.randn(1, 4, 5), torch.randn(1, 4, 5)
    side = torch.tensor([[True, True, False, False]])
    terms = []
    for i in range(4):
        kept = [j for j in range(4) if j == i or side[0, j] != side[0, i]]
        s = {j: math.exp(cosine(x[0, i], y[0, j]) / 0.2) for j in kept}
        terms.append(-math.log(s[i] / sum(s.values())))
    assert float(token_contrast(x, y, 0.2, side)) == pytest.approx(sum(terms) / 4, rel=1e-4)


@pytest.mark.parametrize("sided", [False, True])
@pytest.mark.parametrize("pairs", [1, 30, 64])
def test_token_contrast_in_pieces_is_the_whole(pairs: int, sided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (torch.randn(2, 9, 5, requires_grad=True) for _ in range(2))
    side = torch.arange(18).view(2, 9) % 3 == 0 if sided else None

    def told() -> tuple[torch.Tensor, ...]:
        loss = token_contrast(x, y, 0.2, side)
        return loss, *torch.autograd.grad(loss.sum(), [x, y])

    whole = told()
    monkeypatch.setattr(contrast, "PAIRS", pairs)
    for a, b in zip(told(), whole, strict=True):
        torch.testing.assert_close(a, b)


def test_no_matrix_of_all_pairs_of_tokens_is_kept() -> None:
    x, y = (torch.randn(1, 2048, 4, requires_grad=True) for _ in range(2))
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        token_contrast(x, y, 0.2)
    assert max(sizes) <= x.numel()


def test_sample_contrast_is_its_formula_and_ignores_filler() -> None:
    z, a = torch.randn(4, 6), torch.randn(4, 6)
    terms = []
    for n in range(3):
        s = [math.exp(cosine(z[n], a[m]) / 0.3) for m in range(3)]
        terms.append(-math.log(s[n] / sum(s)))
    found = sample_contrast(z, a, torch.tensor([1.0, 1, 1, 0]), 0.3, gather=True)
    assert float(found) == pytest.approx(sum(terms) / 3, rel=1e-4)


def test_sample_contrast_of_one_image_has_nothing_to_push_away() -> None:
    z = torch.randn(1, 6, requires_grad=True)
    loss = sample_contrast(z, torch.randn(1, 6), torch.ones(1), 0.1, gather=True)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6) and z.grad is not None and z.grad.isfinite().all()


def test_bce_and_iou_are_the_published_losses() -> None:
    logits, mask = torch.randn(3, 1, 16, 16), (torch.rand(3, 1, 16, 16) > 0.7).to(torch.uint8)
    found = mask_losses("bce_iou", logits, mask, torch.ones(3))
    gt = mask.float()
    s = torch.sigmoid(logits)
    inter = (s * gt).sum(dim=(2, 3))
    iou = (1 - inter / ((s + gt).sum(dim=(2, 3)) - inter)).mean()
    torch.testing.assert_close(found["bce"], nn.BCEWithLogitsLoss()(logits, gt))
    torch.testing.assert_close(found["iou"], iou)


def test_balanced_bce_is_the_published_loss() -> None:
    logits, mask = torch.randn(3, 1, 16, 16), (torch.rand(3, 1, 16, 16) > 0.8).to(torch.uint8)
    gt = mask.float()
    positive, negative = gt.sum() + 1e-10, (1 - gt).sum()
    expected = positive / (positive + negative) * nn.BCEWithLogitsLoss(pos_weight=negative / positive)(logits, gt)
    torch.testing.assert_close(mask_losses("bbce", logits, mask, torch.ones(3))["bbce"], expected)


@pytest.mark.parametrize("kind", ["bce_iou", "bbce"])
def test_filler_does_not_count(kind: str) -> None:
    logits, mask = torch.randn(3, 1, 8, 8), (torch.rand(3, 1, 8, 8) > 0.5).to(torch.uint8)
    whole = mask_losses(kind, logits, mask, torch.tensor([1.0, 1, 0]))
    alone = mask_losses(kind, logits[:2], mask[:2], torch.ones(2))
    for name in whole:
        torch.testing.assert_close(whole[name], alone[name])


@pytest.mark.parametrize("kind", ["bce_iou", "bbce"])
@pytest.mark.parametrize("fill", [0, 1])
def test_losses_of_empty_and_full_masks_are_finite(kind: str, fill: int) -> None:
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    losses = mask_losses(kind, logits, torch.full((2, 1, 8, 8), fill, dtype=torch.uint8), torch.ones(2))
    torch.stack(list(losses.values())).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_augmentation_depends_on_the_seed_alone() -> None:
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    seeds = torch.tensor([5, 6, 7])
    whole = photometric(image, seeds)
    torch.manual_seed(99)
    assert torch.equal(photometric(image[1:2], seeds[1:2])[0], whole[1])
    assert whole.dtype == torch.uint8 and whole.shape == image.shape
    changed = sum(not torch.equal(photometric(image[:1], torch.tensor([s])), image[:1]) for s in range(20))
    assert changed >= 15


def test_sampled_tokens_have_no_repeats_and_follow_the_seed() -> None:
    seeds = torch.tensor([1, 2])
    chosen = sample_tokens(seeds, 100, 30)
    assert chosen.shape == (2, 30) and all(len(set(row.tolist())) == 30 for row in chosen)
    assert torch.equal(sample_tokens(seeds[1:], 100, 30)[0], chosen[1])
    assert sample_tokens(seeds, 100, 0).shape == (2, 100)


@pytest.mark.parametrize("kind", ["bce_iou", "bbce"])
def test_what_is_asked_for_and_not_there_does_not_count(kind: str) -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 8, 8), (torch.rand(2, 3, 8, 8) < 0.4).to(torch.uint8)
    mask[0, 1] = 0
    rest, weight = torch.zeros(2, dtype=torch.int64), torch.tensor([1.0, 1.0])
    whole = Batch(torch.zeros(2, 3, 8, 8), mask, torch.zeros(2, 2), torch.zeros(2, 2), rest, rest, weight)
    asked = dataclasses.replace(whole, prompts=P.point_prompts(torch.zeros(2, 3, 2)))
    assert counted(whole).tolist() == [[1, 1, 1], [1, 1, 1]] and counted(asked).tolist() == [[1, 0, 1], [1, 1, 1]]
    found = mask_losses(kind, logits, mask, counted(asked))
    there = counted(asked) > 0
    alone = mask_losses(kind, logits[there][:, None], mask[there][:, None], torch.ones(5))
    for name, value in found.items():
        torch.testing.assert_close(value, alone[name])
