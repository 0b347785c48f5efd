"""The prompt sampler, and the decoder for many prompts held against segment-anything's own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from methods.backbone.build import build
from methods.backbone.calls import decode, no_prompt
from methods.backbone.decoding import decode_prompts
from methods.parts import prompts as P

SIDE = 64


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).to(torch.uint8)


@pytest.fixture(scope="module")
def sam() -> Sam:
    return build("vit_t", random=True)


def test_embeds_points_and_boxes_as_the_prompt_encoder_does(sam: Sam) -> None:
    encoder = sam.prompt_encoder
    point, box = torch.tensor([[[30.0, 44.0]]]), torch.tensor([[12.0, 20.0, 90.0, 200.0]])
    sparse, _ = encoder(points=(point, torch.tensor([[1]])), boxes=None, masks=None)
    torch.testing.assert_close(P.embed(encoder, P.point_prompts(point + 0.5))[0], sparse)
    sparse, _ = encoder(points=None, boxes=box, masks=None)
    torch.testing.assert_close(P.embed(encoder, P.box_prompts(box[None] + 0.5))[0], sparse)
    sparse, _ = encoder(points=(point, torch.tensor([[0]])), boxes=box, masks=None)
    clicked = P.box_prompts(box[None] + 0.5).with_click(point + 0.5, torch.tensor([[0]]))
    torch.testing.assert_close(P.embed(encoder, clicked)[0], sparse)


@pytest.mark.parametrize("mask_prompts", [False, True])
def test_decoder_for_many_prompts_is_sams_own(sam: Sam, mask_prompts: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(2, 128, 16, 16, generator=generator)
    boxes = torch.rand(2, 3, 4, generator=generator) * 250
    given = torch.randn(2, 3, 64, 64, generator=generator) if mask_prompts else None
    sparse = P.embed(sam.prompt_encoder, P.box_prompts(boxes + 0.5))
    dense = (
        sam.prompt_encoder.no_mask_embed.weight[:, :, None, None].expand(2, 1, -1, 1, 1)
        if given is None
        else sam.prompt_encoder._embed_masks(given.flatten(0, 1)[:, None]).unflatten(0, (2, 3))
    )
    with torch.inference_mode():
        masks, iou = decode_prompts(sam, embedding, sparse, dense)
        for i in range(2):
            tokens, fields = sam.prompt_encoder(
                points=None, boxes=boxes[i], masks=None if given is None else given[i][:, None]
            )
            expected = sam.mask_decoder.predict_masks(
                image_embeddings=embedding[i : i + 1],
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=tokens,
                dense_prompt_embeddings=fields,
            )
            torch.testing.assert_close(masks[i], expected[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(iou[i], expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("own_image", "tokens"), [(False, 3), (False, 20), (True, 3), (True, 20)])
def test_a_decoder_that_is_narrow_inside_has_the_same_gradients(own_image: bool, tokens: int) -> None:
    """The official sizes project 256 to 128; few and many tokens take other ways through the attention."""
    torch.manual_seed(0)
    decoder = MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 64))
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    prompts = PromptEncoder(256, (4, 4), (64, 64), 16)
    sam = SimpleNamespace(mask_decoder=decoder, prompt_encoder=prompts)
    embedding, sparse = torch.randn(2, 256, 4, 4), torch.randn(2, 3, tokens, 256)
    dense = torch.randn(2, 3 if own_image else 1, 256, 4, 4)
    masks, iou = decode_prompts(sam, embedding, sparse, dense)
    weights = torch.randn_like(masks)
    (masks * weights).sum().backward()
    found = {name: p.grad.clone() for name, p in decoder.named_parameters() if p.grad is not None}
    decoder.zero_grad()
    for i in range(2):
        expected, scores = decoder.predict_masks(
            embedding[i : i + 1], prompts.get_dense_pe(), sparse[i], dense[i].expand(3, -1, -1, -1)
        )
        torch.testing.assert_close(masks[i], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(iou[i], scores, rtol=1e-4, atol=1e-5)
        (expected * weights[i]).sum().backward()
    largest = max(float(g.abs().max()) for g in found.values())
    for name, parameter in decoder.named_parameters():
        if name in found:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5 * largest, msg=name)


def test_a_box_stays_one_whatever_the_noise() -> None:
    box = torch.tensor([[100.0, 100.0, 110.0, 104.0]]).expand(500, 4)
    moved = P.jittered(box, torch.rand(500, 4), 1.0, 20.0)
    assert (moved[:, :2] <= moved[:, 2:]).all() and (moved - box).abs().max() > 10


@settings(max_examples=50, deadline=None)
@given(st.floats(8, 55), st.floats(8, 55), st.floats(2, 20), st.floats(0, 0.999))
def test_points_lie_inside(x: float, y: float, radius: float, u: float) -> None:
    mask = disc(x, y, radius)
    if not mask.any():
        return
    point = P.pick(mask[None, None], torch.tensor([[u]]), SIDE)
    inner = P.inner_points(mask[None, None].float(), torch.tensor([[[u, (u + 0.3) % 1, (u + 0.6) % 1]]]), SIDE)
    for found in (point, inner):
        column, row = found[0, 0].long().tolist()
        assert mask[row, column] == 1


def test_inner_points_lie_deeper_than_any() -> None:
    mask = disc(32, 32, 24)[None, None]
    u = torch.rand(1, 1, 400, generator=torch.Generator().manual_seed(1))
    middle = torch.tensor([32.5, 32.5])
    anywhere = torch.stack([P.pick(mask, u[..., k], SIDE) for k in range(300)])
    deep = torch.stack([P.inner_points(mask.float(), u[..., k : k + 3], SIDE) for k in range(300)])
    assert (deep - middle).norm(dim=-1).mean() < 0.8 * (anywhere - middle).norm(dim=-1).mean()


def test_every_pixel_has_its_chance() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 1, 1:3] = 1
    u = torch.linspace(0, 0.999, 50)
    found = {tuple(P.pick(mask, torch.tensor([[float(v)]]), 4)[0, 0].tolist()) for v in u}
    assert found == {(1.5, 1.5), (2.5, 1.5)}


@given(
    st.lists(st.integers(0, 9), min_size=16, max_size=16).filter(any),
    st.lists(st.floats(0, 1 - 2**-24, width=32), min_size=1, max_size=6),
)
def test_picks_are_quantiles_of_the_weights(weights: list[int], u: list[float]) -> None:
    """The first pixel up to which, row by row, more than a share of u of the weight lies."""
    found = P.picks(torch.tensor(weights).view(1, 1, 4, 4), torch.tensor([[u]]), 8)[0, 0]
    total = np.cumsum(weights)
    for (x, y), share in zip(found.tolist(), u, strict=True):
        pixel = int((y / 2 - 0.5) * 4 + x / 2 - 0.5)
        assert weights[pixel] > 0
        assert total[pixel] - weights[pixel] <= share * total[-1] * (1 + 1e-6)
        assert share * total[-1] * (1 - 1e-6) <= total[pixel]


def test_picks_of_a_mask_do_not_depend_on_the_others() -> None:
    weights = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    weights[1, 1] = 0
    u = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(1))
    found = P.picks(weights, u, SIDE)
    for b in range(2):
        for p in range(3):
            one = torch.stack([P.pick(weights[b, p], u[b, p, k], SIDE) for k in range(5)])
            assert torch.equal(found[b, p], one)
    assert (found[1, 1] == SIDE / 8 / 2).all(), "where there is nothing to pick, the first cell"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30), st.integers(1, 30))
def test_boxes_are_tight(x: int, y: int, width: int, height: int) -> None:
    mask = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8)
    mask[..., y : y + height, x : x + width] = 1
    assert P.boxes(mask)[0, 0].tolist() == [x, y, min(SIDE, x + width), min(SIDE, y + height)]


def test_an_empty_mask_has_the_box_of_everything() -> None:
    assert P.boxes(torch.zeros(1, 1, SIDE, SIDE))[0, 0].tolist() == [0, 0, SIDE, SIDE]


def test_jitter_is_limited_and_goes_with_the_side() -> None:
    box = torch.tensor([[0.0, 0.0, 10.0, 100.0]]).expand(500, 4)
    moved = P.jittered(box, torch.rand(500, 4, generator=torch.Generator().manual_seed(0)), 0.1, 5.0) - box
    assert moved.abs().max() <= 5
    assert moved[:, 0].std() < moved[:, 1].std()
    assert (P.jittered(box, torch.full((500, 4), 0.5), 0.1, 5.0) == box).all()


def test_numbers_come_from_each_images_seed() -> None:
    together = P.uniforms(torch.tensor([5, 9]), 3, 4)
    assert torch.equal(together[1:], P.uniforms(torch.tensor([9]), 3, 4))
    assert not torch.equal(together[0], together[1])
    assert together.min() >= 0 and together.max() < 1 and len(together.unique()) == 24


def test_each_use_of_a_seed_has_numbers_of_its_own() -> None:
    seeds = torch.tensor([5])
    assert torch.equal(P.uniforms(seeds, 3, 4), P.uniforms(seeds, 3, 4, stream=1))
    assert not (P.uniforms(seeds, 3, 4) == P.uniforms(seeds, 3, 4, stream=2)).any()


def test_a_whole_image_is_a_box_as_sam_takes_it(sam: Sam) -> None:
    """Around what is shown of it, without the padding."""
    sizes = torch.tensor([[256, 140], [90, 256]])
    found = P.embed(sam.prompt_encoder, P.whole_image(sizes))
    for tokens, (height, width) in zip(found, sizes.tolist(), strict=True):
        box = torch.tensor([[0.0, 0.0, width, height]])
        expected, _ = sam.prompt_encoder(points=None, boxes=box, masks=None)
        torch.testing.assert_close(tokens, expected)


def test_what_is_asked_without_prompts_is_sams_no_prompt(sam: Sam) -> None:
    embedding = torch.randn(2, 128, 16, 16, generator=torch.Generator().manual_seed(0))
    prompts = P.whole_image(torch.full((2, 2), 256))
    with torch.inference_mode():
        masks, iou = P.ask(sam, embedding, None)
        expected, scores = decode(sam, embedding, *no_prompt(sam, 2))
        assert torch.equal(masks[:, 0], expected) and torch.equal(iou[:, 0], scores) and masks.shape[1] == 1
        answered, _ = P.ask(sam, embedding, prompts)
        assert torch.equal(answered, P.answer(sam, embedding, prompts)[0])
        assert not torch.allclose(answered, masks, atol=1e-3)


def test_a_mixture_takes_whole_prompts() -> None:
    a, b = (P.Prompts(torch.full((1, 3, 2, 2), v), torch.full((1, 3, 2), int(v))) for v in (1.0, 0.0))
    found = P.where(torch.tensor([[True, False, True]]), a, b)
    assert found.coords.mean((2, 3)).tolist() == [[1, 0, 1]] and found.labels.sum(2).tolist() == [[2, 0, 2]]
    assert found.take(2).labels.shape == (1, 2, 2) and found.take(2).coords.shape == (1, 2, 2, 2)
