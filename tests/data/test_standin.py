"""The stand-ins: the same for ever, in range, and as hard as their domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from orchestrator.data.standin import SIDES, TASKS, draw, write_folders
from orchestrator.errors import UserError

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Pair]]:
    return {task: [draw(task, 3, index) for index in range(30)] for task in TASKS}


def test_the_tasks_are_the_domains() -> None:
    assert set(TASKS) == {"camouflage", "shadow", "polyp", "binary"}


@pytest.mark.parametrize("task", TASKS)
def test_same_arguments_same_pixels_and_nothing_else_does(task: str) -> None:
    image, mask = draw(task, 7, 5)
    np.random.seed(1)  # the global generator must not matter
    again, mask_again = draw(task, 7, 5)
    assert np.array_equal(image, again) and np.array_equal(mask, mask_again)
    for seed, index in ((8, 5), (7, 6)):
        other = draw(task, seed, index, image.shape[:2])[0]
        assert np.abs(image.astype(int) - other).mean() > 5


def test_tasks_do_not_share_their_draws() -> None:
    assert len({draw(task, 0, 0)[1].shape for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_range_size_and_share(task: str, drawn: dict[str, list[Pair]]) -> None:
    for image, mask in drawn[task]:
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        assert all(SIDES[0] <= side <= SIDES[1] for side in mask.shape)
        assert set(np.unique(mask)) == {0, 1}
        assert 0.03 <= mask.mean() <= 0.45
        assert image.std() > 10
    assert len({mask.shape for _, mask in drawn[task]}) > 20


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [(256, 256), (97, 301)])
def test_an_asked_size_is_kept(task: str, size: tuple[int, int]) -> None:
    image, mask = draw(task, 0, 1, size)
    assert image.shape == (*size, 3) and mask.shape == size
    assert 0.03 <= mask.mean() <= 0.45


def _best_threshold_iou(values: NDArray[Any], mask: NDArray[np.uint8]) -> float:
    """IoU of the best of 256 thresholds, either side of it, chosen with the mask in hand."""
    level = np.searchsorted(np.quantile(values, np.linspace(0, 1, 256)), values, side="right") - 1
    inside = np.bincount(level[mask > 0], minlength=256)
    outside = np.bincount(level[mask == 0], minlength=256)
    sides = ((inside, outside), (inside[::-1], outside[::-1]))
    return max(float((i.cumsum() / (inside.sum() + o.cumsum())).max()) for i, o in sides)


def test_a_threshold_does_not_find_what_is_camouflaged(drawn: dict[str, list[Pair]]) -> None:
    def grey(task: str) -> float:
        return float(np.mean([_best_threshold_iou(image.mean(-1), mask) for image, mask in drawn[task]]))

    assert grey("camouflage") < 0.3
    assert grey("shadow") > 0.5, "the measure itself must be able to find something"
    for one, other in ((0, 1), (2, 1), (0, 2)):
        hues = [
            _best_threshold_iou((image[..., one] + 1.0) / (image[..., other] + 1.0), mask)
            for image, mask in drawn["camouflage"]
        ]
        assert np.mean(hues) < 0.45


def test_camouflage_can_be_seen(drawn: dict[str, list[Pair]]) -> None:
    """The edge carries more contrast than the texture alone: the same measure at a wrong place is lower."""
    at_edge, elsewhere = [], []
    for image, mask in drawn["camouflage"]:
        blurred = ndimage.gaussian_filter(image.astype(np.float32), (2, 2, 0))
        steepness = sum(np.hypot(*np.gradient(blurred[..., channel])) for channel in range(3))
        edge = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_erosion(mask, iterations=3)
        at_edge.append(steepness[edge].mean())
        elsewhere.append(steepness[~edge].mean())
    assert np.mean(np.array(at_edge) / elsewhere) > 1.1


def test_a_shadow_darkens_and_turns_a_little_blue(drawn: dict[str, list[Pair]]) -> None:
    darker, bluer = [], []
    for image, mask in drawn["shadow"]:
        near = ndimage.binary_dilation(mask, iterations=14) & ~ndimage.binary_dilation(mask, iterations=4)
        inside, around = image[mask > 0].mean(0), image[near].mean(0)
        darker.append(inside.mean() < around.mean())
        bluer.append(inside[2] / inside[0] > around[2] / around[0])
    assert np.mean(darker) > 0.9
    assert np.mean(bluer) > 0.6


def test_a_polyp_lies_on_red_tissue_seen_through_a_round_lens(drawn: dict[str, list[Pair]]) -> None:
    for image, mask in drawn["polyp"]:
        corners = np.stack([image[y, x] for y in (2, -3) for x in (2, -3)])
        assert corners.max() < 40
        seen = image.sum(-1) > 90
        red, green, blue = image[seen].mean(0)
        assert red > 1.2 * green and red > 1.2 * blue
        assert seen[mask > 0].mean() > 0.7


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'polyps' .*polyp"):
        draw("polyps", 0, 0)


def test_folders_hold_what_was_drawn(tmp_path: Path) -> None:
    write_folders("polyp", tmp_path, train=3, test=2, seed=4)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert "train/images/polyp-00002.jpg" in files and "train/masks/polyp-00002.png" in files
    assert len(files) == 10
    names = [path.stem for path in tmp_path.rglob("*.jpg")]
    assert len(set(names)) == 5, "train and test must not share a name"
    image, mask = draw("polyp", 4, 2)
    with Image.open(tmp_path / "train/masks/polyp-00002.png") as stored:
        assert np.array_equal(np.asarray(stored), mask * 255)
    with Image.open(tmp_path / "train/images/polyp-00002.jpg") as stored:
        assert np.abs(np.asarray(stored).astype(int) - image).mean() < 8


def test_more_training_images_leave_the_test_split_as_it_was(tmp_path: Path) -> None:
    write_folders("binary", tmp_path / "few", train=1, test=1, seed=0)
    write_folders("binary", tmp_path / "more", train=2, test=1, seed=0)
    few, more = (next((tmp_path / name / "test/images").iterdir()) for name in ("few", "more"))
    assert few.name == more.name and few.read_bytes() == more.read_bytes()
