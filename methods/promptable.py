"""SAM's own training: all of SAM learns to answer prompts that are drawn from masks.

Paper: Kirillov et al., Segment Anything, arXiv 2304.02643, sections 3 and A.2. It is how this project's own
vit_t got its weights (`make pretrain`), and on any data set it is the full fine-tuning beside the adaptors.

A step, for P masks of each image:

    prompt    a point of the mask or its box (jittered or tight), by a coin
    masks     BxPx4xaxa, a = S/4: the single mask and the three of an ambiguous prompt; iou BxPx4
    click     a point in the region where the best mask is wrong; with that mask's logits as mask prompt
              the decoder answers again with its single mask, for some of the prompts
    L         20 focal + dice + align + MSE(iou, true IoU); of the three masks only the best gets the first three

Where it leaves the paper, by default: the single mask learns from the first prompt too (``single_mask``;
in the paper it is trained with several prompts alone), some first points are drawn deep inside the mask and
some boxes are tight (``inner_points``, ``tight_boxes``), clicks are fewer (the paper has 8, and 2 rounds
without a new click), the losses are taken on the masks' own grid of S/4 or on one of S/2 (``loss_grid``),
where a pixel's target is its coverage, and half of the focal loss's weight lies around the mask
(``pixel_weights``), so that small masks count. ``align`` is new: from random weights focal and Dice first
make all logits alike and then stay there long. ``runners_up`` keeps outputs that are never the best from
dying (0 is the paper).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from methods.backbone.calls import encode, normalise, upscale
from methods.base import Batch, Method, Prediction, option
from methods.parts import prompts as P
from methods.parts.distributed import global_mean
from methods.parts.mask_errors import focal_and_dice

FOCAL_WEIGHT = 20.0  #: focal : Dice = 20 : 1 (section A.2)
_DRAWS = 12  #: random numbers for a first prompt


@dataclass(frozen=True)
class Options:
    masks: int = option(8, "masks of an image, each with a prompt of its own; the paper: up to 64", at_least=1)
    box_share: float = option(0.5, "share of first prompts that are boxes; the paper: half", at_least=0, at_most=1)
    tight_boxes: float = option(0.5, "share of boxes without jitter; the paper: none", at_least=0, at_most=1)
    inner_points: float = option(0.5, "share of points drawn deep inside; the paper: none", at_least=0, at_most=1)
    box_jitter: float = option(0.1, "deviation of a box's corners, in its sides; the paper: 0.1", at_least=0)
    single_mask: str = option(
        "always", "the single mask learns always, or from several prompts (the paper)", ("always", "several_prompts")
    )
    refined: int = option(2, "prompts of an image that get clicks; the paper: all", at_least=0)
    clicks: int = option(1, "clicks after the first prompt; the paper: 8, and 2 rounds without", at_least=0)
    align_weight: float = option(
        1.0, "weight of 1 - correlation of logits and mask; the paper: none (it starts from MAE)", at_least=0
    )
    dice_weight: float = option(
        1.0, "weight of Dice beside focal's 20; the paper: 1. More of it: masks fill where they doubt", at_least=0
    )
    iou_weight: float = option(1.0, "weight of the predicted IoU's error; the paper: 1", at_least=0)
    runners_up: float = option(
        0.0,
        "share of the loss that is the mean of all three masks, not the best's; the paper: 0",
        at_least=0,
        at_most=1,
    )
    loss_grid: str = option(
        "masks",
        "grid of the mask losses: the masks' own, or one twice as fine, which costs four times as much",
        ("masks", "fine"),
    )
    augment: str = option("scene", "crops, turns and colours, or the flip alone", ("scene", "flip"))


class Promptable(Method):
    """All of SAM, trained with SAM's recipe."""

    title = "SAM (its own training)"
    paper = "arXiv 2304.02643"
    Options = Options
    resize = "pad"
    prompted = True
    answers = False  # it is trained on all masks of an image, with prompts of its own
    # only the best of the three masks learns from a prompt
    sometimes_idle = ("sam.mask_decoder.output_hypernetworks_mlps.",)

    def __init__(self, sam: Sam, options: Any = None) -> None:
        super().__init__(sam, options)
        self.sam.requires_grad_(True)
        self.masks = self.options.masks
        self.augment = self.options.augment
        if self.options.refined > self.options.masks:
            raise ValueError(
                f"method.refined={self.options.refined}: at most method.masks={self.options.masks}; lower it"
            )
        if not (self.options.refined and self.options.clicks):
            self.sam.prompt_encoder.mask_downscaling.requires_grad_(False)
            self.sam.prompt_encoder.point_embeddings[P.BACKGROUND].requires_grad_(False)

    def forward(self, batch: Batch) -> Prediction:
        """``masks`` BxPx4xaxa and ``iou`` BxPx4 of the first prompt, ``coverage`` BxPxS/2xS/2 of the targets.

        With clicks also ``later_masks`` BxKxRxaxa and ``later_iou`` BxKxR, of K rounds and R prompts.
        """
        side = batch.image.shape[-1]
        embedding = self.embedding(batch)
        coverage = F.avg_pool2d(batch.mask.float(), 2)
        u = P.uniforms(batch.seed, batch.mask.shape[1], _DRAWS + self.options.clicks)
        prompts = self._first(batch.mask, coverage, u, side)
        masks, iou = P.answer(self.sam, embedding, prompts)
        prediction = {"masks": masks.float(), "iou": iou.float(), "coverage": coverage}
        if self.options.refined and self.options.clicks:
            prediction |= self._clicks(embedding, prompts, prediction, u[..., _DRAWS:], side)
        return prediction

    def embedding(self, batch: Batch) -> Tensor:
        """The encoder's, BxDxhxw."""
        return encode(self.sam.image_encoder, normalise(self.sam, batch.image, batch.valid))

    def _first(self, masks: Tensor, coverage: Tensor, u: Tensor, side: int) -> P.Prompts:
        """A point or a box for each mask; u BxPx12 decides."""
        o = self.options
        tight = P.boxes(masks)
        # whether the last pixel of a box counts as inside is a convention that users differ in
        tight = torch.cat([tight[..., :2] + 0.5, tight[..., 2:] + 0.5 - u[..., 9:10]], dim=-1)
        loose = P.jittered(tight, u[..., 5:9], o.box_jitter, 20 * side / 1024)
        box = torch.where(u[..., 4:5] < o.tight_boxes, tight, loose)
        anywhere = P.pick(coverage, u[..., 1], side)
        deep = P.inner_points(coverage, u[..., 1:4], side)
        point = torch.where(u[..., 10:11] < o.inner_points, deep, anywhere)
        return P.where(u[..., 0] < o.box_share, P.box_prompts(box), P.point_prompts(point))

    def _clicks(self, embedding: Tensor, prompts: P.Prompts, first: Prediction, u: Tensor, side: int) -> Prediction:
        """Rounds of refinement for the first R prompts."""
        prompts = prompts.take(self.options.refined)
        r = prompts.labels.shape[1]
        target = F.avg_pool2d(first["coverage"][:, :r], 2)
        chosen = first["iou"][:, :r, 1:].argmax(-1) + 1
        logits = first["masks"][:, :r].take_along_dim(chosen[..., None, None, None], 2)[:, :, 0]
        masks, ious = [], []
        for k in range(self.options.clicks):
            logits = logits.detach()
            wrong = ((logits > 0) != (target > 0.5)).float()
            click = P.pick(wrong, u[:, :r, k], side)
            cell = (click * (target.shape[-1] / side)).long()
            inside = target.flatten(-2).gather(-1, (cell[..., 1] * target.shape[-1] + cell[..., 0])[..., None])[..., 0]
            prompts = prompts.with_click(click, (inside > 0.5).long())
            out, iou = P.answer(self.sam, embedding, prompts, logits)
            logits = out[:, :, 0].float()
            masks.append(logits)
            ious.append(iou[:, :, 0].float())
        return {"later_masks": torch.stack(masks, 1), "later_iou": torch.stack(ious, 1)}

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        masks, coverage = self._on_grid(prediction["masks"]), prediction["coverage"]
        target = coverage if self.options.loss_grid == "fine" else F.avg_pool2d(coverage, 2)
        near = pixel_weights(P.boxes(batch.mask) / batch.mask.shape[-1], target.shape[-1])
        with torch.no_grad():
            true_iou = hard_iou(masks, target[:, :, None])
        errors = [self._of_three(masks[:, :, 1:], target, near)]
        if self.options.single_mask == "always":
            errors.append(mask_errors(masks[:, :, 0], target, near))
        parts = {name: [e[name] for e in errors] for name in errors[0]}
        parts["iou"] = [prediction["iou"] - true_iou]
        if "later_masks" in prediction:
            later = self._on_grid(prediction["later_masks"])
            r = later.shape[2]
            for name, error in mask_errors(later, target[:, None, :r], near[:, None, :r]).items():
                parts[name].append(error)
            parts["iou"].append(prediction["later_iou"] - hard_iou(later, target[:, None, :r]))
        parts["iou"] = [error.square() for error in parts["iou"]]
        means = {name: torch.cat([v.flatten(1) for v in values], 1).mean(1) for name, values in parts.items()}
        return {name: global_mean(value, batch.weight) for name, value in means.items()}

    def _on_grid(self, logits: Tensor) -> Tensor:
        """Mask logits ...xaxa on the grid of the losses, enlarged as those of an answer are."""
        if self.options.loss_grid == "masks":
            return logits
        return upscale(logits.flatten(1, -3), 2 * logits.shape[-1]).unflatten(1, logits.shape[1:-2])

    def _of_three(self, masks: Tensor, target: Tensor, near: Tensor) -> dict[str, Tensor]:
        """Errors BxP of three masks BxPx3xaxa: those of the best, and a share of their mean."""
        share = self.options.runners_up
        with torch.set_grad_enabled(share > 0):
            errors = mask_errors(masks, target[:, :, None], near[:, :, None])
        best = (FOCAL_WEIGHT * errors["focal"] + self.options.dice_weight * errors["dice"]).argmin(-1, keepdim=True)
        if share == 0:
            return mask_errors(masks.take_along_dim(best[..., None, None], 2)[:, :, 0], target, near)
        return {
            name: (1 - share) * e.take_along_dim(best, -1)[..., 0] + share * e.mean(-1) for name, e in errors.items()
        }

    def loss_weights(self) -> dict[str, float]:
        o = self.options
        return {"focal": FOCAL_WEIGHT, "dice": o.dice_weight, "align": o.align_weight, "iou": o.iou_weight}

    def predict(self, batch: Batch) -> Tensor:
        """Mask logits Bx1xSxS for the tight box of the true mask; of the whole input where there is none."""
        box = P.boxes(batch.mask[:, :1]) - torch.tensor([0.0, 0, 1, 1], device=batch.mask.device) + 0.5
        masks, _ = P.answer(self.sam, self.embedding(batch), P.box_prompts(box))
        return upscale(masks[:, 0, :1], batch.image.shape[-1])


def pixel_weights(boxes: Tensor, grid: int) -> Tensor:
    """What each pixel counts in the focal loss: masks' boxes BxPx4, in shares of the side, to BxPxGxG of sum 1.

    Half of it is spread over the window around the mask, twice as wide and high as its box, and half over
    all pixels.
    """
    box = boxes * grid
    # the window of a line thinner than a cell still holds the middle of one
    margin = ((box[..., 2:] - box[..., :2]) / 2).clamp_min(0.75)
    low, high = box[..., :2] - margin, box[..., 2:] + margin
    at = torch.arange(grid, device=boxes.device) + 0.5
    columns = (at > low[..., :1]) & (at < high[..., :1])
    rows = (at > low[..., 1:]) & (at < high[..., 1:])
    window = (rows[..., :, None] & columns[..., None, :]).float()
    weights = window / window.sum((-2, -1), keepdim=True).clamp_min(1) + 1 / grid**2
    return weights / weights.sum((-2, -1), keepdim=True)


def mask_errors(logits: Tensor, target: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """``focal``, ``dice`` and ``align`` of each of ...xHxW logits: ... ."""
    focal, dice = focal_and_dice(logits, target, weights)
    return {"focal": focal, "dice": dice, "align": misalignment(logits, target, weights)}


def misalignment(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """1 - Pearson's correlation over pixels of ...xHxW logits with coverage, weights summing to 1: ... .

    Blind to the logits' scale, so that it has a gradient where random weights make all logits alike.
    """
    a = logits - (weights * logits).sum((-2, -1), keepdim=True)
    b = target - (weights * target).sum((-2, -1), keepdim=True)
    spread = ((weights * a.square()).sum((-2, -1)) * (weights * b.square()).sum((-2, -1)) + 1e-12).sqrt()
    return 1 - (weights * a * b).sum((-2, -1)) / spread


def hard_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of logits > 0 with coverage > 0.5, ...xHxW to ..."""
    a, b = (logits > 0).float(), (target > 0.5).float()
    overlap = (a * b).sum((-2, -1))
    return overlap / (a.sum((-2, -1)) + b.sum((-2, -1)) - overlap).clamp_min(1)
