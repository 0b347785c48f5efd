"""Random weights from which a small SAM learns soon what SAM finds in weeks of GPU time.

Nothing here is SAM's; it holds for vit_t alone, where no trained weights exist yet. In segment-anything's own
start the first self-attention of the decoder (which has no residual path) averages all tokens into nearly the
same one, so that a box's two corners cannot be told apart; pixels do not know where they lie; and what they are
told by a prompt is drowned. docs/decisions.md has what the whole is worth.

    positions   frequencies from far below one period an image to one in two patches, directions spread evenly
    encoder     a pixel's content begins as its position, in the code of the prompts, plus the picture;
                blocks add little at first, and the neck passes on
    attention   W_o W_v is the identity (times a gain): what is attended to arrives as it is. In the first
                self-attention and between tokens and image W_q = W_k: like attends to like, as Trockman & Kolter
                (arXiv 2305.09828) found it in trained models (where W_o W_v, beside a residual path, tends to
                minus the identity)
    output      kernels and features large enough to move the logits
"""

from __future__ import annotations

import math
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

SLOWEST, FASTEST = 0.1, 4.0  #: periods of a position's code over half the image
POSITION = 0.7  #: of its code in a pixel's content
BLOCKS = 0.5  #: of the usual output of an encoder's block
NECK = 0.3  #: of the usual random part beside the identity
TOKENS, NO_MASK = 0.5, 0.3  #: of the usual size of tokens, so that positions outweigh them
OWN = 1.7  #: sharpness of the first self-attention: above it, each token attends to itself
TOLD = 2.0  #: gain of what prompts tell the pixels
KERNELS, FEATURES = 4.0, 2.0  #: of the usual size, of the two factors of the logits


@torch.no_grad()
def start(sam: Sam) -> None:
    """Set the weights; random numbers come from torch's global generator."""
    _positions(sam)
    _encoder(sam)
    _decoder(sam)


def _positions(sam: Sam) -> None:
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix  # 2 x D/2
    count = matrix.shape[1]
    golden = torch.arange(count) * (math.pi * (3 - math.sqrt(5)))
    rate = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), count)
    matrix.copy_(torch.stack([golden.cos() * rate, golden.sin() * rate]))


def _encoder(sam: Sam) -> None:
    encoder: Any = sam.image_encoder
    code = sam.prompt_encoder.get_dense_pe()[0].permute(1, 2, 0)  # h x w x D
    width = code.shape[-1]
    nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
    encoder.pos_embed[..., :width] += POSITION * code
    for block in encoder.blocks:
        block.attn.proj.weight *= BLOCKS
        block.mlp.lin2.weight *= BLOCKS
    first, second = encoder.neck[0].weight, encoder.neck[2].weight
    first *= NECK
    first[:, :width, 0, 0] += torch.eye(width)
    second *= NECK
    second[:, :, 1, 1] += torch.eye(width)


def _decoder(sam: Sam) -> None:
    prompts, decoder = sam.prompt_encoder, sam.mask_decoder
    for module in [*prompts.point_embeddings, prompts.not_a_point_embed, decoder.iou_token, decoder.mask_tokens]:
        module.weight *= TOKENS
    prompts.no_mask_embed.weight *= NO_MASK
    for layer in decoder.transformer.layers:
        if layer.skip_first_layer_pe:
            _likeness(layer.self_attn, OWN)
        _passing(layer.self_attn, 1.0)
        _likeness(layer.cross_attn_token_to_image, 1.0)
        _passing(layer.cross_attn_token_to_image, 1.0)
        _likeness(layer.cross_attn_image_to_token, 1.0)
        _passing(layer.cross_attn_image_to_token, TOLD)
    _likeness(decoder.transformer.final_attn_token_to_image, 1.0)
    _passing(decoder.transformer.final_attn_token_to_image, 1.0)
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight *= KERNELS
    decoder.output_upscaling[3].weight *= FEATURES


def _likeness(attention: Any, sharpness: float) -> None:
    """W_q = W_k, orthogonal."""
    for projection in (attention.q_proj, attention.k_proj):
        projection.bias.zero_()
    attention.q_proj.weight.copy_(sharpness * _orthogonal(attention))
    attention.k_proj.weight.copy_(attention.q_proj.weight)


def _passing(attention: Any, gain: float) -> None:
    """W_o W_v = gain times the identity."""
    for projection in (attention.v_proj, attention.out_proj):
        projection.bias.zero_()
    attention.v_proj.weight.copy_(_orthogonal(attention))
    attention.out_proj.weight.copy_(gain * attention.v_proj.weight.t())


def _orthogonal(attention: Any) -> Tensor:
    return nn.init.orthogonal_(torch.empty(attention.internal_dim, attention.embedding_dim))
