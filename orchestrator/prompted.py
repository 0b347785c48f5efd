"""How well SAM answers prompts: IoU at original resolution for tight boxes and inner points.

Beside it stand two answers that need no model: the box itself, and the ellipse inscribed in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from segment_anything.modeling import Sam
from torch import Tensor

from methods.backbone.calls import encode, normalise
from methods.base import Method
from methods.parts import prompts as P
from orchestrator.build import autocast
from orchestrator.data.layers import layer
from orchestrator.data.loader import fit, valid_size
from orchestrator.data.reader import DataSplit
from orchestrator.errors import UserError
from orchestrator.metrics import PROMPT_METRICS
from orchestrator.ranks import Ranks

#: What is measured, for one mask: name -> how it is read.
MEANINGS = {
    "box_iou": "tight box, single mask",
    "box_best": "tight box, best of three by predicted IoU",
    "point_iou": "inner point, best of three by predicted IoU",
    "point_single": "inner point, single mask",
    "point_oracle": "inner point, best of three by true IoU",
    "filled_box": "no model: the box filled",
    "ellipse": "no model: the ellipse inscribed in the box",
    "ranking": "pairs of the three outputs that predicted IoU puts in the right order; 0.5 is chance",
}
_MASKS = 4  #: of a scene that are asked for
_APART = 0.01  #: outputs whose IoU differs by less have no order

Masks = NDArray[np.bool_]  # MxHxW


def mean_scores(
    sam: Sam, samples: Iterable[tuple[NDArray[np.uint8], Masks]], device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """The mean over all masks of all samples (image HxWx3, masks MxHxW) of everything in ``MEANINGS``.

    ``masks`` is their number.
    """
    rows = [row for image, masks in samples for row in scores(sam, image, masks, device, dtype)]
    return _mean(rows, tuple(MEANINGS)) | {"masks": float(len(rows))}


def _mean(rows: list[dict[str, float]], names: tuple[str, ...]) -> dict[str, float]:
    """NaN (a ranking without order) does not count."""
    values = {name: [row[name] for row in rows if row[name] == row[name]] for name in names}
    return {name: math.fsum(found) / max(1, len(found)) for name, found in values.items()}


def evaluate_prompts(
    method: Method, split: DataSplit, device: torch.device, dtype: torch.dtype, ranks: Ranks
) -> dict[str, float]:
    """The mean over the masks of a split with layers, the same for any number of ranks."""
    method.eval()
    mine = {}
    for i in range(ranks.rank, len(split), ranks.world):
        sample = split.read(i)
        if sample.bits is None:
            raise UserError(f"split '{split.name}': '{sample.id}' has no masks in layers; draw the scenes again")
        masks = np.stack([layer(sample.bits, k) for k in range(min(sample.layers, _MASKS))])
        mine[i] = list(scores(method.sam, sample.image, masks, device, dtype))
    merged = {i: rows for part in ranks.gather(mine) for i, rows in part.items()}
    return _mean([row for i in sorted(merged) for row in merged[i]], tuple(PROMPT_METRICS))


@torch.inference_mode()
def scores(
    sam: Sam, image: NDArray[np.uint8], masks: Masks, device: torch.device, dtype: torch.dtype
) -> Iterator[dict[str, float]]:
    """One row of ``MEANINGS`` for each mask of an image; ``ranking`` is NaN where the outputs are alike."""
    height, width = image.shape[:2]
    side = int(sam.image_encoder.img_size)
    valid = valid_size(height, width, side, "pad")
    picture, _ = fit(image, np.zeros((height, width), np.uint8), side, valid, flip=False)
    scale = np.array([valid[1] / width, valid[0] / height])
    boxes = np.array([tight_box(mask) for mask in masks])
    inner = np.array([innermost(mask) for mask in masks])
    with autocast(device, dtype):
        shown = torch.from_numpy(picture)[None].to(device)
        embedding = encode(sam.image_encoder, normalise(sam, shown, torch.tensor([valid], device=device)))
        by_box = _ask(sam, embedding, P.box_prompts(_scaled(boxes.reshape(-1, 2, 2), scale, device).flatten(1)))
        by_point = _ask(sam, embedding, P.point_prompts(_scaled(inner, scale, device)))
    for i, mask in enumerate(masks):
        box_masks, box_predicted = (t[i] for t in by_box)
        point_masks, point_predicted = (t[i] for t in by_point)
        box_ious = _ious(box_masks, mask, valid)
        point_ious = _ious(point_masks, mask, valid)
        yield {
            "box_iou": box_ious[0],
            "box_best": box_ious[1 + int(box_predicted[1:].argmax())],
            "point_iou": point_ious[1 + int(point_predicted[1:].argmax())],
            "point_single": point_ious[0],
            "point_oracle": max(point_ious[1:]),
            "filled_box": iou(_filled(boxes[i], mask.shape), mask),
            "ellipse": iou(_ellipse(boxes[i], mask.shape), mask),
            "ranking": _ordered(point_ious[1:], point_predicted[1:].tolist()),
        }


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the outermost pixels, all inside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def innermost(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """(x, y) of the pixel farthest from everything outside, the image's border included."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(x), int(y)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of HxW masks; of two empty ones, 1."""
    union = int(np.count_nonzero(a | b))
    return float(np.count_nonzero(a & b)) / union if union else 1.0


def _scaled(points: NDArray[np.float64], scale: NDArray[np.float64], device: torch.device) -> Tensor:
    """...x2 of the image's pixels in those of the input; half a pixel is added after scaling, as SAM does."""
    return torch.from_numpy((points * scale + 0.5).astype(np.float32)).to(device)


def _ask(sam: Sam, embedding: Tensor, prompts: P.Prompts) -> tuple[Tensor, Tensor]:
    """Logits Mx4xaxa and predicted IoU Mx4 of M prompts of one image."""
    masks, predicted = P.answer(sam, embedding, P.Prompts(prompts.coords[None], prompts.labels[None]))
    return masks[0].float(), predicted[0].float()


def _ious(logits: Tensor, mask: NDArray[np.bool_], valid: tuple[int, int]) -> list[float]:
    """IoU of each of 4xaxa logits with the mask, brought to its size as SAM does (input's side first)."""
    side = 4 * logits.shape[-1]
    full = F.interpolate(logits[None], (side, side), mode="bilinear", align_corners=False)
    full = F.interpolate(full[..., : valid[0], : valid[1]], mask.shape, mode="bilinear", align_corners=False)
    return [iou(found, mask) for found in (full[0] > 0).cpu().numpy()]


def _ordered(true: list[float], predicted: list[float]) -> float:
    """Share of the pairs that differ in true IoU which the predicted one puts in order."""
    pairs = [(i, j) for i in range(len(true)) for j in range(i) if abs(true[i] - true[j]) > _APART]
    right = [(true[i] - true[j]) * (predicted[i] - predicted[j]) > 0 for i, j in pairs]
    return float(np.mean(right)) if right else float("nan")


def _filled(box: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    out = np.zeros(shape, np.bool_)
    out[y0 : y1 + 1, x0 : x1 + 1] = True
    return out


def _ellipse(box: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    y, x = np.ogrid[: shape[0], : shape[1]]
    across, down = (x1 + 1 - x0) / 2, (y1 + 1 - y0) / 2
    inside = ((x - (x0 + x1) / 2) / across) ** 2 + ((y - (y0 + y1) / 2) / down) ** 2 <= 1
    return np.asarray(inside)
