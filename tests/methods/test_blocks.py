"""The blocks' forward pass against segment-anything's own."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling.image_encoder import Block

from methods.backbone.blocks import SMALL, run_block


@pytest.mark.parametrize(("side", "window"), [((16, 16), 0), ((16, 16), 8), ((12, 12), 8), ((6, 10), 4), ((40, 40), 0)])
def test_a_block_is_segment_anythings(side: tuple[int, int], window: int) -> None:
    torch.manual_seed(0)
    block = Block(48, 3, use_rel_pos=True, window_size=window, input_size=side)
    torch.nn.init.normal_(block.attn.rel_pos_h, std=0.3)
    torch.nn.init.normal_(block.attn.rel_pos_w, std=0.3)
    x = torch.randn(2, *side, 48, requires_grad=True)
    found, expected = run_block(block, x), block(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    names = [name for name, _ in block.named_parameters()]
    ours = torch.autograd.grad(found.square().sum(), list(block.parameters()))
    theirs = torch.autograd.grad(expected.square().sum(), list(block.parameters()))
    for name, a, b in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3, msg=name)
    assert (SMALL < 40 * 40) and SMALL >= 16 * 16  # both ways were taken
