"""How well a method names pixels: whole splits, at each image's own size, the same for any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from methods.base import Batch
from methods.parts.labeller import VOID, Judged, Labeller
from orchestrator.class_names import matched
from orchestrator.class_scores import Tally, merge
from orchestrator.data.frames import class_map
from orchestrator.data.order import eval_batches
from orchestrator.data.reader import DataSplit
from orchestrator.engine import Engine, NotFinite
from orchestrator.errors import UserError

ANSWER, AGREEMENT, CONFIDENT = "class", "pseudo", "confident"
CHOICE = "choice"  #: the metric that a panorama's trial is chosen by


@dataclass
class _Counts:
    """What one rank has counted."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    kept: int = 0  #: pixels with a true class that E_H names
    asked: int = 0  #: pixels with a true class


@torch.inference_mode()
def evaluate_classes(
    engine: Engine, split: DataSplit, names: Sequence[str], wraps: bool, all_of_it: bool
) -> dict[str, float]:
    """A method's scores on a split; with ``all_of_it`` also each class's, and the quality of pseudo labels.

    Args:
        names: the data set's classes.
        wraps: left and right edge of an image join.

    Returns:
        Metrics of ``metrics.CLASS_METRICS``; those that need labels only where the split has some. A class that the
        model cannot name counts in ``class_miou_all`` alone.
    """
    method = engine.method
    assert isinstance(method, Labeller)
    method.eval()
    names = names or method.classes  # images without labels may know of none
    numbers, counts = matched(method.classes, names), _Counts({ANSWER: Tally(len(names))})
    batches = eval_batches(len(split), engine.settings.train.batch, engine.ranks.rank, engine.ranks.world)
    with closing(iter(engine.loader(split, batches, 0, train=False))) as loader:
        for batch in loader:
            batch = batch.to(engine.device)
            with engine.autocast():
                logits = method.predict(batch)
                agreed = method.agreement(batch, logits)
                judged = method.pseudo_labels(batch) if all_of_it else {}
            if not torch.isfinite(logits).all():
                raise NotFinite("the predicted classes are not finite; try a lower train.lr")
            real = (batch.weight > 0).nonzero().flatten().tolist()
            _count_answer(counts.tallies[ANSWER], split, batch, logits, real, numbers, wraps)
            if agreed is not None:
                _count(counts, AGREEMENT, agreed, real, np.arange(len(method.classes)), len(method.classes))
            for name, one in judged.items():
                _count(counts, name, one, real, numbers, len(names))
    return _scores(engine.ranks.gather(counts), method.classes, names, all_of_it)


def at_original(logits: Tensor, size: Tensor) -> NDArray[np.int64]:
    """The classes HxW at an image's own size, of logits CxHxW at the input's."""
    full = F.interpolate(logits[None].float(), tuple(size.tolist()), mode="bilinear", align_corners=False)
    return full[0].argmax(0).cpu().numpy()


def _count_answer(
    tally: Tally,
    split: DataSplit,
    batch: Batch,
    logits: Tensor,
    real: Sequence[int],
    numbers: NDArray[np.int64],
    wraps: bool,
) -> None:
    for i in real:
        truth = class_map(split.truth(int(batch.index[i])))
        tally.add(truth, numbers[at_original(logits[i], batch.size[i])], wraps)


def _count(
    counts: _Counts, name: str, judged: Judged, real: Sequence[int], numbers: NDArray[np.int64], classes: int
) -> None:
    """Count maps of a batch's real images. ``numbers``: the data set's number of each class that a map names.

    Where a map says nothing nobody counts: it is measured on what it supports.
    """
    bounded = name not in (AGREEMENT, CONFIDENT)
    tally = counts.tallies.setdefault(name, Tally(classes, boundary=bounded))
    if name == CONFIDENT:
        true = judged.truth[real] != VOID
        counts.asked += int(true.sum())
        counts.kept += int((true & (judged.labels[real] != VOID)).sum())
    for labels, truth in zip(judged.labels[real].flatten(0, 1), judged.truth[real].flatten(0, 1), strict=True):
        said = labels.cpu().numpy().astype(np.int64)
        goal = np.where(said == VOID, VOID, truth.cpu().numpy().astype(np.int64))
        if (goal != VOID).any():
            tally.add(goal, np.append(numbers, classes)[np.minimum(said, len(numbers))], judged.wraps)


def _scores(parts: Iterable[_Counts], model: Sequence[str], names: Sequence[str], all_of_it: bool) -> dict[str, float]:
    """What all ranks' counts come to; without what is not known, and each class's only with ``all_of_it``."""
    parts = list(parts)
    known = sorted(set(matched(model, names).tolist()) - {len(names)})
    found: dict[str, float] = {}
    for name in parts[0].tallies:
        merged = merge(part.tallies[name] for part in parts)
        scores = merged.scores(model) if name == AGREEMENT else merged.scores(names, known)
        if name == ANSWER:
            found |= {k: v for k, v in scores.items() if all_of_it or "[" not in k}
            continue
        found[f"{name}_miou"] = scores["class_miou"]
        if name == AGREEMENT:
            found["pseudo_accuracy"] = scores["pixel_accuracy"]
        if merged.boundary:
            found[f"{name}_biou"] = scores["class_biou"]
        if name == CONFIDENT and (asked := sum(p.asked for p in parts)):
            found["confident_accuracy"] = scores["pixel_accuracy"]
            found["confident_share"] = sum(p.kept for p in parts) / asked
    found = {name: value for name, value in found.items() if not math.isnan(value)}
    if AGREEMENT in parts[0].tallies:
        found[CHOICE] = found.get("class_miou", found.get("pseudo_accuracy", math.nan))
        if math.isnan(found[CHOICE]) and all_of_it:
            del found[CHOICE]  # of a test nothing is chosen
        elif math.isnan(found[CHOICE]):
            raise UserError(
                "nothing to choose by: the held-out images have no labels, and in none of them SAM found an instance "
                "that the assistant is sure of; lower method.predicted_iou and method.stability"
            )
    return found
