"""SAM's mask decoder for many prompts of each of many images, laid out for speed.

The same modules and the same mathematics as ``segment_anything.modeling.MaskDecoder``, which takes one image
at a time; a test holds the two against each other. What differs is the order of the work: the features of an
image are shared by its prompts up to the first layer in which they differ, and upscaling (two transposed
convolutions whose stride is their kernel) is done as matrix products, channels last, so that only the
finished logits are ever rearranged.

B = images, P = prompts an image, T = prompt tokens, D = prompt width, h = w = S/16, N = hw.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor


def decode_prompts(sam: Sam, embedding: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Mask logits BxPx4x4hx4w and predicted IoU BxPx4 of P prompts an image.

    Args:
        embedding: BxDxhxw, the images'.
        sparse: BxPxTxD, prompt tokens.
        dense: BxPxDxhxw, or Bx1xDxhxw where all prompts of an image share it (no mask prompts).
    """
    decoder: MaskDecoder = sam.mask_decoder
    b, p = sparse.shape[:2]
    h, w = embedding.shape[-2:]
    dtype = torch.get_autocast_dtype(embedding.device.type) if _autocast(embedding) else embedding.dtype
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(b, p, -1, -1), sparse], dim=2).to(dtype)
    with full_precision(embedding):
        image_pe = _tokens(sam.prompt_encoder.get_dense_pe()).to(dtype)
    hidden, source = _two_way(decoder.transformer, _tokens(embedding[:, None] + dense).to(dtype), image_pe, tokens)
    features = _upscale(decoder.output_upscaling, source)
    kernels = torch.stack([mlp(hidden[:, :, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=2)
    logits = torch.matmul(kernels, features.flatten(2, -2).transpose(-2, -1))  # BxPx4x(N 2 2 2 2)
    return _arrange(logits, h, w), decoder.iou_prediction_head(hidden[:, :, 0])


def full_precision(x: Tensor) -> Any:
    """No autocast on the device of ``x``: bf16 would round a position to half a pixel."""
    return torch.autocast(x.device.type, enabled=False)


def _autocast(x: Tensor) -> bool:
    return bool(torch.is_autocast_enabled(x.device.type))


def _tokens(feature: Tensor) -> Tensor:
    """...xDxhxw to ...xNxD."""
    return feature.flatten(-2).transpose(-2, -1)


def _two_way(transformer: Any, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """TwoWayTransformer.forward for BxPxTxD tokens and BxPxNxD (or Bx1xNxD) image features."""
    queries, keys = tokens, image
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = _attend(layer.self_attn, queries, queries, queries)
        else:
            q = queries + tokens
            queries = queries + _attend(layer.self_attn, q, q, queries)
        queries = layer.norm1(queries)
        k = keys + image_pe
        queries = layer.norm2(queries + _attend(layer.cross_attn_token_to_image, queries + tokens, k, keys))
        queries = layer.norm3(queries + layer.mlp(queries))
        keys = layer.norm4(keys + _attend(layer.cross_attn_image_to_token, k, queries + tokens, queries))
    attended = _attend(transformer.final_attn_token_to_image, queries + tokens, keys + image_pe, keys)
    return transformer.norm_final_attn(queries + attended), keys


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """segment-anything's Attention.forward; q BxPxMxD, k and v BxPxLxD, where either P may be 1."""
    heads: int = attention.num_heads
    q = attention.q_proj(q).unflatten(-1, (heads, -1)).transpose(2, 3)
    k = attention.k_proj(k).unflatten(-1, (heads, -1)).transpose(2, 3)
    v = attention.v_proj(v).unflatten(-1, (heads, -1)).transpose(2, 3)
    shared = k.shape[1] == 1 and q.shape[1] > 1
    prompts = q.shape[1]
    if shared:  # all prompts ask the same image: one long list of questions
        q = q.transpose(1, 2).flatten(2, 3)[:, None]
    q = q * q.shape[-1] ** -0.5
    if k.shape[-2] < q.shape[-2]:  # a softmax over a few tokens is quick along a leading dimension only
        out = torch.softmax(k @ q.transpose(-2, -1), dim=-2).transpose(-2, -1) @ v
    else:
        out = torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v
    if shared:
        out = out[:, 0].unflatten(2, (prompts, -1)).transpose(1, 2)
    return attention.out_proj(out.transpose(2, 3).flatten(3))


def _upscale(layers: Any, source: Tensor) -> Tensor:
    """MaskDecoder.output_upscaling on ...xNxD tokens: ...xNx(2 2)x(2 2)xD/8, each patch's pixels in order."""
    first, norm, act, second, last = layers
    x = _spread(first, source)
    x = act(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    return last(_spread(second, x))


def _spread(up: Any, x: Tensor) -> Tensor:
    """A transposed convolution with stride = kernel = 2 as a product: ...xC to ...x4xC', pixels in row order."""
    weight: Tensor = up.weight
    matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (2 2 C') x C
    return F.linear(x, matrix, up.bias.repeat(4)).unflatten(-1, (4, -1))


def _arrange(logits: Tensor, h: int, w: int) -> Tensor:
    """BxPxKx(h w, 2 2, 2 2) to BxPxKx4hx4w."""
    b, p, k = logits.shape[:3]
    grid = logits.view(b, p, k, h, w, 2, 2, 2, 2)  # h w y1 x1 y2 x2
    return grid.permute(0, 1, 2, 3, 5, 7, 4, 6, 8).reshape(b, p, k, 4 * h, 4 * w)
