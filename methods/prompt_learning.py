"""Prompt learning for SAM: a small module corrects the prompt's embedding for the task; SAM is wholly frozen.

Paper: Kim, Yun et al., Task-Specific Adaptation of Segmentation Foundation Model via Prompt Learning,
arXiv 2403.09199. The Prompt Learning Module (PLM) is prompt self-attention, prompt-to-image attention and an MLP
on the tokens of the prompt encoder; the Point Matching Module (PMM) aligns points of the mask's contour with the
true one, in training alone. No code and no numbers of it are public: everything below that is not in these two
sentences is inferred, and a named option where it could be otherwise.

    f     BxPxTxD = prompt encoder(points or box); with ``tokens`` K also K learned ones: T + K
    f_I   BxDxhxw = image encoder(I), frozen
    h1    = LN(f + SelfAttention(f))
    h2    = LN(h1 + Attention(q = h1, k = f_I + PE, v = f_I))
    f'    = f + MLP(h2), whose last layer starts at zero: at step 0 it is SAM, bit for bit (with K = 0)
    M     BxPx4xaxa = mask decoder(f_I, f'), frozen, a = S/4; the single mask is the answer
    L     = 20 focal + dice + lambda L_pm, on the masks' grid, where a pixel's target is its coverage

    L_pm  ``offsets``: p_n are N points of the predicted contour, z_n the decoder's upscaled embedding (and f_I)
          there, d_n = head(z_n), m(n) the nearest of the points drawn from the true contour:
          1/N sum smoothL1(p_n + d_n - g_m(n)), in 64ths of the input's side
          ``band``: N points within two cells of the true contour, BCE + dice of the mask's logits there
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from methods.backbone.calls import embed_image, upscale
from methods.backbone.decoding import Decoded, decode_fully
from methods.backbone.precision import full_precision
from methods.base import Batch, Method, Prediction, option
from methods.parts import contour
from methods.parts import prompts as P
from methods.parts.distributed import global_mean
from methods.parts.losses import counted
from methods.parts.mask_errors import focal_and_dice

FOCAL_WEIGHT = 20.0  #: focal : Dice = 20 : 1, SAM's own recipe (arXiv 2304.02643, section A.2)


@dataclass(frozen=True)
class Options:
    tokens: int = option(0, "learned prompt tokens beside the prompt's own; inferred: 0", at_least=0, at_most=64)
    width: int = option(
        0, "channels inside the attentions; 0: the prompt's own, 256 in SAM, 128 in vit_t (inferred)", at_least=0
    )
    mlp_width: int = option(1024, "channels inside the MLP; inferred: 1024", at_least=1)
    heads: int = option(8, "attention heads; inferred: 8", at_least=1)
    depth: int = option(1, "PLM blocks one after another; inferred: 1", at_least=1)
    matching: str = option(
        "offsets",
        "PMM: offsets from contour to contour (inferred reading A), the mask's logits around the contour (B), or none",
        ("offsets", "band", "none"),
    )
    matching_weight: float = option(0.1, "weight of PMM's loss; inferred: 0.1 or 1", at_least=0)
    matching_points: int = option(64, "points of a contour; inferred: 64 to 128", at_least=1)
    matching_features: str = option(
        "both",
        "what offsets are read from: the decoder's upscaled embedding, or the image's embedding too; inferred",
        ("mask", "both"),
    )
    augment: str = option("flip", "mirrored half of the time, or nothing", ("flip", "none"))


class Attention(nn.Module):
    """Multi-head attention of BxPxTxD tokens to BxPxTxD or Bx1xNxD. Keys have no bias: softmax would not see it."""

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = nn.Linear(channels, width), nn.Linear(channels, width, bias=False)
        self.v, self.out = nn.Linear(channels, width), nn.Linear(width, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        prompts = q.shape[1]
        shared = k.shape[1] == 1 < prompts
        if shared:  # all prompts of an image ask it at once
            q = q.flatten(1, 2)[:, None]
        parts = [
            p(x).unflatten(-1, (self.heads, -1)).transpose(2, 3) for p, x in ((self.q, q), (self.k, k), (self.v, v))
        ]
        out = self.out(F.scaled_dot_product_attention(*parts).transpose(2, 3).flatten(3))
        return out[:, 0].unflatten(1, (prompts, -1)) if shared else out


class PromptBlock(nn.Module):
    """One PLM: prompt self-attention, prompt-to-image attention, MLP; residual with a zero start."""

    def __init__(self, channels: int, width: int, o: Options) -> None:
        super().__init__()
        self.among = Attention(channels, width, o.heads)
        self.to_image = Attention(channels, width, o.heads)
        self.norm_among, self.norm_image = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, o.mlp_width), nn.GELU(), nn.Linear(o.mlp_width, channels))
        for parameter in self.mlp[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, image: Tensor, image_pe: Tensor) -> Tensor:
        """f BxPxTxD to f', for an image Bx1xNxD with its positions NxD."""
        h = self.norm_among(tokens + self.among(tokens, tokens, tokens))
        h = self.norm_image(h + self.to_image(h, image + image_pe, image))
        return tokens + self.mlp(h)


class PromptLearning(Method):
    """A Prompt Learning Module between SAM's prompt encoder and its mask decoder."""

    title = "Prompt learning (PLM + PMM)"
    paper = "arXiv 2403.09199"
    Options = Options
    resize = "pad"
    neutral = True
    needs_prompts = True
    frozen_encoder = True

    def __init__(self, sam: Sam, options: Any = None) -> None:
        super().__init__(sam, options)
        o, channels = self.options, sam.prompt_encoder.embed_dim
        width = o.width or channels
        if width % o.heads:
            raise ValueError(f"method.width={width}: no multiple of method.heads={o.heads}; choose another one")
        self.augment = o.augment
        self.blocks = nn.ModuleList(PromptBlock(channels, width, o) for _ in range(o.depth))
        if o.tokens:  # SAM knows this one, and hardly minds more of it
            start = sam.prompt_encoder.not_a_point_embed.weight.detach()
            self.tokens = nn.Parameter(start.repeat(o.tokens, 1) + 0.01 * torch.randn(o.tokens, channels))
        if self.matches and o.matching == "offsets":
            seen = channels // 8 + (channels if o.matching_features == "both" else 0)
            self.offsets = nn.Sequential(nn.Linear(seen, 64), nn.GELU(), nn.Linear(64, 2))

    @property
    def matches(self) -> bool:
        """Whether there is a Point Matching Module."""
        return self.options.matching != "none" and self.options.matching_weight > 0

    def embedding(self, batch: Batch) -> Tensor:
        """SAM's own, BxDxhxw."""
        return embed_image(self.sam, batch)

    def answer(self, embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mask logits BxPx4xaxa and predicted IoU BxPx4; to a box around the whole image where nothing is prompted."""
        decoded = self._decode(embedding, batch)
        return decoded.masks, decoded.iou

    def _decode(self, embedding: Tensor, batch: Batch) -> Decoded:
        encoder = self.sam.prompt_encoder
        sparse = self.corrected(embedding, P.embed(encoder, batch.prompts or P.whole_image(batch.valid)))
        dense = encoder.no_mask_embed.weight[:, :, None, None].expand(len(embedding), 1, -1, 1, 1)
        return decode_fully(self.sam, embedding, sparse, dense)

    def corrected(self, embedding: Tensor, tokens: Tensor) -> Tensor:
        """The prompts' tokens BxPxTxD as the task wants them: BxPx(T+K)xD."""
        if self.options.tokens:
            tokens = torch.cat([tokens, self.tokens.expand(*tokens.shape[:2], -1, -1)], dim=2)
        image = embedding.flatten(2).transpose(1, 2)[:, None]
        with full_precision(embedding):
            image_pe = self.sam.prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, image, image_pe)
        return tokens

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxPxSxS and ``mask`` BxPxaxa; in training also what PMM's loss is made of, BxP in ``matching``."""
        embedding = self.embedding(batch)
        decoded = self._decode(embedding, batch)
        mask = decoded.masks[:, :, 0].float()
        if not self.training:
            return {"logits": upscale(mask, batch.mask.shape[-1])}
        prediction = {"mask": mask}
        if self.matches:
            prediction["matching"] = self._matching(embedding, decoded, batch)
        return prediction

    def _matching(self, embedding: Tensor, decoded: Decoded, batch: Batch) -> Tensor:
        """PMM's loss of each mask: BxP."""
        o, mask = self.options, decoded.masks[:, :, 0].float()
        u = P.uniforms(batch.seed, mask.shape[1], o.matching_points + 1, stream=2)
        if o.matching == "band":
            return contour.band_errors(mask, batch.mask, u[..., 1:])
        points = contour.points_on(mask.detach() > 0, batch.mask, u[..., 1:])
        goals = contour.nearest(points, contour.true_points(batch.mask, 4 * o.matching_points, u[..., :1]))
        seen = decoded.features_at(points * mask.shape[-1])
        if o.matching_features == "both":
            seen = torch.cat([seen, contour.sampled(embedding, points)], dim=-1)
        return contour.offset_errors(points, self.offsets(seen).float(), goals)

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        mask = prediction["mask"]
        target = F.avg_pool2d(batch.mask.float(), batch.mask.shape[-1] // mask.shape[-1])
        even = torch.full((1, 1), 1 / mask.shape[-1] ** 2, device=mask.device)
        focal, dice = focal_and_dice(mask, target, even)
        found = {"focal": focal, "dice": dice}
        if "matching" in prediction:
            found["matching"] = prediction["matching"]
        weight = counted(batch)
        return {name: global_mean(value, weight) for name, value in found.items()}

    def loss_weights(self) -> dict[str, float]:
        return {"focal": FOCAL_WEIGHT, "matching": self.options.matching_weight}
