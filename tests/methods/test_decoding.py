"""What the decoder for many prompts hands out beside masks: features, laid out otherwise than segment-anything's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor

from methods.backbone.decoding import Decoded, decode_fully, decode_prompts
from methods.backbone.execution import UNTOUCHED, Execution, execute

HEIGHT, WIDTH = 4, 6  # of the embedding; unlike, so that the two are not mistaken for each other


@pytest.fixture(scope="module")
def sam() -> Any:
    torch.manual_seed(0)
    transformer = TwoWayTransformer(2, 32, 8, 64, attention_downsample_rate=1)
    decoder = MaskDecoder(transformer_dim=32, transformer=transformer)
    return SimpleNamespace(
        mask_decoder=decoder, prompt_encoder=PromptEncoder(32, (HEIGHT, WIDTH), (16 * HEIGHT, 16 * WIDTH), 4)
    )


@pytest.fixture(scope="module")
def asked() -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of 2 images, the tokens of 3 prompts each, and what dense prompts they share."""
    torch.manual_seed(1)
    return torch.randn(2, 32, HEIGHT, WIDTH), torch.randn(2, 3, 2, 32), torch.randn(2, 1, 32, 1, 1)


@pytest.fixture(scope="module")
def decoded(sam: Any, asked: tuple[Tensor, Tensor, Tensor]) -> Decoded:
    with torch.no_grad():
        return decode_fully(sam, *asked)


@pytest.fixture(scope="module")
def upscaled(sam: Any, asked: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """segment-anything's own upscaled embedding of each prompt: BxPxD/8x4hx4w."""
    found: list[Tensor] = []
    hook = sam.mask_decoder.output_upscaling.register_forward_hook(lambda module, args, output: found.append(output))
    embedding, sparse, dense = asked
    positions = sam.prompt_encoder.get_dense_pe()
    with torch.no_grad():
        for i in range(2):
            whole = dense[i].expand(3, -1, HEIGHT, WIDTH)
            sam.mask_decoder.predict_masks(embedding[i : i + 1], positions, sparse[i], whole)
    hook.remove()
    return torch.stack(found)


def middles() -> Tensor:
    """The middle of every pixel of the masks: (4h 4w)x2, row by row."""
    y, x = torch.meshgrid(torch.arange(4 * HEIGHT), torch.arange(4 * WIDTH), indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5


def test_masks_and_scores_are_those_without_the_features(
    sam: Any, asked: tuple[Tensor, Tensor, Tensor], decoded: Decoded
) -> None:
    masks, iou = decode_prompts(sam, *asked)
    assert torch.equal(masks, decoded.masks) and torch.equal(iou, decoded.iou)
    assert masks.shape == (2, 3, 4, 4 * HEIGHT, 4 * WIDTH) and iou.shape == (2, 3, 4)


def test_features_at_pixels_are_sams_own(decoded: Decoded, upscaled: Tensor) -> None:
    found = decoded.features_at(middles().expand(2, 3, -1, -1))
    expected = upscaled.flatten(3).transpose(2, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=6, max_size=6))
def test_features_between_pixels_are_bilinear(
    decoded: Decoded, upscaled: Tensor, places: list[tuple[float, float]]
) -> None:
    """As ``grid_sample`` reads a map; beyond the outermost pixels' middles the border goes on."""
    shares = torch.tensor(places).view(1, 6, 2).expand(2, 6, 2).view(2, 3, 2, 2)  # each prompt at points of its own
    found = decoded.features_at(shares * torch.tensor([4.0 * WIDTH, 4.0 * HEIGHT]))
    maps, grid = upscaled.flatten(0, 1), 2 * shares.flatten(0, 1)[:, None] - 1
    expected = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    torch.testing.assert_close(found.flatten(0, 1), expected[:, :, 0].transpose(1, 2), rtol=1e-3, atol=1e-4)


def test_kernels_on_features_give_the_masks(decoded: Decoded) -> None:
    """So that features that are better at a contour make better logits there."""
    found = decoded.features_at(middles().expand(2, 3, -1, -1))
    logits = decoded.masks.flatten(3)
    kernels = torch.linalg.lstsq(found, logits.transpose(2, 3)).solution
    torch.testing.assert_close(found @ kernels, logits.transpose(2, 3), rtol=1e-3, atol=1e-4)


def test_gradients_reach_the_prompts_through_the_features(sam: Any, asked: tuple[Tensor, Tensor, Tensor]) -> None:
    """Of the prompt that was read, and of no other."""
    embedding, sparse, dense = asked
    tokens = sparse.clone().requires_grad_()
    features = decode_fully(sam, embedding, tokens, dense).features_at(torch.full((2, 3, 1, 2), 5.3))
    features[1, 2].sum().backward()
    moved = tokens.grad.abs().sum((2, 3)) > 0  # type: ignore[union-attr]
    assert moved.tolist() == [[False] * 3, [False, False, True]]


def test_segment_anythings_own_code_is_a_switch_away(sam: Any, asked: tuple[Tensor, Tensor, Tensor]) -> None:
    """Masks, IoU, features and gradients, one image at a time."""
    given = [one.clone().requires_grad_() for one in asked]
    parameters = [p for n, p in sam.mask_decoder.named_parameters() if not n.endswith("k_proj.bias")]

    def told() -> tuple[Decoded, tuple[Tensor, ...]]:
        decoded = decode_fully(sam, *given)
        outputs = [decoded.masks, decoded.iou, decoded.features]
        generator = torch.Generator().manual_seed(2)
        wanted = [torch.randn(one.shape, generator=generator) for one in (decoded.masks, decoded.iou)]
        wanted.append(torch.randn(decoded.features.flatten().shape, generator=generator).view_as(decoded.features))
        return decoded, torch.autograd.grad(outputs, [*given, *parameters], wanted)

    ours, our_gradients = told()
    execute(sam.mask_decoder, UNTOUCHED)
    try:
        theirs, their_gradients = told()
    finally:
        execute(sam.mask_decoder, Execution())
    for name in ("masks", "iou"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-5)
    flat = [one.features.flatten() for one in (ours, theirs)]
    torch.testing.assert_close(*flat, rtol=1e-4, atol=1e-5)
    for a, b in zip(our_gradients, their_gradients, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-5
