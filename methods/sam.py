"""SAM, zero-shot: the baseline row of the papers. Nothing is trained.

Paper: Kirillov et al., Segment Anything, arXiv 2304.02643. The protocol is the baseline of SAM-Adapter
(arXiv 2304.09148): one box over the whole image, no points.

    box      Bx4  (0, 0, width, height) of the image inside the padded input, pixels
    logits   Bx1xSxS, of the single mask or of the best of three by predicted IoU
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.backbone.calls import encode, normalise, upscale
from methods.base import Batch, Method, Prediction, option
from methods.parts.losses import mask_losses
from methods.parts.prompts import answer, box_prompts


@dataclass(frozen=True)
class Options:
    mask_choice: str = option(
        "single",
        "which of SAM's outputs: the single mask, or the best of three by SAM's own predicted IoU",
        ("single", "best_predicted"),
    )


class SamZeroShot(Method):
    """Frozen SAM prompted with a box over the whole image."""

    title = "SAM (zero-shot)"
    paper = "arXiv 2304.02643"
    Options = Options
    resize = "pad"
    trains = False

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` Bx1xSxS."""
        side = batch.image.shape[-1]
        height, width = batch.valid.unbind(1)
        box = torch.stack([torch.zeros_like(width), torch.zeros_like(height), width, height], dim=1).float()
        embedding = encode(self.sam.image_encoder, normalise(self.sam, batch.image, batch.valid))
        masks, predicted_iou = (x[:, 0] for x in answer(self.sam, embedding, box_prompts(box[:, None] + 0.5)))
        if self.options.mask_choice == "single":
            chosen = masks[:, :1]
        else:
            best = 1 + predicted_iou[:, 1:].argmax(1)
            chosen = masks[torch.arange(len(batch), device=masks.device), best][:, None]
        return {"logits": upscale(chosen, side)}

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        return mask_losses("bce_iou", prediction["logits"], batch.mask, batch.weight)
