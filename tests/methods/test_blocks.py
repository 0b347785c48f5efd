"""The encoder's forward pass against segment-anything's own, in all the ways that it can be computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn

from methods.backbone import attention, blocks, precision
from methods.backbone.blocks import run_block
from methods.backbone.calls import encode
from methods.backbone.execution import UNTOUCHED, Execution, execute, execution_of

WAYS = [
    Execution(),
    Execution("tiled"),
    Execution("sdpa"),
    Execution("untouched"),
    Execution("tiled", recompute=2),
    Execution("untouched", recompute=2),
]


def make_block(side: tuple[int, int], window: int) -> Block:
    torch.manual_seed(0)
    block = Block(48, 3, use_rel_pos=True, window_size=window, input_size=side)
    for table in (block.attn.rel_pos_h, block.attn.rel_pos_w):
        nn.init.normal_(table, std=0.3)
    return block


def gradients(output: Tensor, of: list[Tensor]) -> tuple[Tensor, ...]:
    given = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    return torch.autograd.grad(output, of, given.to(output.dtype))


def assert_alike(found: Iterable[Tensor], expected: Iterable[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 2e-5


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.attention}-{way.recompute}")
@pytest.mark.parametrize(("side", "window"), [((16, 16), 0), ((16, 16), 8), ((12, 12), 8), ((6, 10), 4), ((40, 36), 0)])
def test_a_block_is_segment_anythings(
    side: tuple[int, int], window: int, way: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "TILE", 1 << 16)  # several tiles, of several heads and of a part of one
    block = make_block(side, window)
    x = torch.randn(2, *side, 48, requires_grad=True)
    expected = block(x)
    theirs = gradients(expected, [x, *block.parameters()])
    execute(block, way)
    found = run_block(block, x, 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    ours = gradients(found, [x, *block.parameters()])
    assert_alike(ours, theirs)


@pytest.mark.parametrize("kind", ["tiled", "sdpa"])
def test_in_bf16_it_is_as_near_as_the_untouched_block(kind: str) -> None:
    block, x = make_block((12, 12), 8).requires_grad_(False), torch.randn(2, 12, 12, 48)
    exact = block(x)

    def error(way: Execution) -> float:
        execute(block, way)
        with torch.autocast("cpu", torch.bfloat16):
            return float((run_block(block, x) - exact).square().mean())

    assert 0 < error(Execution(kind)) < 1.5 * error(Execution("untouched"))


@settings(max_examples=25)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(1, 400)
)
def test_tiles_of_any_size_give_the_same(n: int, heads: int, h: int, w: int, d: int, tile: int) -> None:
    generator = torch.Generator().manual_seed(n + 7 * heads + 31 * h + 97 * w + d)
    widths = (d, d, d, h, w)
    given = [torch.randn(n, heads, h * w, c, generator=generator).requires_grad_() for c in widths]
    q, k, v, by_row, by_column = given
    scores = 0.7 * (q @ k.transpose(-2, -1)) + by_row.repeat_interleave(w, 3) + by_column.repeat(1, 1, 1, h)
    expected = torch.softmax(scores, -1) @ v
    before, attention.TILE = attention.TILE, tile
    try:
        found = attention.tiled(*given, 0.7)
        ours = gradients(found, given)
    finally:
        attention.TILE = before
    torch.testing.assert_close(found, expected)
    for a, b in zip(ours, gradients(expected, given), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def make_encoder() -> ImageEncoderViT:
    torch.manual_seed(1)
    return ImageEncoderViT(
        img_size=160, embed_dim=48, depth=3, num_heads=3, out_chans=32, norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True, window_size=4, global_attn_indexes=(2,),
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.attention}-{way.recompute}")
def test_the_encoder_is_segment_anythings(way: Execution) -> None:
    encoder = make_encoder()
    for table in (t for n, t in encoder.named_parameters() if "rel_pos" in n or "pos_embed" in n):
        nn.init.normal_(table, std=0.2)
    execute(encoder, way)
    x = torch.randn(2, 3, 160, 160, requires_grad=True)
    found, expected = encode(encoder, x), encoder(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    of = [x, *encoder.parameters()]
    assert_alike(gradients(found, of), gradients(expected, of))


def test_without_a_matrix_of_all_pairs() -> None:
    """What a block keeps for its gradients, and the largest piece that it makes: no square of the tokens."""
    block = make_block((32, 32), 0)
    x = torch.randn(1, 32, 32, 48, requires_grad=True)

    def kept(way: Execution) -> int:
        sizes: list[int] = []
        execute(block, way)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            run_block(block, x)
        return max(sizes)

    assert kept(UNTOUCHED) >= 3 * 1024**2 > 10 * kept(Execution("tiled"))


def test_recomputing_keeps_the_input_alone() -> None:
    block = make_block((16, 16), 8)
    x = torch.randn(1, 16, 16, 48, requires_grad=True)
    for count, wanted in ((0, False), (3, False), (4, True)):
        sizes: list[int] = []
        execute(block, replace(Execution(), recompute=count))
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):  # noqa: B023
            run_block(block, x, 3)
        assert (sum(sizes) <= x.numel()) is wanted


def test_every_part_of_a_module_is_told() -> None:
    encoder = make_encoder()
    assert execution_of(encoder.blocks[1].attn) == Execution()
    execute(encoder, UNTOUCHED)
    assert execution_of(encoder.blocks[1].attn) is execution_of(encoder) is UNTOUCHED
    assert not any("execution" in key for key in encoder.state_dict())


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("native", [True, False])
def test_a_projection_in_bf16(native: bool, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As near to the exact one as autocast's own, whether or not the CPU multiplies bf16; no bf16 weight is kept."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: native)
    torch.manual_seed(0)
    linear = nn.Linear(64, 48).requires_grad_(not frozen)
    x = torch.randn(5, 7, 64, requires_grad=True)
    wanted = [x] if frozen else [x, linear.weight, linear.bias]
    exact = gradients(linear(x), wanted)
    kept: list[tuple[torch.Size, torch.dtype]] = []
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append((t.shape, t.dtype)) or t, lambda t: t),
    ):
        found = precision.project(linear, x)
    assert found.dtype is torch.bfloat16 and found.shape == (5, 7, 48)
    assert not (frozen and any(shape.numel() == 64 * 48 and dtype is torch.bfloat16 for shape, dtype in kept))
    with torch.autocast("cpu", torch.bfloat16):
        theirs = linear(x)
    for a, b, c in zip(gradients(found, wanted), gradients(theirs, wanted), exact, strict=True):
        assert (a - c).norm() <= 1.5 * (b - c).norm() + 1e-6
    with torch.autocast("cpu", enabled=False):
        assert torch.equal(precision.project(linear, x), linear(x))


def test_the_compiled_way_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's own tracer, without the C++ compiler that it would ask next."""
    monkeypatch.setattr(blocks, "_compiled", lambda: torch.compile(blocks._block, backend="aot_eager", dynamic=False))
    encoder = make_encoder().requires_grad_(False)
    x = torch.randn(1, 3, 160, 160, requires_grad=True)
    expected = encoder(x)
    for recompute in (0, 3):
        execute(encoder, Execution(compile=True, recompute=recompute))
        found = encode(encoder, x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert_alike(gradients(found, [x]), gradients(encoder(x), [x]))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.isfinite(encode(encoder, x)).all()


@pytest.mark.parametrize("side", [(14, 14), (64, 64), (16, 10)])
def test_fused_kernels_get_one_width_that_is_a_multiple_of_8(
    side: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, int, int]] = []

    def told(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        shapes.append((q.shape[-1], k.shape[-1], v.shape[-1]))
        return v

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", told)
    h, w = side
    q, row, column = (torch.randn(1, 1, h * w, n) for n in (64, h, w))
    assert attention.sdpa(q, q, q, row, column, 0.1).shape == q.shape
    assert shapes[0][0] % 8 == 0 and len(set(shapes[0])) == 1 and shapes[0][0] <= 256
