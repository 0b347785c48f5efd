"""The papers' metrics, an image at a time and at the image's own resolution.

The four structure metrics come from pysodmetrics. The papers read the prediction as the sigmoid, min-max
normalised per image, and the ground truth as the mask. The package's own ``normalize=True`` expects uint8 (it
divides by 255, which would turn a constant probability of 0.5 into 0.002), so the min-max step is done here
in float64 without quantising and the package is called with ``normalize=False``. A constant prediction has
no range to stretch and stays as it is, as in the package.

BER, Dice and IoU look at the raw probability: BER above 125/255 as in the published code, the others above 0.5.

What the definitions leave open is closed here:

- empty mask and empty prediction: Dice and IoU are 1; only one of them empty: 0.
- BER without positives (or negatives): the undefined half counts no error, the other half holds every wrong
  pixel there can be.
- weighted F of an empty mask: 0 whatever is predicted, as in the package.
- S-measure where the object's centroid falls on the last row or column: the package divides by an empty
  quadrant and gives NaN; the quadrant weighs nothing and is left out here.
- E-measure: the package divides by N-1 pixels, so that a perfect map of a tiny image scores above 1; it is
  capped at 1 (no effect from 257 pixels on), and a single pixel is divided by 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import unknown

BER_THRESHOLD = 125 / 255
MASK_THRESHOLD = 0.5


@dataclass(frozen=True)
class Metric:
    """What the leaderboard has to know of a metric: its sign, its label and its unit ('' for a ratio)."""

    name: str
    label: str
    mode: Literal["max", "min"]
    unit: str
    doc: str


def _by_name(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


MASK_METRICS = _by_name(
    Metric("s_measure", "S", "max", "", "structure measure, alpha 0.5 (Fan et al., ICCV 2017)"),
    Metric("e_measure", "E", "max", "", "enhanced alignment, mean of 256 thresholds (Fan et al., IJCAI 2018)"),
    Metric("weighted_f", "wF", "max", "", "weighted F, beta 1 (Margolin et al., CVPR 2014)"),
    Metric("mae", "MAE", "min", "", "mean absolute error after the min-max step"),
    Metric("ber", "BER", "min", "%", "balanced error rate above 125/255, 0 to 100"),
    Metric("mdice", "mDice", "max", "", "Dice above 0.5, per image"),
    Metric("miou", "mIoU", "max", "", "IoU above 0.5, per image"),
)
#: Of answers to prompts, a mask at a time; ``orchestrator.prompted`` computes them.
PROMPT_METRICS = _by_name(
    Metric("box_iou", "box IoU", "max", "", "tight box, single mask"),
    Metric("point_iou", "point IoU", "max", "", "inner point, best of three by predicted IoU"),
    Metric("ranking", "ranking", "max", "", "pairs of outputs that predicted IoU orders rightly; 0.5 is chance"),
)
#: Of objects that are prompted for one by one, several times each; ``orchestrator.object_scores`` computes them.
OBJECT_METRICS = _by_name(
    Metric("object_miou", "mIoU", "max", "", "IoU over prompts, objects and then classes"),
    Metric("boundary_iou", "bIoU", "max", "", "boundary IoU, as mIoU (Cheng et al., CVPR 2021; 2 % of the diagonal)"),
    Metric("iou_spread", "spread", "min", "", "standard deviation of IoU over the prompts of an object"),
    Metric("predicted_miou", "mIoU pred.", "max", "", "mIoU of the best of three by predicted IoU"),
    Metric("predicted_boundary_iou", "bIoU pred.", "max", "", "its boundary IoU"),
    Metric("predicted_spread", "spread pred.", "min", "", "its spread"),
    Metric("oracle_miou", "mIoU best", "max", "", "mIoU of the best of three by true IoU, which nobody knows"),
    Metric("oracle_boundary_iou", "bIoU best", "max", "", "its boundary IoU"),
    Metric("oracle_spread", "spread best", "min", "", "its spread"),
)
#: Of the class of every pixel, counted over a whole split; ``orchestrator.class_scores`` computes the first four.
CLASS_METRICS = _by_name(
    Metric("class_miou", "mIoU", "max", "", "IoU over the classes that the model can name, all pixels in one matrix"),
    Metric("class_biou", "bIoU", "max", "", "boundary IoU, as mIoU (Cheng et al., CVPR 2021; 2 % of the diagonal)"),
    Metric("pixel_accuracy", "acc.", "max", "", "pixels whose class is found, of all that are not void"),
    Metric("class_miou_all", "mIoU all", "max", "", "mIoU over all classes; those that cannot be named count 0"),
    Metric("choice", "choice", "max", "", "what is chosen by: mIoU where there are labels, else agreement of pixels"),
    Metric("pseudo_miou", "agreement", "max", "", "mIoU of the student with the pseudo labels; needs no truth"),
    Metric("pseudo_accuracy", "agreement of pixels", "max", "", "share of pixels where both say the same"),
    Metric("assistant_miou", "TA", "max", "", "mIoU of the assistant on whole panoramas"),
    Metric("assistant_biou", "TA bIoU", "max", "", "its boundary IoU"),
    Metric("first_assistant_miou", "TA before", "max", "", "mIoU of the assistant before it learned from panoramas"),
    Metric("first_assistant_biou", "TA before bIoU", "max", "", "its boundary IoU"),
    Metric("assistant_windows_miou", "TA windows", "max", "", "mIoU of the assistant on windows"),
    Metric("assistant_windows_biou", "TA windows bIoU", "max", "", "its boundary IoU"),
    Metric("ensemble_miou", "E", "max", "", "mIoU of pseudo labels: SAM's instances, the assistant's classes"),
    Metric("ensemble_biou", "E bIoU", "max", "", "their boundary IoU"),
    Metric("confident_miou", "E_H", "max", "", "mIoU of the confident pseudo labels, where there are any"),
    Metric("confident_accuracy", "E_H acc.", "max", "", "their pixel accuracy"),
    Metric("confident_share", "E_H share", "max", "", "share of the pixels that have one"),
)
METRICS = MASK_METRICS | PROMPT_METRICS | OBJECT_METRICS | CLASS_METRICS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def image_metrics(probability: NDArray[np.float32], mask: NDArray[np.uint8], names: Iterable[str]) -> dict[str, float]:
    """The named metrics of one image.

    Args:
        probability: HxW, sigmoid of the logits, in [0, 1].
        mask: HxW, 0 for ground and 1 for the object.
        names: keys of ``MASK_METRICS``.

    Returns:
        The metrics in the order of ``names``; all finite, ``ber`` in [0, 100], the others in [0, 1].

    Raises:
        ValueError: the arrays differ in shape, are empty, or hold a value outside their range (NaN too).
        UserError: a name that is no metric.
    """
    wanted = list(names)
    for name in wanted:
        if name not in MASK_METRICS:
            raise unknown("metric", name, MASK_METRICS)
    _check(probability, mask)
    raw = np.asarray(probability, dtype=np.float64)
    truth = np.asarray(mask) > 0
    stretched = _min_max(raw)
    return {name: _SCORE[name](stretched if name in _STRUCTURE else raw, truth) for name in wanted}


def mean_metrics(per_image: dict[int, dict[str, float]]) -> dict[str, float]:
    """The mean over images, the same to the last bit for any number of workers and any order of arrival.

    Args:
        per_image: index of the sample in its split -> its metrics; every image has the same ones.

    Returns:
        name -> mean, exact up to one rounding (``math.fsum``); empty where there are no images.

    Raises:
        ValueError: images that were not scored by the same metrics.
    """
    rows = [per_image[index] for index in sorted(per_image)]
    if not rows:
        return {}
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError("images were scored by different metrics")
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _check(probability: NDArray[Any], mask: NDArray[Any]) -> None:
    if probability.shape != mask.shape or probability.ndim != 2 or not probability.size:
        raise ValueError(f"prediction {probability.shape} and mask {mask.shape} must be one HxW, not empty")
    if not (probability.min() >= 0 and probability.max() <= 1):  # false for NaN as well
        raise ValueError("the prediction must lie in [0, 1] and hold no NaN")
    if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
        raise ValueError("the mask must hold only 0 and 1")


def _min_max(raw: Floats) -> Floats:
    low, high = raw.min(), raw.max()
    return (raw - low) / (high - low) if high > low else raw


@cache
def _toolkit() -> Any:
    """pysodmetrics with the one repair we need; imported late because it pulls in OpenCV and scikit-image."""
    import py_sod_metrics as toolkit

    class Structure(toolkit.Smeasure):
        def ssim(self, pred: Floats, gt: Bools) -> float:
            return float(super().ssim(pred, gt)) if pred.size else 0.0

    class Box:
        MAE, Emeasure, WeightedFmeasure = toolkit.MAE, toolkit.Emeasure, toolkit.WeightedFmeasure
        Smeasure = Structure

    return Box


def _count(pixels: Bools) -> int:
    return int(np.count_nonzero(pixels))


def _unit(value: float) -> float:
    return min(1.0, max(0.0, float(value)))


def _s_measure(stretched: Floats, truth: Bools) -> float:
    return _unit(_toolkit().Smeasure().cal_sm(stretched, truth))


def _e_measure(stretched: Floats, truth: Bools) -> float:
    measure = _toolkit().Emeasure()
    measure.step(stretched, truth, normalize=False)
    curve = measure.changeable_ems[0]
    if truth.size == 1:
        curve = curve * np.spacing(1)
    return _unit(np.mean(curve))


def _weighted_f(stretched: Floats, truth: Bools) -> float:
    measure = _toolkit().WeightedFmeasure(beta=1)
    measure.step(stretched, truth, normalize=False)
    return _unit(measure.weighted_fms[0])


def _mae(stretched: Floats, truth: Bools) -> float:
    return _unit(_toolkit().MAE().cal_mae(stretched, truth))


def _ber(raw: Floats, truth: Bools) -> float:
    found = raw > BER_THRESHOLD
    missed = _count(truth & ~found) / max(_count(truth), 1)
    invented = _count(found & ~truth) / max(_count(~truth), 1)
    return 50.0 * (missed + invented)


def _overlap(raw: Floats, truth: Bools) -> tuple[int, int]:
    """Pixels in both, and the sum of both areas."""
    found = raw > MASK_THRESHOLD
    return _count(found & truth), _count(found) + _count(truth)


def _mdice(raw: Floats, truth: Bools) -> float:
    both, areas = _overlap(raw, truth)
    return 2 * both / areas if areas else 1.0


def _miou(raw: Floats, truth: Bools) -> float:
    both, areas = _overlap(raw, truth)
    return both / (areas - both) if areas else 1.0


_STRUCTURE = ("s_measure", "e_measure", "weighted_f", "mae")
_SCORE: dict[str, Callable[[Floats, Bools], float]] = {
    "s_measure": _s_measure,
    "e_measure": _e_measure,
    "weighted_f": _weighted_f,
    "mae": _mae,
    "ber": _ber,
    "mdice": _mdice,
    "miou": _miou,
}
