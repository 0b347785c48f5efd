"""SAM's automatic masks, held against segment-anything's own generator."""

from __future__ import annotations

import numpy as np
import torch
from batches import make_batch
from segment_anything import SamAutomaticMaskGenerator
from torch import Tensor

from methods.backbone.build import build
from methods.parts.automatic import Sieve, automatic_masks, contours


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def shapes() -> Tensor:
    """A picture 3x96x128 of three things."""
    image = torch.full((3, 96, 128), 60, dtype=torch.uint8)
    image[:, 10:40, 10:50] = torch.tensor([200, 40, 40], dtype=torch.uint8)[:, None, None]
    image[:, 55:85, 20:100] = torch.tensor([40, 180, 60], dtype=torch.uint8)[:, None, None]
    image[:, 15:35, 80:110] = torch.tensor([230, 230, 90], dtype=torch.uint8)[:, None, None]
    return image


def test_it_finds_what_segment_anythings_own_generator_finds() -> None:
    sam, image = build("vit_t").eval(), shapes()
    sieve = Sieve(points=6, predicted_iou=0.8, stability=0.9)
    ours = automatic_masks(sam, image, sieve)
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side=6, pred_iou_thresh=0.8, stability_score_thresh=0.9, box_nms_thresh=0.7
    )
    theirs = [torch.from_numpy(m["segmentation"]) for m in generator.generate(image.permute(1, 2, 0).numpy())]
    assert theirs and abs(len(ours) - len(theirs)) <= 1, "stability is judged on another grid"
    found = [max(iou(mask, other) for other in ours) for mask in theirs]
    assert np.mean(found) > 0.9 and sorted(found)[len(found) // 4] > 0.9, found


def test_the_largest_comes_first_and_no_mask_is_empty() -> None:
    masks = automatic_masks(build("vit_t").eval(), shapes(), Sieve(6, 0.5, 0.5))
    areas = masks.flatten(1).sum(1).tolist()
    assert masks.dtype == torch.bool and masks.shape[1:] == (96, 128)
    assert areas == sorted(areas, reverse=True) and areas[-1] > 0


def test_where_nothing_is_good_enough_there_is_no_mask() -> None:
    masks = automatic_masks(build("vit_t").eval(), make_batch(1, side=64).image[0], Sieve(4, predicted_iou=2.0))
    assert masks.shape == (0, 64, 64)
    assert not contours(masks).any() and contours(masks).shape == (64, 64)


def test_contours_lie_on_both_sides_of_an_end() -> None:
    masks = torch.zeros(2, 5, 6, dtype=torch.bool)
    masks[0, :, :3] = True
    assert contours(masks)[2].nonzero().flatten().tolist() == [2, 3]
