"""How well a method finds the object that a prompt means, and how much that depends on the prompt.

Each object is prompted several times: by a point uniform over its mask, or by its box with noise on the corners.
Prompts depend on the image's id alone, so that every method, trial and seed answers the same ones. IoU and
boundary IoU are taken at the mask's own resolution. A class counts as much as any other, however many objects it has.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from methods.base import Batch, Method
from methods.parts import prompts as P
from orchestrator.config import PromptSettings
from orchestrator.data.objects import Target
from orchestrator.data.order import eval_batches
from orchestrator.data.reader import DataSplit
from orchestrator.engine import Engine, NotFinite
from orchestrator.metrics import OBJECT_METRICS

VALIDATION = ("object_miou", "iou_spread")
VALIDATION_REPEATS = 4
AT_ONCE = 32  #: prompts that are answered together, which bounds memory
#: SAM's outputs beside the single mask, the best of three by predicted and by true IoU: how their metrics begin.
PICKS = ("predicted_", "oracle_")
PREFIXED = ("miou", "boundary_iou", "spread")
INSIDE = {"object_miou": "miou", "iou_spread": "spread"}  #: what metrics are called within this module
DIAGONAL = 0.02  #: the share of it that a boundary is thick (Cheng et al., CVPR 2021)


@dataclass(frozen=True)
class Scored:
    """One object and its metrics, means over its prompts."""

    category: int
    values: dict[str, float]


def evaluate_objects(
    engine: Engine, split: DataSplit, repeats: int, names: Sequence[str], classes: Sequence[str] = ()
) -> dict[str, float]:
    """The named metrics of ``OBJECT_METRICS`` over a split, the same for any number of ranks.

    Args:
        repeats: prompts of each object.
        classes: names of the categories. With these, and all metrics asked for, ``object_miou[NAME]`` is there
            for each class that the split has.
    """
    assert engine.apart is not None
    engine.method.eval()
    settings, mine = engine.settings, dict[int, list[Scored]]()
    batches = eval_batches(len(split), settings.train.batch, engine.ranks.rank, engine.ranks.world)
    with closing(iter(engine.loader(split, batches, 0, train=False))) as loader:
        for batch in loader:
            moved = batch.to(engine.device)
            with torch.inference_mode(), engine.autocast():
                embedding = engine.method.embedding(moved)
            for i in np.flatnonzero(batch.weight.numpy() > 0).tolist():
                row = int(batch.index[i])
                truth = split.truth(row)
                targets = chosen(engine.apart.objects(truth), settings.prompts, truth.id)
                one = moved.map(lambda tensor, i=i: tensor[i : i + 1])  # type: ignore[misc]
                asked = Questions(one, targets, truth.mask.shape, truth.id, settings.prompts, repeats)
                with torch.inference_mode(), engine.autocast():
                    mine[row] = list(asked.scored(engine.method, embedding[i : i + 1], names))
    merged = {i: rows for part in engine.ranks.gather(mine) for i, rows in part.items()}
    return means([one for i in sorted(merged) for one in merged[i]], names, classes)


def chosen(targets: list[Target], settings: PromptSettings, name: str) -> list[Target]:
    """Those of an image's objects that are measured, in their order."""
    if not settings.at_most or len(targets) <= settings.at_most:
        return targets
    rng = np.random.default_rng([zlib.crc32(name.encode()), 0])
    return [targets[k] for k in sorted(rng.choice(len(targets), settings.at_most, replace=False).tolist())]


def means(scored: Iterable[Scored], names: Sequence[str], classes: Sequence[str] = ()) -> dict[str, float]:
    """Means over the objects of each class, and of these over classes; NaN where there is no object."""
    by_class: dict[int, list[dict[str, float]]] = defaultdict(list)
    for one in scored:
        by_class[one.category].append(one.values)
    found = {
        name: {k: math.fsum(values[name] for values in rows) / len(rows) for k, rows in sorted(by_class.items())}
        for name in names
    }
    over = {name: math.fsum(each.values()) / len(each) if each else math.nan for name, each in found.items()}
    if len(by_class) > 1 and set(names) == set(OBJECT_METRICS):
        named = {k: classes[k] if k < len(classes) else str(k) for k in by_class}
        over |= {f"object_miou[{named[k]}]": value for k, value in found["object_miou"].items()}
    return over


class Questions:
    """The prompts for one image's objects, what a method answers, and how good that is.

    Args:
        image: a batch of one.
        targets: in a mask of ``shape`` (height, width).
        name: the image's id, which the prompts depend on.
        repeats: prompts of each target.
    """

    def __init__(
        self,
        image: Batch,
        targets: list[Target],
        shape: tuple[int, ...],
        name: str,
        settings: PromptSettings,
        repeats: int,
    ) -> None:
        self.image, self.targets, self.repeats = image, targets, repeats
        self.height, self.width = shape
        self.valid = tuple(int(v) for v in image.valid[0])
        self.thick = max(1, round(DIAGONAL * math.hypot(*shape)))
        scale = np.array([self.valid[1] / self.width, self.valid[0] / self.height])
        draw = _points if settings.judged_by == "point" else _boxes
        drawn = [
            draw(target, np.random.default_rng([zlib.crc32(name.encode()), 1, k]), repeats, settings.judged_jitter)
            for k, target in enumerate(targets)
        ]
        #: (targets repeats)x(1 or 2)x2 in pixels of the input: points, or boxes' corners
        self.coords = np.concatenate(drawn) * scale if drawn else np.zeros((0, 1, 2))

    def scored(self, method: Method, embedding: Tensor, names: Sequence[str]) -> Iterator[Scored]:
        """Each object's metrics."""
        prefixes = [prefix for prefix in PICKS if {f"{prefix}{of}" for of in PREFIXED} & set(names)]
        ringed = any(name.endswith("boundary_iou") for name in names)
        answers = self._answers(method, embedding)
        for target in self.targets:
            true = target.full((self.height, self.width))
            ring = boundary(true, self.thick) if ringed else true
            own = [self._score(*answer, true, ring, names, prefixes) for answer in islice(answers, self.repeats)]
            values = {name: float(np.mean([row[name] for row in own])) for name in own[0]}
            for prefix in ("", *prefixes):
                values[f"{prefix}spread"] = float(np.std([row[f"{prefix}miou"] for row in own], ddof=1))
            yield Scored(target.category, {name: values[INSIDE.get(name, name)] for name in names})

    def masks(self, method: Method, embedding: Tensor) -> Iterator[NDArray[np.bool_]]:
        """The answer HxW to each prompt, object by object."""
        for masks, _ in self._answers(method, embedding):
            yield self._at_full_size(masks[:1])[0]

    def shown_on(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture HxWx3 at the masks' size, its prompts drawn in."""
        picture = Image.fromarray(image).resize((self.width, self.height))
        draw, scale = ImageDraw.Draw(picture), np.array([self.width / self.valid[1], self.height / self.valid[0]])
        radius = max(2.0, max(self.width, self.height) / 80)
        for corners in self.coords * scale:
            if len(corners) == 1:
                (x, y) = corners[0]
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="yellow", outline="black")
            else:
                draw.rectangle([*np.minimum(*corners), *np.maximum(*corners)], outline="yellow", width=2)
        return np.asarray(picture)

    def _answers(self, method: Method, embedding: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits 4xaxa and predicted IoU 4 for each prompt."""
        for start in range(0, len(self.coords), AT_ONCE):
            prompts = self._prompts(self.coords[start : start + AT_ONCE], embedding.device)
            masks, iou = method.answer(embedding, replace(self.image, prompts=prompts))
            if not torch.isfinite(masks).all():
                raise NotFinite("the predicted masks are not finite; try a lower train.lr")
            yield from zip(masks[0].float(), iou[0].float(), strict=True)

    def _prompts(self, coords: NDArray[np.float64], device: torch.device) -> P.Prompts:
        """1xPxTx2, as SAM wants points (with the token that is no point) and boxes (half a pixel on)."""
        there = torch.from_numpy(coords.astype(np.float32))[None].to(device)
        return P.point_prompts(there[:, :, 0]) if there.shape[2] == 1 else P.box_prompts(there.flatten(2) + 0.5)

    def _score(
        self,
        logits: Tensor,
        predicted: Tensor,
        true: NDArray[np.bool_],
        ring: NDArray[np.bool_],
        names: Sequence[str],
        prefixes: Sequence[str],
    ) -> dict[str, float]:
        """One answer's metrics: logits 4xaxa, predicted IoU 4; of the true mask HxW and its boundary."""
        found = self._at_full_size(logits if prefixes else logits[:1])
        ious = [_iou(mask, true) for mask in found]
        outputs = {"": 0}
        if "predicted_" in prefixes:
            outputs["predicted_"] = 1 + int(predicted[1:].argmax())
        if "oracle_" in prefixes:
            outputs["oracle_"] = 1 + int(np.argmax(ious[1:]))
        values = {f"{prefix}miou": ious[k] for prefix, k in outputs.items()}
        for prefix, k in outputs.items():
            if f"{prefix}boundary_iou" in names:
                values[f"{prefix}boundary_iou"] = _iou(boundary(found[k], self.thick), ring)
        return values

    def _at_full_size(self, logits: Tensor) -> NDArray[np.bool_]:
        """Logits Kxaxa as masks KxHxW, enlarged as SAM does: to the input's side first."""
        side = self.image.mask.shape[-1]
        full = F.interpolate(logits[None], (side, side), mode="bilinear", align_corners=False)
        shown = full[..., : self.valid[0], : self.valid[1]]
        whole = F.interpolate(shown, (self.height, self.width), mode="bilinear", align_corners=False)
        return np.asarray((whole[0] > 0).cpu().numpy())


def _points(target: Target, rng: np.random.Generator, count: int, jitter: float) -> NDArray[np.float64]:
    """``count`` points (x, y) uniform over an object's pixels, at their middles: countx1x2."""
    y, x = np.nonzero(target.crop)
    at = rng.integers(0, len(y), count)
    return np.stack([x[at] + target.box[1], y[at] + target.box[0]], axis=-1)[:, None].astype(np.float64) + 0.5


def _boxes(target: Target, rng: np.random.Generator, count: int, jitter: float) -> NDArray[np.float64]:
    """``count`` boxes whose corners deviate by ``jitter`` of the sides: countx2x2, the upper left one first."""
    y0, x0, y1, x1 = target.box
    noise = np.clip(rng.normal(0, jitter, (count, 2, 2)), -2 * jitter, 2 * jitter)
    corners = np.asarray([[x0, y0], [x1, y1]], np.float64) + noise * np.asarray([x1 - x0, y1 - y0], np.float64)
    return np.sort(corners, axis=1)


def boundary(mask: NDArray[np.bool_], thick: int) -> NDArray[np.bool_]:
    """The pixels of a mask HxW within ``thick`` of what is outside; the picture's border counts as outside."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    core = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=thick)[1:-1, 1:-1]
    return mask & (core == 0)


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0
