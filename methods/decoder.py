"""Decoder tuning: SAM's mask decoder is trained, all else is frozen. The control for every adaptor.

The decoder-only row of the ablation that MCA-SAM's spec asks for, with SAM-Adapter's input and losses
(arXiv 2304.09148): no prompt, single mask, BCE + IoU (balanced BCE for shadows).

    embedding  BxDxhxw = encoder(I), frozen
    logits     BxPxSxS = decoder(embedding, the batch's prompts or none), trained; equals SAM's at step 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from segment_anything.modeling import Sam
from torch import Tensor

from methods.backbone.calls import embed_image, train_decoder, upscale
from methods.base import Batch, Method, Prediction, option
from methods.parts.losses import counted, mask_losses


@dataclass(frozen=True)
class Options:
    iou_weight: float = option(1.0, "weight of the IoU loss beside BCE; SAM-Adapter's code: 1", at_least=0)
    mask_loss: str = option("bce_iou", "BCE + IoU, or balanced BCE (shadows)", ("bce_iou", "bbce"))


class DecoderTuning(Method):
    """SAM without a prompt of its own, its mask decoder trained."""

    title = "Decoder tuning"
    paper = "baseline"
    Options = Options
    neutral = True
    frozen_encoder = True

    def __init__(self, sam: Sam, options: Any = None) -> None:
        super().__init__(sam, options)
        train_decoder(self.sam)

    def embedding(self, batch: Batch) -> Tensor:
        """SAM's own, BxDxhxw."""
        return embed_image(self.sam, batch)

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxPxSxS."""
        masks, _ = self.answer(self.embedding(batch), batch)
        return {"logits": upscale(masks[:, :, 0], batch.mask.shape[-1])}

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        return mask_losses(self.options.mask_loss, prediction["logits"], batch.mask, counted(batch))

    def loss_weights(self) -> dict[str, float]:
        return {"iou": self.options.iou_weight}
