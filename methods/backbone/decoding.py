"""SAM's mask decoder for many prompts of each of many images, laid out for speed.

The same modules and the same mathematics as ``segment_anything.modeling.MaskDecoder``, which takes one image
at a time; a test holds the two against each other. What differs is the order of the work: the features of an
image are shared by its prompts up to the first layer in which they differ, and upscaling (two transposed
convolutions whose stride is their kernel) is done as matrix products, channels last, so that only the
finished logits are ever rearranged.

B = images, P = prompts an image, T = prompt tokens, D = prompt width, h = w = S/16, N = hw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor

from methods.backbone.execution import execution_of
from methods.backbone.precision import full_precision, working_dtype


@dataclass(frozen=True)
class Decoded:
    """What the decoder made of P prompts an image."""

    masks: Tensor  #: BxPx4x4hx4w, logits
    iou: Tensor  #: BxPx4, predicted
    features: Tensor  #: BxPxNx2x2x2x2xD/8: SAM's upscaled embedding, whose product with a mask's kernel are its logits

    def features_at(self, points: Tensor) -> Tensor:
        """The upscaled embedding at points BxPxKx2 (x, y, in cells of the masks' grid): BxPxKxD/8, bilinear."""
        height, width = self.masks.shape[-2:]
        low = (points - 0.5).floor()
        part = points - 0.5 - low
        places, shares = [], []
        for dy in (0, 1):
            for dx in (0, 1):
                x = (low[..., 0] + dx).clamp(0, width - 1).long()
                y = (low[..., 1] + dy).clamp(0, height - 1).long()
                places.append(_place(y, x, width // 4))
                shares.append((part[..., 0] if dx else 1 - part[..., 0]) * (part[..., 1] if dy else 1 - part[..., 1]))
        flat = self.features.flatten(2, -2)
        # all four at once: the gradient of each gathering is as large as the features
        at = torch.cat(places, dim=2)[..., None].expand(-1, -1, -1, flat.shape[-1])
        found = flat.gather(2, at).unflatten(2, (4, -1))
        return (torch.stack(shares, dim=2)[..., None] * found).sum(2)


def decode_prompts(sam: Sam, embedding: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """``decode_fully`` without the features: mask logits BxPx4x4hx4w and predicted IoU BxPx4."""
    decoded = decode_fully(sam, embedding, sparse, dense)
    return decoded.masks, decoded.iou


def decode_fully(sam: Sam, embedding: Tensor, sparse: Tensor, dense: Tensor) -> Decoded:
    """SAM's mask decoder for P prompts an image.

    Args:
        embedding: BxDxhxw, the images'.
        sparse: BxPxTxD, prompt tokens.
        dense: BxPxDxhxw, or Bx1xDxhxw where all prompts of an image share it (no mask prompts).
    """
    decoder: MaskDecoder = sam.mask_decoder
    if execution_of(decoder).decoder == "untouched":
        return _untouched(sam, embedding, sparse, dense)
    b, p = sparse.shape[:2]
    h, w = embedding.shape[-2:]
    dtype = working_dtype(embedding)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(b, p, -1, -1), sparse], dim=2).to(dtype)
    with full_precision(embedding):
        image_pe = _tokens(sam.prompt_encoder.get_dense_pe()).to(dtype)
    hidden, source = _two_way(decoder.transformer, _tokens(embedding[:, None] + dense).to(dtype), image_pe, tokens)
    features = _upscale(decoder.output_upscaling, source)
    kernels = torch.stack([mlp(hidden[:, :, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=2)
    logits = torch.matmul(features.flatten(2, -2), kernels.transpose(-2, -1))  # BxPx(N 2 2 2 2)x4
    return Decoded(_arrange(logits, h, w), decoder.iou_prediction_head(hidden[:, :, 0]), features)


def _untouched(sam: Sam, embedding: Tensor, sparse: Tensor, dense: Tensor) -> Decoded:
    """The same by MaskDecoder's own code, an image at a time."""
    decoder: MaskDecoder = sam.mask_decoder
    b, p = sparse.shape[:2]
    h, w = embedding.shape[-2:]
    upscaled: list[Tensor] = []
    hook = decoder.output_upscaling.register_forward_hook(lambda module, given, made: upscaled.append(made))
    try:
        answers = [
            decoder.predict_masks(one[None], sam.prompt_encoder.get_dense_pe(), tokens, maps.expand(p, -1, h, w))
            for one, tokens, maps in zip(embedding, sparse, dense, strict=True)
        ]
    finally:
        hook.remove()
    masks, iou = (torch.stack(part) for part in zip(*answers, strict=True))
    # BxPxCx(h y1 y2)x(w x1 x2) in the order of ``Decoded.features``
    grid = torch.stack(upscaled).view(b, p, -1, h, 2, 2, w, 2, 2)
    return Decoded(masks, iou, grid.permute(0, 1, 3, 6, 4, 7, 5, 8, 2).flatten(2, 3))


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
        queries = layer.norm2(queries + _ask_image(layer.cross_attn_token_to_image, queries + tokens, k, keys))
        queries = layer.norm3(queries + layer.mlp(queries))
        keys = layer.norm4(keys + _ask_tokens(layer.cross_attn_image_to_token, k, queries + tokens, queries))
    attended = _ask_image(transformer.final_attn_token_to_image, queries + tokens, keys + image_pe, keys)
    return transformer.norm_final_attn(queries + attended), keys


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """segment-anything's Attention.forward; q BxPxMxD, k and v BxPxLxD, where either P may be 1."""
    heads: int = attention.num_heads
    q = _by_head(attention.q_proj, q, heads)
    k, v = _by_head(attention.k_proj, k, heads), _by_head(attention.v_proj, v, heads)
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


# Between a few tokens and the many pixels of an image, the image's projections are folded into the tokens:
# (x W_k) . q = x . (W_k' q). That pays where the heads times the tokens that ask are no more than the width of
# a projection (56 and 128 for a box); no map of the image's size is then brought into another order.


def _ask_image(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """segment-anything's Attention.forward from tokens q BxPxTxD to an image, k and v BxPxNxD (or Bx1xNxD).

    The bias of k_proj adds the same to a token's scores of all pixels, which softmax does not see; its gradient
    is 0, and still a gradient, which DDP waits for.
    """
    heads: int = attention.num_heads
    p, t = q.shape[1:3]
    shared = k.shape[1] == 1
    if heads * t * (p if shared else 1) > attention.internal_dim:
        return _attend(attention, q, k, v)
    asked = _by_head(attention.q_proj, q, heads)  # BxPxHxTxd
    asked = asked * asked.shape[-1] ** -0.5
    asked = asked @ attention.k_proj.weight.unflatten(0, (heads, -1)).to(q.dtype)  # BxPxHxTxD
    asked = asked.flatten(1, 3)[:, None] if shared else asked.flatten(2, 3)
    seen = torch.softmax(asked @ k.transpose(-2, -1), dim=-1) @ v
    seen = seen.view(len(q), p, heads, t, -1)
    values = seen @ attention.v_proj.weight.unflatten(0, (heads, -1)).transpose(-2, -1).to(q.dtype)
    bias = attention.v_proj.bias + 0 * attention.k_proj.bias
    return attention.out_proj(values.transpose(2, 3).flatten(3) + bias.to(q.dtype))


def _ask_tokens(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """segment-anything's Attention.forward from an image q BxPxNxD (or Bx1xNxD) to tokens, k and v BxPxTxD."""
    heads: int = attention.num_heads
    p, t = k.shape[1:3]
    if heads * t > attention.internal_dim:
        return _attend(attention, q.expand(-1, p, -1, -1), k, v)
    asked = _by_head(attention.k_proj, k, heads)
    asked = asked * asked.shape[-1] ** -0.5
    bias = asked @ attention.q_proj.bias.unflatten(0, (heads, -1))[..., None].to(k.dtype)  # BxPxHxTx1
    asked = asked @ attention.q_proj.weight.unflatten(0, (heads, -1)).to(k.dtype)
    asked = asked.flatten(1, 3)[:, None] if q.shape[1] == 1 else asked.flatten(2, 3)
    scores = (asked @ q.transpose(-2, -1)).view(len(k), p, heads, t, -1)
    weights = torch.softmax(scores + bias, dim=-2).flatten(2, 3)  # along a leading dimension: quick where T is small
    told = _by_head(attention.v_proj, v, heads)
    told = told @ attention.out_proj.weight.t().unflatten(0, (heads, -1)).to(v.dtype)  # BxPxHxTxD
    return weights.transpose(-2, -1) @ told.flatten(2, 3) + attention.out_proj.bias.to(v.dtype)


def _by_head(projection: Any, tokens: Tensor, heads: int) -> Tensor:
    """Projected tokens BxPxTxD as BxPxHxTxd."""
    return projection(tokens).unflatten(-1, (heads, -1)).transpose(2, 3)


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
    """BxPx(h w, 2 2, 2 2)xK to BxPxKx4hx4w."""
    b, p, _, k = logits.shape
    grid = logits.view(b, p, h, w, 2, 2, 2, 2, k)  # h w y1 x1 y2 x2
    return grid.permute(0, 1, 8, 2, 4, 6, 3, 5, 7).reshape(b, p, k, 4 * h, 4 * w)


def _place(y: Tensor, x: Tensor, w: int) -> Tensor:
    """Where pixel (x, y) of the 4hx4w masks lies among the features' (h w, 2 2, 2 2)."""
    patch = (y // 4) * w + x // 4
    first = (y % 4 // 2) * 2 + x % 4 // 2
    return (patch * 4 + first) * 4 + (y % 2) * 2 + x % 2
