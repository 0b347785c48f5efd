"""Scores of answers to prompts, held against segment-anything's own predictor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from orchestrator.prompted import innermost, iou, mean_scores, scores, tight_box

CPU = torch.device("cpu")


def picture(zoom: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A bright ellipse and a bright box on dark ground, 90x140 times ``zoom``."""
    height, width = 90 * zoom, 140 * zoom
    y, x = np.ogrid[:height, :width]
    masks = np.zeros((2, height, width), np.bool_)
    masks[0] = ((x - 40 * zoom) / (25 * zoom + 0.5)) ** 2 + ((y - 45 * zoom) / (18 * zoom + 0.5)) ** 2 <= 1
    masks[1, 30 * zoom : 70 * zoom, 90 * zoom : 125 * zoom] = True
    image = np.full((height, width, 3), 30, np.uint8)
    image[masks[0]], image[masks[1]] = (220, 200, 60), (60, 200, 220)
    return image, masks


@pytest.mark.parametrize("zoom", [1, 7], ids=["enlarged", "shrunk"])
def test_scores_are_those_of_sams_own_predictor(vit_t: Sam, zoom: int) -> None:
    image, masks = picture(zoom)
    found = list(scores(vit_t, image, masks, CPU, torch.float32))
    predictor = SamPredictor(vit_t)
    predictor.set_image(image)
    for row, mask in zip(found, masks, strict=True):
        by_box, _, _ = predictor.predict(box=np.array(tight_box(mask)), multimask_output=False)
        assert row["box_iou"] == pytest.approx(iou(by_box[0], mask), abs=0.002)
        three, predicted, _ = predictor.predict(
            point_coords=np.array([innermost(mask)]), point_labels=np.array([1]), multimask_output=True
        )
        assert row["point_iou"] == pytest.approx(iou(three[predicted.argmax()], mask), abs=0.002)
        assert row["point_oracle"] == pytest.approx(max(iou(m, mask) for m in three), abs=0.002)


def test_answers_without_a_model_know_nothing_of_it(vit_t: Sam) -> None:
    image, masks = picture()
    ellipse, box = scores(vit_t, image, masks, CPU, torch.float32)
    assert ellipse["ellipse"] > 0.99 and ellipse["filled_box"] == pytest.approx(np.pi / 4, abs=0.03)
    assert box["filled_box"] == 1 and box["ellipse"] == pytest.approx(np.pi / 4, abs=0.03)


def test_the_mean_is_over_masks_not_over_pictures(vit_t: Sam) -> None:
    image, masks = picture()
    rows = list(scores(vit_t, image, masks, CPU, torch.float32))
    samples = [(image, masks), (image, masks[:1])]
    mean = mean_scores(vit_t, samples, CPU, torch.float32)
    expected = (2 * rows[0]["box_iou"] + rows[1]["box_iou"]) / 3
    assert mean["box_iou"] == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 14), st.integers(1, 14))
def test_boxes_and_inner_points(x: int, y: int, width: int, height: int) -> None:
    mask = np.zeros((64, 64), np.bool_)
    mask[y : y + height, x : x + width] = True
    assert tight_box(mask) == (x, y, x + width - 1, y + height - 1)
    column, row = innermost(mask)
    depth = min(column - x, x + width - 1 - column, row - y, y + height - 1 - row)
    assert mask[row, column] and depth == (min(width, height) - 1) // 2


def test_iou() -> None:
    a, b = np.zeros((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    assert iou(a, b) == 1
    a[:2], b[1:3] = True, True
    assert iou(a, b) == pytest.approx(1 / 3)
