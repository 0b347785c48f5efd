"""Scores of classes: by hand, against a slow way that is plainly right, and whatever the ranks."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator import class_scores, object_scores
from orchestrator.class_scores import VOID, Tally, boundaries, merge
from orchestrator.metrics import CLASS_METRICS, METRICS

Labels = NDArray[np.int64]
NAMES = ("road", "car", "sky")


def _tally(truth: object, predicted: object, classes: int = 3, wraps: bool = False) -> Tally:
    tally = Tally(classes)
    tally.add(np.array(truth), np.array(predicted), wraps)
    return tally


def _naive_band(mask: NDArray[np.bool_], wraps: bool) -> NDArray[np.bool_]:
    """The mask's pixels that have a pixel outside it, or outside the picture, within the boundary's thickness."""
    height, width = mask.shape
    thick = max(1, round(0.02 * (height**2 + width**2) ** 0.5))
    near = range(-thick, thick + 1)

    def outside(y: int, x: int) -> bool:
        x = x % width if wraps else x
        return not (0 <= y < height and 0 <= x < width and mask[y, x])

    band = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        band[y, x] = any(outside(y + dy, x + dx) for dy in near for dx in near)
    return band


def _naive(images: list[tuple[Labels, Labels]], classes: int, known: set[int], wraps: bool) -> dict[str, float]:
    """Class by class and with masks."""
    iou, biou, right, total = {}, {}, 0, 0
    for c in range(classes):
        inner = outer = inner_band = outer_band = 0
        for truth, predicted in images:
            labelled = truth != VOID
            true, found = truth == c, (predicted == c) & labelled
            inner, outer = inner + (true & found).sum(), outer + (true | found).sum()
            ring, other = _naive_band(true, wraps), _naive_band(found, wraps)
            inner_band, outer_band = inner_band + (ring & other).sum(), outer_band + (ring | other).sum()
        if outer:
            iou[c] = float(inner / outer) if c in known else 0.0
            biou[c] = float(inner_band / outer_band)
        right += inner
    total = sum(int((truth != VOID).sum()) for truth, _ in images)
    own = [c for c in iou if c in known]
    return {
        "class_miou": sum(iou[c] for c in own) / len(own) if own else math.nan,
        "class_miou_all": sum(iou.values()) / len(iou) if iou else math.nan,
        "class_biou": sum(biou[c] for c in own) / len(own) if own else math.nan,
        "pixel_accuracy": right / total if total else math.nan,
        **{f"class_miou[{NAMES[c]}]": value for c, value in iou.items()},
    }


@st.composite
def _images(draw: st.DrawFn) -> list[tuple[Labels, Labels]]:
    """Pictures in blocks, up to three; some are wide enough for a boundary of two pixels."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    block = draw(st.sampled_from([1, 3, 9]))
    images = []
    for _ in range(draw(st.integers(1, 3))):
        height, width = draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 7, 30, 80]))
        shape = (-(-height // block), -(-width // block))
        drawn = (rng.choice(values, shape).repeat(block, 0).repeat(block, 1) for values in ([0, 1, 2, 255],) * 2)
        truth, predicted = (labels[:height, :width].astype(np.int64) for labels in drawn)
        if draw(st.booleans()):
            predicted = np.where(predicted == VOID, 3, predicted)
        alike = rng.random() < 0.5
        images.append((truth, np.where(rng.random(truth.shape) < 0.9, truth, predicted) if alike else predicted))
    return images


@given(images=_images(), known=st.sets(st.integers(0, 2)), wraps=st.booleans())
def test_equal_to_the_slow_way(images: list[tuple[Labels, Labels]], known: set[int], wraps: bool) -> None:
    tally = Tally(3)
    for truth, predicted in images:
        tally.add(truth, predicted, wraps)
    assert tally.scores(NAMES, known) == pytest.approx(_naive(images, 3, known, wraps), nan_ok=True)


@given(images=_images(), cut=st.integers(0, 3))
def test_merged_parts_are_the_whole(images: list[tuple[Labels, Labels]], cut: int) -> None:
    parts = [Tally(3), Tally(3), Tally(3)]
    whole = Tally(3)
    for k, image in enumerate(images):
        parts[(k + cut) % 3].add(*image)
        whole.add(*image)
    sent = [pickle.loads(pickle.dumps(part)) for part in parts]
    for order in (sent, sent[::-1]):
        merged = merge(iter(order))
        assert all((getattr(merged, of) == getattr(whole, of)).all() for of in ("matrix", "both", "either"))
        np.testing.assert_equal(merged.scores(NAMES), whole.scores(NAMES))
    assert merge([sent[0]]).matrix is not sent[0].matrix  # parts stay as they are


def test_by_hand() -> None:
    tally = _tally([[0, 0, 1, 1]], [[0, 1, 1, 1]])
    assert tally.matrix.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]]
    got = tally.scores(NAMES)
    assert got == {
        "class_miou": pytest.approx((1 / 2 + 2 / 3) / 2),
        "class_miou_all": pytest.approx((1 / 2 + 2 / 3) / 2),
        "class_biou": pytest.approx((1 / 2 + 2 / 3) / 2),  # in a single row all is boundary
        "pixel_accuracy": 3 / 4,
        "class_miou[road]": 1 / 2,
        "class_miou[car]": pytest.approx(2 / 3),
    }
    assert all(type(value) is float for value in got.values())


def test_counts_are_pooled_over_images() -> None:
    """A large picture that is wrong weighs more than a small one that is right."""
    tally = _tally(np.zeros((1, 2), int), np.zeros((1, 2), int))
    tally.add(np.zeros((3, 2), np.uint8), np.ones((3, 2), np.int32))
    assert tally.scores(NAMES)["class_miou[road]"] == 2 / 8


def test_void_counts_nowhere() -> None:
    got = _tally([[0, 255, 255, 1]], [[0, 0, 2, 1]]).scores(NAMES)
    assert set(got.values()) == {1.0} and "class_miou[sky]" not in got


@pytest.mark.parametrize("other", [3, 255])
def test_something_else_is_a_miss_and_nobodys_false_positive(other: int) -> None:
    tally = _tally([[0, 0, 1, 255]], [[0, other, 1, other]])
    assert tally.matrix.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    got = tally.scores(NAMES)
    assert (got["class_miou[road]"], got["class_miou[car]"], got["pixel_accuracy"]) == (1 / 2, 1, 2 / 3)


def test_classes_that_the_model_cannot_name() -> None:
    """They are left out of ``class_miou`` and are 0 in ``class_miou_all``; what is said in their stead is wrong."""
    got = _tally([[0, 0, 2, 2]], [[0, 0, 0, 1]]).scores(NAMES, known={0, 1})
    assert got["class_miou"] == pytest.approx((2 / 3 + 0) / 2)  # nothing is a car, but one is said to be there
    assert got["class_miou_all"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert got["class_miou[sky]"] == 0 and got["pixel_accuracy"] == 1 / 2
    assert math.isnan(_tally([[2]], [[3]]).scores(NAMES, known=[0])["class_miou"])


def test_nothing_to_score_is_nan() -> None:
    for tally in (Tally(3), _tally([[255, 255]], [[0, 1]])):
        got = tally.scores(NAMES)
        assert list(got) == ["class_miou", "class_miou_all", "class_biou", "pixel_accuracy"]
        assert all(math.isnan(value) for value in got.values())


def test_boundary_iou_by_hand() -> None:
    """Squares of 7 and 5 pixels in a 15x15 picture, one pixel thick: rings of 24 and 16 pixels that do not meet."""
    truth, predicted = np.zeros((15, 15), int), np.zeros((15, 15), int)
    truth[4:11, 4:11] = predicted[5:10, 5:10] = 1
    tally = _tally(truth, predicted)
    assert (tally.both[1], tally.either[1]) == (0, 24 + 16)
    # around them: the picture's border, 56, and the rings about the squares, 9x9 - 7x7 and 7x7 - 5x5
    assert (tally.both[0], tally.either[0]) == (56, 56 + 32 + 24)
    assert tally.scores(NAMES)["class_biou"] == pytest.approx(56 / 112 / 2)
    assert "class_biou" not in Tally(3, boundary=False).scores(NAMES)


def test_a_perfect_prediction_has_perfect_boundaries_whatever_it_says_on_void() -> None:
    rng = np.random.default_rng(0)
    full = rng.integers(0, 3, (6, 8)).repeat(8, 0).repeat(8, 1)
    truth = np.where(rng.random((6, 8)).repeat(8, 0).repeat(8, 1) < 0.3, VOID, full)
    assert set(_tally(truth, full).scores(NAMES).values()) == {1.0}


@pytest.mark.parametrize("thick", [1, 2, 5])
def test_boundaries_are_those_of_objects(thick: int) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (5, 6)).repeat(9, 0).repeat(7, 1).astype(np.uint8)
    at_once = boundaries(labels, thick)
    for c in range(4):
        assert (object_scores.boundary(labels == c, thick) == (at_once & (labels == c))).all()
    assert class_scores.DIAGONAL == object_scores.DIAGONAL


def test_where_the_picture_wraps_there_is_no_contour() -> None:
    labels = np.zeros((9, 20), np.uint8)
    apart, joined = boundaries(labels, 2), boundaries(labels, 2, wraps=True)
    assert apart[4, [0, 1, 2, -3, -2, -1]].tolist() == [True, True, False, False, True, True]
    assert not joined[2:-2].any() and joined[:2].all() and joined[-2:].all()
    labels[:, -1] = 1
    assert boundaries(labels, 2, wraps=True)[4].tolist() == [True] * 2 + [False] * 15 + [True] * 3


@given(shift=st.integers(0, 40), seed=st.integers(0, 99))
def test_a_panorama_may_begin_anywhere(shift: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = (rng.integers(0, 3, (3, 9)).repeat(5, 0).repeat(7, 1) for _ in range(2))
    turned = (np.roll(labels, shift, axis=1) for labels in (truth, predicted))
    assert _tally(truth, predicted, wraps=True).scores(NAMES) == _tally(*turned, wraps=True).scores(NAMES)


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ([[3]], [[0]]),  # 'something else' is no truth
        ([[0]], [[4]]),
        ([[-1]], [[0]]),
        ([[0]], [[256]]),
        ([[0.0]], [[0]]),
        ([[0, 1]], [[0]]),
        ([[]], [[]]),
        ([0], [0]),
    ],
)
def test_bad_labels_are_refused(truth: object, predicted: object) -> None:
    with pytest.raises(ValueError):
        _tally(truth, predicted)


def test_what_does_not_belong_together_is_refused() -> None:
    for parts in ([], [Tally(3), Tally(2)], [Tally(3), Tally(3, boundary=False)]):
        with pytest.raises(ValueError):
            merge(parts)
    with pytest.raises(ValueError, match="2 names of 3"):
        Tally(3).scores(NAMES[:2])
    for classes in (0, 255):
        with pytest.raises(ValueError):
            Tally(classes)


def test_as_many_classes_as_can_be() -> None:
    tally = _tally([[253, 253, 255]], [[253, 254, 254]], classes=254)
    assert tally.scores([str(k) for k in range(254)])["class_miou[253]"] == 1 / 2


def test_metrics_are_registered() -> None:
    assert CLASS_METRICS.items() <= METRICS.items()
    assert {name for name in Tally(1).scores(["x"]) if "[" not in name} <= set(CLASS_METRICS)


def test_importing_it_pulls_in_neither_torch_nor_ray() -> None:
    code = "import sys, orchestrator.class_pictures; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
