"""How well every pixel's class is found: counts over a whole split, and the scores that follow from them.

IoU and boundary IoU of a class are taken once over all pixels of a split, as is usual for semantic segmentation,
not as means over images. Counts are integers, so that any number of ranks in any order gives the same scores.

What the definitions leave open is closed here:

- The false positives of a class count wherever the truth is not void, on classes that the model cannot name too.
- Boundaries: the picture's border counts as a contour, as for objects. So does an edge of what is void, in the
  prediction as in the truth: what lies on void is cut out of both, and a perfect prediction scores 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

VOID = 255  #: in a truth: counts nowhere
MOST_CLASSES = 254  #: the number after the last class means 'something else' and must differ from void
DIAGONAL = 0.02  #: the share of it that a boundary is thick (Cheng et al., CVPR 2021)

Labels = NDArray[Any]
Bytes = NDArray[np.uint8]
Counts = NDArray[np.int64]


class Tally:
    """What was predicted for what, over all images of a split.

    Args:
        classes: C, in 1..254.
        boundary: also count the boundaries, for ``class_biou``.

    Attributes:
        matrix: Cx(C+1), pixels by true class and predicted one; the last column is 'something else'.
        both, either: C, pixels in both boundaries of a class (true and predicted), and in at least one.
    """

    def __init__(self, classes: int, boundary: bool = True) -> None:
        if not 1 <= classes <= MOST_CLASSES:
            raise ValueError(f"classes must be in 1..{MOST_CLASSES}, not {classes}")
        self.classes, self.boundary = classes, boundary
        self.matrix: Counts = np.zeros((classes, classes + 1), np.int64)
        self.both: Counts = np.zeros(classes, np.int64)
        self.either: Counts = np.zeros(classes, np.int64)

    def add(self, truth: Labels, predicted: Labels, wraps: bool = False) -> None:
        """Counts an image.

        Args:
            truth: HxW integers, 0..C-1, or 255 for void.
            predicted: HxW integers, 0..C-1; C or 255 mean 'something else', a class that the data set does not
                have: a miss of the true one and nobody's false positive.
            wraps: the left edge joins the right one, as in a whole panorama, and is no contour.

        Raises:
            ValueError: the arrays differ in shape, are empty, or hold anything else.
        """
        if truth.shape != predicted.shape or truth.ndim != 2 or not truth.size:
            raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} must be one HxW, not empty")
        true = _as_bytes(truth, self.classes - 1, "truth")
        found = _as_bytes(predicted, self.classes, "prediction")
        void = true == VOID
        found = np.where(void, np.uint8(VOID), np.minimum(found, np.uint8(self.classes)))
        pairs = true[~void].astype(np.intp) * (self.classes + 1) + found[~void]
        self.matrix += np.bincount(pairs, minlength=self.matrix.size).reshape(self.matrix.shape)
        if self.boundary:
            self._add_boundaries(true, found, wraps)

    def _add_boundaries(self, true: Bytes, found: Bytes, wraps: bool) -> None:
        thick = max(1, round(DIAGONAL * math.hypot(*true.shape)))
        ring, other = boundaries(true, thick, wraps), boundaries(found, thick, wraps)
        both = self._by_class(true[ring & other & (true == found)])
        self.both += both
        self.either += self._by_class(true[ring]) + self._by_class(found[other]) - both

    def _by_class(self, labels: Bytes) -> Counts:
        return np.bincount(labels, minlength=self.classes)[: self.classes]

    def scores(self, names: Sequence[str], known: Collection[int] | None = None) -> dict[str, float]:
        """The scores, all in [0, 1] or NaN where there is nothing to score.

        Args:
            names: of the C classes.
            known: those that the model can name; None: all.

        Returns:
            ``class_miou``: mean IoU over the known classes that occur in truth or prediction; NaN: none does.
            ``class_miou_all``: over all classes that occur; one that is not known has 0.
            ``class_biou``: mean boundary IoU, over what ``class_miou`` is; only where boundaries are counted.
            ``pixel_accuracy``: the share of all pixels, but void ones, whose class is found.
            ``class_miou[NAME]`` for each class that occurs.
        """
        if len(names) != self.classes:
            raise ValueError(f"{len(names)} names of {self.classes} classes")
        nameable = np.isin(np.arange(self.classes), range(self.classes) if known is None else list(known))
        right = np.diagonal(self.matrix)
        union = self.matrix.sum(axis=1) + self.matrix[:, :-1].sum(axis=0) - right
        occurs = union > 0
        iou = np.where(nameable, right / np.maximum(union, 1), 0.0)
        found = {"class_miou": _mean(iou[occurs & nameable]), "class_miou_all": _mean(iou[occurs])}
        if self.boundary:  # a class that occurs has a boundary: the picture's border is one
            found["class_biou"] = _mean((self.both / np.maximum(self.either, 1))[occurs & nameable])
        total = int(self.matrix.sum())
        found["pixel_accuracy"] = int(right.sum()) / total if total else math.nan
        return found | {f"class_miou[{names[k]}]": float(iou[k]) for k in np.flatnonzero(occurs)}


def merge(parts: Iterable[Tally]) -> Tally:
    """The tally of all images that the parts have counted; ValueError if they are not alike, or none is there."""
    first, *others = parts
    whole = Tally(first.classes, first.boundary)
    for part in (first, *others):
        if (part.classes, part.boundary) != (whole.classes, whole.boundary):
            raise ValueError("only tallies of the same classes, with boundaries or without, can be merged")
        whole.matrix += part.matrix
        whole.both += part.both
        whole.either += part.either
    return whole


def boundaries(labels: Bytes, thick: int, wraps: bool = False) -> NDArray[np.bool_]:
    """The pixels of labels HxW within ``thick`` (of rows and columns) of another label or the picture's border.

    Args:
        wraps: the left and right borders are none, but join.

    Returns:
        HxW: the boundaries of all labels' masks at once; never what is void.
    """
    sides = ((0, 0), (thick, thick))
    padded = np.pad(labels, sides, mode="wrap") if wraps else np.pad(labels, sides, constant_values=VOID)
    padded = np.pad(padded, sides[::-1], constant_values=VOID)
    # a window with one label alone has the same minimum and maximum
    window = np.ones((2 * thick + 1, 2 * thick + 1), np.uint8)
    mixed = cv2.erode(padded, window) != cv2.dilate(padded, window)
    return np.asarray(mixed[thick:-thick, thick:-thick] & (labels != VOID))


def _as_bytes(labels: Labels, last: int, what: str) -> Bytes:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"the {what} must hold integers, not {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > VOID or (high > last and bool(np.any((labels > last) & (labels != VOID)))):
        raise ValueError(f"the {what} must lie in 0..{last} or be {VOID}; it has {low} to {high}")
    return labels.astype(np.uint8, copy=False)


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values.tolist()) / len(values) if len(values) else math.nan
