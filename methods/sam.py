"""SAM, zero-shot: the baseline row of the papers. Nothing is trained.

Paper: Kirillov et al., Segment Anything, arXiv 2304.02643. The protocol is the baseline of SAM-Adapter
(arXiv 2304.09148): one box over the whole image, no points.

    box      Bx4  (0, 0, width, height) of the image inside the padded input, pixels
    logits   BxPxSxS, of the single mask or of the best of three by predicted IoU

Where objects are prompted for one by one, those prompts take the box's place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.backbone.calls import embed_image, upscale
from methods.base import Batch, Method, Prediction, option
from methods.parts.losses import counted, mask_losses
from methods.parts.prompts import ask, whole_image


@dataclass(frozen=True)
class Options:
    mask_choice: str = option(
        "single",
        "which of SAM's outputs: the single mask, or the best of three by SAM's own predicted IoU",
        ("single", "best_predicted"),
    )


class SamZeroShot(Method):
    """Frozen SAM: prompted with a box over the whole image where the data set has no prompts."""

    title = "SAM (zero-shot)"
    paper = "arXiv 2304.02643"
    Options = Options
    resize = "pad"
    trains = False
    frozen_encoder = True

    def embedding(self, batch: Batch) -> Tensor:
        """SAM's own, BxDxhxw."""
        return embed_image(self.sam, batch)

    def answer(self, embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Masks BxPx4xaxa, the chosen one first, and predicted IoU BxPx4."""
        masks, iou = ask(self.sam, embedding, batch.prompts or whole_image(batch.valid))
        if self.options.mask_choice == "single":
            return masks, iou
        best = 1 + iou[..., 1:].argmax(-1, keepdim=True)
        order = torch.cat([best, torch.arange(1, 4, device=iou.device).expand(*iou.shape[:-1], 3)], dim=-1)
        return masks.take_along_dim(order[..., None, None], 2), iou.take_along_dim(order, -1)

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxPxSxS."""
        masks, _ = self.answer(self.embedding(batch), batch)
        return {"logits": upscale(masks[:, :, 0], batch.mask.shape[-1])}

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        return mask_losses("bce_iou", prediction["logits"], batch.mask, counted(batch))
