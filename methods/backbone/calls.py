"""The calls through which methods use SAM: its own modules, driven in batches of images.

B = images, S = input side, C = encoder width, D = prompt width, h = w = S/16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor

from methods.backbone.blocks import run_block, run_neck
from methods.backbone.decoding import decode_prompts

if TYPE_CHECKING:
    from methods.base import Batch

BlockHook = Callable[[int, Tensor], Tensor]  #: (block number, tokens Bxhxwx C) -> tokens Bxhxwx C


def normalise(sam: Sam, image: Tensor, valid: Tensor | None = None) -> Tensor:
    """Bx3xSxS uint8 (or float in 0..255) to SAM's normalised input; zero beyond ``valid`` (Bx2: height, width)."""
    x = (image.float() - sam.pixel_mean) / sam.pixel_std
    if valid is None:
        return x
    rows = torch.arange(x.shape[-2], device=x.device) < valid[:, :1]
    columns = torch.arange(x.shape[-1], device=x.device) < valid[:, 1:]
    return x * (rows[:, None, :, None] & columns[:, None, None, :])


def patch_tokens(encoder: ImageEncoderViT, x: Tensor) -> Tensor:
    """Bx3xSxS to patch tokens Bxhxwx C, before the position embedding."""
    return encoder.patch_embed(x)


def run_blocks(
    encoder: ImageEncoderViT,
    tokens: Tensor,
    before_block: BlockHook | None = None,
    after_block: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Patch tokens Bxhxwx C to the image embedding BxDxhxw.

    What ImageEncoderViT.forward does after its patch embedding, with a place to add to the input of
    every block, and one to look at its output.
    """
    x = tokens if encoder.pos_embed is None else tokens + encoder.pos_embed
    for i, block in enumerate(encoder.blocks):
        if before_block is not None:
            x = before_block(i, x)
        x = run_block(block, x, i)
        if after_block is not None:
            after_block(i, x)
    return run_neck(encoder, x)


def encode(encoder: ImageEncoderViT, x: Tensor, before_block: BlockHook | None = None) -> Tensor:
    """Normalised images Bx3xSxS to embeddings BxDxhxw."""
    return run_blocks(encoder, patch_tokens(encoder, x), before_block)


def embed_image(sam: Sam, batch: Batch) -> Tensor:
    """The frozen encoder's embeddings BxDxhxw: as they are stored, else computed without gradient."""
    return embed_image_and_blocks(sam, batch)[0]


def embed_image_and_blocks(sam: Sam, batch: Batch, blocks: Sequence[int] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Embeddings BxDxhxw and the outputs Bxhxwx C of ``blocks``: stored, or computed without gradient.

    ``blocks``: all of ``Method.encoder_blocks``, or none. Raises ValueError where others are stored.
    """
    if batch.embedding is not None:
        if blocks and len(batch.blocks) != len(blocks):
            raise ValueError(f"outputs of {len(batch.blocks)} blocks are stored, not of {list(blocks)}")
        return batch.embedding.float(), tuple(output.float() for output in batch.blocks[: len(blocks)])
    outputs: dict[int, Tensor] = {}

    def keep(number: int, output: Tensor) -> None:
        if number in blocks:
            outputs[number] = output

    with torch.no_grad():
        tokens = patch_tokens(sam.image_encoder, normalise(sam, batch.image, batch.valid))
        embedding = run_blocks(sam.image_encoder, tokens, after_block=keep)
    return embedding, tuple(outputs[number] for number in blocks)


def no_prompt(sam: Sam, batch: int) -> tuple[Tensor, Tensor]:
    """SAM's embeddings of "no prompt": sparse Bx0xD, dense BxDxhxw (``no_mask_embed``)."""
    sparse, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
    return sparse.expand(batch, -1, -1), dense.expand(batch, -1, -1, -1)


def decode(sam: Sam, embedding: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """One set of prompts an image, many images: mask logits Bx4x4hx4w and predicted IoU Bx4.

    Output 0 is the single mask, 1..3 the three of an ambiguous prompt.
    """
    masks, iou = decode_prompts(sam, embedding, sparse[:, None], dense[:, None])
    return masks[:, 0], iou[:, 0]


def upscale(low_res: Tensor, side: int) -> Tensor:
    """Mask logits BxMxaxa to BxMxSxS, bilinear, as SAM's postprocess_masks does first."""
    return F.interpolate(low_res.float(), (side, side), mode="bilinear", align_corners=False)


def train_decoder(sam: Sam, with_no_mask_embed: bool = False) -> None:
    """Unfreeze all that the single mask depends on.

    The heads of the other three masks and of the predicted IoU get no gradient from it; published code
    leaves them "trainable" with no gradient ever, which is the same training, but not for DDP.
    """
    sam.mask_decoder.requires_grad_(True)
    sam.mask_decoder.output_hypernetworks_mlps[1:].requires_grad_(False)
    sam.mask_decoder.iou_prediction_head.requires_grad_(False)
    if with_no_mask_embed:
        sam.prompt_encoder.no_mask_embed.requires_grad_(True)
