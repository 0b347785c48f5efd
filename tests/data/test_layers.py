"""Several masks as one picture, and random views of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.check import BadImage
from orchestrator.data.layers import MAX_LAYERS, decode_layers, encode_layers, layer
from orchestrator.data.view import random_view


@settings(max_examples=20, deadline=None)
@given(st.integers(1, MAX_LAYERS), st.integers(0, 2**32 - 1))
def test_layers_come_back_as_they_were(count: int, seed: int) -> None:
    masks = np.random.default_rng(seed).random((count, 9, 13)) < 0.3
    bits = decode_layers(encode_layers(masks))
    assert all((layer(bits, k) == mask).all() for k, mask in enumerate(masks))
    assert not (bits >> np.uint32(count)).any()


@pytest.mark.parametrize("count", [0, MAX_LAYERS + 1])
def test_too_many_or_no_masks_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} masks"):
        encode_layers(np.zeros((count, 4, 4), np.bool_))


def test_a_damaged_picture_is_told() -> None:
    with pytest.raises(BadImage):
        decode_layers(b"no picture")


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Two squares, one inside the other, each in its own colour."""
    image = np.zeros((96, 96, 3), np.uint8)
    masks = np.zeros((2, 96, 96), np.bool_)
    masks[0, 16:80, 16:80] = True
    masks[1, 40:56, 40:56] = True
    image[masks[0]] = (200, 40, 40)
    image[masks[1]] = (40, 40, 220)
    return image, masks


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_a_view_moves_picture_and_masks_together(seed: int) -> None:
    image, masks = scene()
    bits = decode_layers(encode_layers(masks))
    picture, below, (height, width) = random_view(image, bits, 4, 64, seed)
    assert picture.shape == (3, 64, 64) and below.shape == (4, 64, 64) and max(height, width) == 64
    assert not picture[:, height:].any() and not picture[:, :, width:].any()
    assert below.any((1, 2)).all() and set(np.unique(below)) <= {0, 1}
    # colours change alike for every pixel: what one mask holds alone has one colour, but at its rim
    for mask in below:
        inner = mask.astype(bool)
        for _ in range(3):
            inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        smaller = [m for m in below if m.sum() < mask.sum()]
        for other in smaller:
            grown = other.astype(bool)
            for _ in range(3):
                grown[1:-1, 1:-1] |= grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
            inner &= ~grown
        inner[:4] = inner[-4:] = False
        inner[:, :4] = inner[:, -4:] = False
        if inner.any():
            assert np.ptp(picture[:, inner].astype(int), axis=1).max() <= 2


def test_a_view_depends_on_its_seed_alone() -> None:
    image, masks = scene()
    bits = decode_layers(encode_layers(masks))
    first, again, other = (random_view(image, bits, 3, 64, seed) for seed in (4, 4, 5))
    assert all((a == b).all() for a, b in zip(first[:2], again[:2], strict=True))
    assert any((a != b).any() for a, b in zip(first[:2], other[:2], strict=True))
