"""Scenes drawn by rule: the same ones each time, with masks that fit what is painted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from orchestrator.data.scenes import AREA, KINDS, MAX_MASKS, Scene, compose, draw
from orchestrator.data.scenes.materials import ANY, bank

SIDE = 160


def scene(kind: str, seed: int = 0, easy: bool = True, side: int = SIDE) -> Scene:
    return compose(np.random.default_rng(seed), side, kind, easy)


def test_the_same_scene_each_time() -> None:
    for index in range(4):
        image, masks = draw(5, index, SIDE)
        again, masks_again = draw(5, index, SIDE)
        assert np.array_equal(image, again)
        assert np.array_equal(masks, masks_again)


def test_other_seeds_and_indices_give_other_scenes() -> None:
    pictures = [draw(seed, index, SIDE)[0] for seed in range(2) for index in range(3)]
    assert len({picture.tobytes() for picture in pictures}) == 6


@pytest.mark.parametrize("easy", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_its_promises(kind: str, easy: bool) -> None:
    for seed in range(6):
        image, masks = scene(kind, seed, easy)
        assert image.shape == (SIDE, SIDE, 3)
        assert image.dtype == np.uint8
        assert masks.shape[1:] == (SIDE, SIDE)
        assert masks.dtype == np.bool_
        assert 1 <= len(masks) <= MAX_MASKS
        shares = masks.mean((1, 2))
        assert shares.min() >= AREA[0]
        assert shares.max() <= AREA[1]
        assert image.std() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_masks_are_nearly_alike(kind: str) -> None:
    for seed in range(6):
        flat = scene(kind, seed)[1].reshape(-1, SIDE * SIDE).astype(np.float32)
        both = flat @ flat.T
        areas = np.diag(both)
        overlap = both / (areas[:, None] + areas - both)
        assert (overlap[~np.eye(len(flat), dtype=bool)] <= 0.9).all()


@pytest.mark.parametrize("side", [256, 320])
def test_default_and_model_sizes(side: int) -> None:
    image, masks = draw(0, 0, side)
    assert image.shape == (side, side, 3)
    assert masks.shape[1:] == (side, side)


def test_kinds_come_by_weight() -> None:
    assert all(weight > 0 for weight, _ in KINDS.values())
    assert sum(weight for weight, _ in KINDS.values()) == pytest.approx(1)


def test_the_bank_has_as_many_tiles_as_its_ranges_say() -> None:
    assert len(bank()) == ANY.stop


@pytest.mark.parametrize("kind", ["objects", "hierarchies", "tiles", "cells", "lumps"])
def test_clear_scenes_change_at_the_rim_of_a_mask(kind: str) -> None:
    """The colour steps more across the rim than between pixels as near to each other elsewhere."""
    steps, elsewhere = [], []
    for seed in range(12):
        image, masks = scene(kind, seed)
        level = ndimage.gaussian_filter(image.astype(np.float32), (0.7, 0.7, 0))
        slope = np.hypot(ndimage.sobel(level, 0), ndimage.sobel(level, 1)).max(-1)
        rims = np.zeros((SIDE, SIDE), bool)
        for mask in masks:
            rims |= mask ^ ndimage.binary_erosion(mask, border_value=1)
        steps.append(slope[rims].mean())
        elsewhere.append(slope[~ndimage.binary_dilation(rims, iterations=2)].mean())
    assert np.mean(steps) > 1.5 * np.mean(elsewhere)


def test_cells_do_not_share_pixels() -> None:
    for seed in range(4):
        masks = scene("cells", seed)[1]
        assert masks.sum(0).max() == 1


def test_parts_lie_in_their_whole() -> None:
    nested = 0
    for seed in range(8):
        flat = scene("hierarchies", seed)[1].reshape(-1, SIDE * SIDE).astype(np.int64)
        both = flat @ flat.T
        nested += int((both == np.diag(both)[:, None]).sum()) - len(flat)
    assert nested > 8
