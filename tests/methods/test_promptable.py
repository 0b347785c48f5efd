"""What SAM's recipe counts, and for whom."""

from __future__ import annotations

import pytest
import torch
from batches import make_batch
from hypothesis import given
from hypothesis import strategies as st

from methods.backbone.build import build
from methods.parts import prompts as P
from methods.promptable import Options, Promptable, mask_errors, pixel_weights


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_runners_up_have_their_share_of_the_loss(share: float) -> None:
    method = Promptable(build("vit_t"), Options(runners_up=share))
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(2, 4, 3, 64, 64, generator=generator, requires_grad=True)
    target = (torch.rand(2, 4, 64, 64, generator=generator) > 0.6).float()
    near = torch.full_like(target, 64**-2)
    with torch.no_grad():
        all_errors = mask_errors(masks, target[:, :, None], near[:, :, None])
    best = (20 * all_errors["focal"] + all_errors["dice"]).argmin(-1)
    found = method._of_three(masks, target, near)
    for name, value in found.items():
        each = mask_errors(masks, target[:, :, None], near[:, :, None])[name]
        wanted = (1 - share) * each.take_along_dim(best[..., None], -1)[..., 0] + share * each.mean(-1)
        torch.testing.assert_close(value, wanted)
    found["dice"].sum().backward()
    learns = masks.grad.abs().sum((-2, -1)) > 0
    chosen = torch.nn.functional.one_hot(best, 3).bool()
    assert learns[chosen].all() and learns[~chosen].all() == (share > 0)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 200), st.integers(0, 200))
def test_half_of_the_focal_weight_lies_around_the_mask(width: int, height: int, x: int, y: int) -> None:
    """Also where the mask is thinner than a cell of the grid, wherever it lies on it."""
    box = torch.tensor([[[x, y, x + width, y + height]]]) / 256
    weights = pixel_weights(box, 64)[0, 0]
    assert float(weights.sum()) == pytest.approx(1, abs=1e-4)
    assert float(weights.max()) > 2 * float(weights.min()), "no window around it"
    cell = weights[min(63, (y + height // 2) // 4), min(63, (x + width // 2) // 4)]
    assert width < 4 or height < 4 or cell == weights.max()


def test_a_box_prompt_is_the_masks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Promptable(build("vit_t"), Options(box_share=1.0, tight_boxes=1.0, clicks=0, refined=0, masks=1))
    asked = []
    monkeypatch.setattr(P, "answer", lambda sam, e, prompts, *_: asked.append(prompts) or _nothing(e, prompts))
    batch = make_batch(2)
    method(batch)
    coords = asked[0].coords.flatten(-2)
    assert (coords - 0.5 - P.boxes(batch.mask)).abs().max() <= 1


def _nothing(embedding: torch.Tensor, prompts: P.Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    b, p = prompts.labels.shape[:2]
    return torch.zeros(b, p, 4, 64, 64), torch.zeros(b, p, 4)
