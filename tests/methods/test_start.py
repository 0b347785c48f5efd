"""vit_t's random weights: what a prompt needs is there before the first step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam

from methods.backbone.build import build
from methods.backbone.calls import encode
from methods.parts import prompts as P


@pytest.fixture(scope="module")
def sam() -> Sam:
    return build("vit_t", random=True)


@torch.no_grad()
def test_corners_of_a_box_stay_apart_in_the_first_self_attention(sam: Sam) -> None:
    box = torch.tensor([[[40.0, 60, 90, 200], [10, 20, 30, 30]]])
    own = torch.cat([sam.mask_decoder.iou_token.weight, sam.mask_decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(1, 2, -1, -1), P.embed(sam.prompt_encoder, P.box_prompts(box))], 2)[0]
    after = sam.mask_decoder.transformer.layers[0].self_attn(tokens, tokens, tokens)
    likeness = F.cosine_similarity(after[:, :, None], tokens[:, None], dim=-1)  # 2 x T x T
    assert torch.equal(likeness.argmax(-1), torch.arange(7).expand(2, -1))


@torch.no_grad()
def test_pixels_know_where_they_lie(sam: Sam) -> None:
    picture = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    found = F.normalize(encode(sam.image_encoder, picture)[0].flatten(1), dim=0)
    code = F.normalize(sam.prompt_encoder.get_dense_pe()[0].flatten(1), dim=0)
    nearest = (code.t() @ found).argmax(0)
    assert (nearest == torch.arange(256)).float().mean() > 0.9


@torch.no_grad()
def test_positions_of_neighbouring_patches_differ_and_far_ones_are_unlike(sam: Sam) -> None:
    code = F.normalize(sam.prompt_encoder.get_dense_pe()[0], dim=0)  # D x 16 x 16
    beside = (code[:, :, 1:] * code[:, :, :-1]).sum(0)
    far = (code[:, :8] * code[:, 8:]).sum(0)
    assert 0.3 < beside.mean() < 0.9 and far.mean() < 0.5 < beside.mean()
