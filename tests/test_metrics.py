"""The papers' metrics: by hand, against the package, and where the definitions leave a hole."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import py_sod_metrics
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.errors import UserError
from orchestrator.metrics import MASK_METRICS, image_metrics, mean_metrics

Floats = NDArray[np.float32]
Mask = NDArray[np.uint8]


def _scores(probability: object, mask: object, *names: str) -> dict[str, float]:
    return image_metrics(np.array(probability, np.float32), np.array(mask, np.uint8), names or MASK_METRICS)


def _example(seed: int, shape: tuple[int, int] = (40, 52)) -> tuple[Floats, Mask]:
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    mask[8:25, 10:33] = 1
    wrong = rng.random(shape) * 0.5
    return (0.1 + 0.3 * mask + wrong).astype(np.float32), mask


def test_by_hand() -> None:
    # above 0.5: TP 1, FP 1, FN 1, TN 1; above 125/255 = 0.490: the 0.495 joins, so FN 0
    got = _scores([[0.9, 0.495], [0.7, 0.1]], [[1, 1], [0, 0]])
    assert got["mdice"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert got["miou"] == pytest.approx(1 / 3)
    assert got["ber"] == pytest.approx(50 * (0 / 2 + 1 / 2))
    # min-max: 1, 0.49375, 0.75, 0
    assert got["mae"] == pytest.approx((0 + 0.50625 + 0.75 + 0) / 4)


def test_ber_threshold_is_125_of_255_and_exclusive() -> None:
    at, above = np.float64(125 / 255), np.nextafter(125 / 255, 1)
    mask = np.array([[1, 0]], np.uint8)
    assert image_metrics(np.array([[at, 0]]), mask, ["ber"])["ber"] == 50
    assert image_metrics(np.array([[above, 0]]), mask, ["ber"])["ber"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_package_on_uint8_maps(seed: int) -> None:
    """A prediction on the 1/255 grid needs no quantising, so the package's own reading must agree."""
    probability, mask = _example(seed)
    grey = np.round(probability * 255).astype(np.uint8)
    ours = image_metrics((grey / 255).astype(np.float64), mask, MASK_METRICS)
    theirs = {}
    for name, measure in (
        ("s_measure", py_sod_metrics.Smeasure()),
        ("e_measure", py_sod_metrics.Emeasure()),
        ("weighted_f", py_sod_metrics.WeightedFmeasure()),
        ("mae", py_sod_metrics.MAE()),
    ):
        measure.step(grey, mask * np.uint8(255))
        theirs[name] = measure.get_results()
    assert ours["s_measure"] == pytest.approx(theirs["s_measure"]["sm"], abs=1e-9)
    assert ours["e_measure"] == pytest.approx(theirs["e_measure"]["em"]["curve"].mean(), abs=1e-9)
    assert ours["weighted_f"] == pytest.approx(theirs["weighted_f"]["wfm"], abs=1e-9)
    assert ours["mae"] == pytest.approx(theirs["mae"]["mae"], abs=1e-9)


def test_float_predictions_are_not_quantised() -> None:
    probability, mask = _example(0)
    faint = (probability * 1e-3).astype(np.float32)  # all of it within one step of uint8
    ours, scaled = image_metrics(faint, mask, ["mae"]), image_metrics(probability, mask, ["mae"])
    assert ours["mae"] == pytest.approx(scaled["mae"], abs=1e-5)


def test_a_constant_prediction_is_not_stretched() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 1
    assert image_metrics(np.full((4, 4), 0.3, np.float32), mask, ["mae"])["mae"] == pytest.approx(0.5)
    assert image_metrics(np.full((4, 4), 0.3, np.float32), mask * 0, ["mae"])["mae"] == pytest.approx(0.3)


def test_perfect_and_inverted() -> None:
    _, mask = _example(0)
    best = image_metrics(mask.astype(np.float32), mask, MASK_METRICS)
    worst = image_metrics(1 - mask.astype(np.float32), mask, MASK_METRICS)
    for name, metric in MASK_METRICS.items():
        good, bad = best[name], worst[name]
        assert good == pytest.approx(1 if metric.mode == "max" else 0, abs=0.01), name
        assert (bad < 0.45) if metric.mode == "max" else (bad > 0.99), name
    assert worst["ber"] == 100


ZEROS, ONES = [[0, 0], [0, 0]], [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("probability", "mask", "dice_iou", "ber"),
    [
        (ZEROS, ZEROS, 1, 0),  # nothing there, nothing said
        (ONES, ZEROS, 0, 50),  # no positives: only the invented half can err
        (ZEROS, ONES, 0, 50),  # no negatives: only the missed half can err
        (ONES, ONES, 1, 0),
    ],
)
def test_empty_and_full(probability: object, mask: object, dice_iou: float, ber: float) -> None:
    got = _scores(probability, mask)
    assert (got["mdice"], got["miou"], got["ber"]) == (dice_iou, dice_iou, ber)
    if mask == ZEROS:
        assert got["weighted_f"] == 0


def test_object_in_the_last_column_has_an_s_measure() -> None:
    """The package returns NaN here: one of its four quadrants is empty."""
    mask = np.zeros((6, 6), np.uint8)
    mask[:, -1] = 1
    assert image_metrics(mask.astype(np.float32), mask, ["s_measure"])["s_measure"] == pytest.approx(1, abs=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bare = py_sod_metrics.Smeasure().cal_sm(mask.astype(np.float64), mask > 0)
    assert np.isnan(bare), "mended upstream: drop our repair"


@pytest.mark.parametrize(("value", "truth", "expected"), [(0, 0, 1), (1, 1, 1), (1, 0, 0), (0, 1, 0)])
def test_a_single_pixel(value: float, truth: int, expected: float) -> None:
    got = _scores([[value]], [[truth]])
    assert got["s_measure"] == got["mdice"] == got["miou"] == expected
    assert got["e_measure"] == pytest.approx(expected, abs=1 / 256)
    assert got["mae"] == 1 - expected


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 10_000),
    fill=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    kind=st.sampled_from(["noise", "constant", "binary", "tiny", "truth"]),
)
def test_always_finite_and_in_range(shape: tuple[int, int], seed: int, fill: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random(shape) < fill).astype(np.uint8)
    probability = {
        "noise": rng.random(shape),
        "constant": np.full(shape, rng.random()),
        "binary": rng.integers(0, 2, shape),
        "tiny": rng.random(shape) * 1e-40,
        "truth": mask,
    }[kind].astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = image_metrics(probability, mask, MASK_METRICS)
    for name, value in got.items():
        assert type(value) is float
        assert 0 <= value <= (100 if MASK_METRICS[name].unit == "%" else 1), name  # NaN fails as well


def test_only_what_was_asked_in_that_order() -> None:
    assert list(_scores([[0.2, 0.9]], [[0, 1]], "miou", "mae")) == ["miou", "mae"]


@pytest.mark.parametrize(
    ("probability", "mask"),
    [
        ([[np.nan, 0.5]], [[0, 1]]),
        ([[1.5, 0.5]], [[0, 1]]),
        ([[-0.1, 0.5]], [[0, 1]]),
        ([[0.5, 0.5]], [[0, 255]]),
        ([[0.5, 0.5]], [[0], [1]]),
        ([[]], [[]]),
    ],
)
def test_bad_arrays_are_refused(probability: object, mask: object) -> None:
    with pytest.raises(ValueError):
        _scores(probability, mask, "mdice")


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'dice' .*mdice"):
        _scores([[0.5]], [[0]], "dice")


def test_the_mean_does_not_depend_on_the_order_of_arrival() -> None:
    values = np.random.default_rng(0).random(999) * 10.0 ** np.arange(999) ** 0.4
    rows = [(index, {"mae": float(value)}) for index, value in enumerate(values)]
    forward, backward = mean_metrics(dict(rows)), mean_metrics(dict(rows[::2] + rows[1::2][::-1]))
    assert forward == backward
    assert mean_metrics({1: {"ber": 3.0}, 0: {"ber": 1.0}}) == {"ber": 2.0}
    assert mean_metrics({index: {"ber": 0.1} for index in range(10)}) == {"ber": 0.1}  # a plain sum gives 0.0999...
    assert mean_metrics({}) == {}


def test_a_mean_over_different_metrics_is_refused() -> None:
    with pytest.raises(ValueError):
        mean_metrics({0: {"mae": 0.1}, 1: {"ber": 3.0}})


def test_importing_it_pulls_in_neither_torch_nor_ray() -> None:
    code = "import sys, orchestrator.metrics; sys.exit(bool({'torch', 'ray', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
