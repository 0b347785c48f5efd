"""MCA-SAM: token-level and sample-level contrastive adaptors in a frozen encoder; the decoder is trained.

Paper: Zhou, Qiu, Fu, Multi-scale Contrastive Adaptor Learning for Segmenting Anything in Underperformed
Scenes, arXiv 2408.05936 (Neurocomputing 2024). No code was published, and only parts of the text are
known to us: CL_t comes from a review, the rest is our reading. What is open is a named option; no default
below is presented as the paper's value.

Tokens X^i: Bxhxwx C at the input of block i; r = C // scale.

    TC-adaptor  Y^i = W_up GELU(W_down X^i)                 C -> r -> C
    SC-adaptor  Z^i likewise, separate weights
    injection   X^i <- X^i + output_scale (Y^i + Z^i)       (inferred)
    L_tc = -(1/K) sum_k log exp(cos(x_k, y_k)/tau_t) / sum_j exp(cos(x_k, y_j)/tau_t)
    L_sc = -(1/N) sum_n log exp(cos(z_n, z'_n)/tau_s) / sum_m exp(cos(z_n, z'_m)/tau_s)
           z, z': token means (BxC) of the SC-adaptor for the image and for its photometric augmentation
    L    = L_seg + lambda_t L_tc + lambda_s L_sc            L_seg as in SAM-Adapter

L_tc and L_sc are means over the contrasted blocks. At test time there is no augmentation; both adaptors
stay in the forward pass. Training with L_sc runs the encoder on 2B images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from methods.backbone.calls import (
    BlockHook,
    normalise,
    patch_tokens,
    run_blocks,
    train_decoder,
    upscale,
)
from methods.base import Batch, Method, Prediction, option
from methods.parts.adaptor import BLOCK_CHOICES, Bottleneck, chosen_blocks, encoder_width, sample_tokens
from methods.parts.augment import photometric
from methods.parts.contrast import sample_contrast, token_contrast
from methods.parts.distributed import global_mean
from methods.parts.losses import counted, mask_losses
from methods.sam_adapter import PromptGenerator


@dataclass(frozen=True)
class Options:
    scale: int = option(32, "bottleneck: r = C // scale; SAM-Adapter's 32 (inferred for MCA-SAM)", at_least=1)
    output_scale: float = option(1.0, "factor on what the adaptors add to a block's input (inferred)", at_least=0)
    blocks: str = option("all", "which blocks get adaptors (inferred)", BLOCK_CHOICES)
    adaptor_order: str = option(
        "parallel",
        "SC reads the block's input, or the output of TC (inferred)",
        ("parallel", "tc_then_sc"),
    )
    tc_input: str = option(
        "block_tokens",
        "TC reads the running tokens (the review's words), or SAM-Adapter's F = F_pe + F_hfc with its shared "
        "MLP_up (the strictest 'builds on SAM-Adapter'); the paper is ambiguous",
        ("block_tokens", "adapter_features"),
    )
    token_weight: float = option(0.1, "lambda_t; 0 switches L_tc off (inferred)", at_least=0)
    token_temperature: float = option(0.07, "tau of L_tc (inferred)", more_than=0)
    token_target: str = option(
        "branch",
        "contrast X with the adaptor's output, or with the sum X + output (the sum makes the positive almost "
        "free; inferred)",
        ("branch", "sum"),
    )
    tokens: int = option(256, "tokens an image in L_tc, sampled; 0 = all K as the formula says (inferred)", at_least=0)
    detach_tokens: bool = option(True, "stop the gradient at X, so that L_tc trains the adaptor (inferred)")
    skip_same_object: bool = option(False, "leave tokens of the same mask side out of the negatives (ablation)")
    sample_weight: float = option(0.1, "lambda_s; 0 switches L_sc and its second pass off (inferred)", at_least=0)
    sample_temperature: float = option(0.07, "tau of L_sc (inferred)", more_than=0)
    sample_negatives: str = option("gather", "negatives of L_sc: all ranks, or this rank", ("gather", "local"))
    augment_strength: float = option(1.0, "factor on SimCLR's colour jitter (inferred)", at_least=0, at_most=2)
    contrast_blocks: str = option(
        "global", "where L_tc and L_sc are taken, among the adapted blocks (inferred)", BLOCK_CHOICES
    )
    high_pass_rate: float = option(
        0.25, "as in SAM-Adapter; only with tc_input=adapter_features", at_least=0, at_most=1
    )
    train_no_mask_embed: bool = option(True, "train SAM's no_mask_embed too; SAM-Adapter's code: true")
    iou_weight: float = option(1.0, "weight of the IoU loss beside BCE; SAM-Adapter's code: 1", at_least=0)
    mask_loss: str = option("bce_iou", "BCE + IoU, or balanced BCE (shadows)", ("bce_iou", "bbce"))


@dataclass
class Contrasted:
    """What the contrast losses need of one forward pass; a list entry a contrasted block."""

    x: list[Tensor]  #: Bxhw x C, input of TC
    y: list[Tensor]  #: Bxhw x C, output of TC (or the sum)
    z: list[Tensor]  #: BxC or 2BxC, token means of SC's output


class McaSam(Method):
    """TC- and SC-adaptors and mask decoder trained, encoder frozen."""

    title = "MCA-SAM"
    paper = "arXiv 2408.05936"
    Options = Options
    image_dim: ClassVar[dict[str, int]] = {"token_x": 1, "token_y": 1, "sample_z": 1, "sample_z_augmented": 1}

    def __init__(self, sam: Sam, options: Any = None) -> None:
        super().__init__(sam, options)
        encoder, o = self.sam.image_encoder, self.options
        width = encoder_width(encoder)
        self.blocks = chosen_blocks(encoder, o.blocks)
        wanted = set(chosen_blocks(encoder, o.contrast_blocks))
        self.contrasted = [i for i in self.blocks if i in wanted]
        if not self.contrasted:
            raise ValueError(f"method.contrast_blocks={o.contrast_blocks}: no adaptor there with blocks={o.blocks}")
        train_decoder(self.sam, with_no_mask_embed=o.train_no_mask_embed)
        if o.tc_input == "adapter_features":
            self.tc_features = PromptGenerator(width, o.scale, self.blocks, o.high_pass_rate)
        else:
            self.tc = nn.ModuleDict({str(i): Bottleneck(width, o.scale) for i in self.blocks})
        self.sc = nn.ModuleDict({str(i): Bottleneck(width, o.scale) for i in self.blocks})

    def embedding(self, batch: Batch) -> Tensor:
        """Embeddings BxDxhxw of the adapted encoder."""
        return self._adapted(normalise(self.sam, batch.image, batch.valid), real=0)[0]

    def _adapted(self, x: Tensor, real: int) -> tuple[Tensor, Contrasted]:
        """Normalised images to embeddings; only the first ``real`` images give tokens to L_tc."""
        tokens = patch_tokens(self.sam.image_encoder, x)
        tc = self._tc_adaptor(x, tokens)
        kept = Contrasted([], [], [])

        def adapt(i: int, running: Tensor) -> Tensor:
            if i not in self.blocks:
                return running
            o = self.options
            y = tc(i, running)
            after_tc = running + o.output_scale * y
            z = self.sc[str(i)](after_tc if o.adaptor_order == "tc_then_sc" else running)
            if i in self.contrasted:
                kept.x.append(running[:real].flatten(1, 2))
                kept.y.append((y if o.token_target == "branch" else after_tc)[:real].flatten(1, 2))
                kept.z.append(z.flatten(1, 2).mean(1))
            return after_tc + o.output_scale * z

        return run_blocks(self.sam.image_encoder, tokens, adapt), kept

    def _tc_adaptor(self, x: Tensor, tokens: Tensor) -> BlockHook:
        """(block, running tokens) -> Y^i, by ``tc_input``."""
        if self.options.tc_input == "block_tokens":
            return lambda i, running: self.tc[str(i)](running)
        features = self.tc_features.features(x, tokens)
        return lambda i, running: self.tc_features.prompt(i, features)

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxPxSxS; in training also ``token`` (MxBxn x C pairs) and ``sample`` (MxBxC pairs)."""
        o, b, side = self.options, len(batch), batch.mask.shape[-1]
        x = normalise(self.sam, batch.image, batch.valid)
        if self.training and o.sample_weight > 0:
            augmented = photometric(batch.image, batch.seed, o.augment_strength)
            x = torch.cat([x, normalise(self.sam, augmented, batch.valid)])
        embedding, kept = self._adapted(x, real=b)
        masks, _ = self.answer(embedding[:b], batch)
        prediction = {"logits": upscale(masks[:, :, 0], side)}
        if self.training and o.token_weight > 0:
            prediction |= self._token_pairs(batch, kept)
        if self.training and o.sample_weight > 0:
            z = torch.stack(kept.z)
            prediction |= {"sample_z": z[:, :b], "sample_z_augmented": z[:, b:]}
        return prediction

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        o = self.options
        losses = mask_losses(o.mask_loss, prediction["logits"], batch.mask, counted(batch))
        if "token_x" in prediction:
            side = self._sides(batch, prediction["token_chosen"]) if o.skip_same_object else None
            pairs = zip(prediction["token_x"], prediction["token_y"], strict=True)
            per_block = [token_contrast(x, y, o.token_temperature, side) for x, y in pairs]
            losses["token"] = global_mean(torch.stack(per_block).mean(0), batch.weight)
        if "sample_z" in prediction:
            pairs = zip(prediction["sample_z"], prediction["sample_z_augmented"], strict=True)
            gather = o.sample_negatives == "gather"
            per_block = [sample_contrast(z, a, batch.weight, o.sample_temperature, gather) for z, a in pairs]
            losses["sample"] = torch.stack(per_block).mean()
        return losses

    def loss_weights(self) -> dict[str, float]:
        o = self.options
        return {"iou": o.iou_weight, "token": o.token_weight, "sample": o.sample_weight}

    def _token_pairs(self, batch: Batch, kept: Contrasted) -> Prediction:
        chosen = sample_tokens(batch.seed, kept.x[0].shape[1], self.options.tokens)
        x, y = (torch.stack([take(t, chosen) for t in tensors]) for tensors in (kept.x, kept.y))
        return {
            "token_x": x.detach() if self.options.detach_tokens else x,
            "token_y": y,
            "token_chosen": chosen,
        }

    def _sides(self, batch: Batch, chosen: Tensor) -> Tensor:
        """BxK: on which side of the masks each chosen token lies (majority of its 16x16 pixels)."""
        return F.avg_pool2d(batch.mask.amax(1, keepdim=True).float(), 16).flatten(1).gather(1, chosen) > 0.5


def take(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Rows of BxKxC by number, Bxn: BxnxC."""
    return tokens.gather(1, chosen[:, :, None].expand(-1, -1, tokens.shape[2]))
