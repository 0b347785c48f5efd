"""SAM's transformer blocks and neck, forward, laid out for speed; segment_anything's mathematics, as tests hold.

What differs: relative positions (``methods.backbone.attention``); tokens that only fill up a window are neither
projected before it nor after; the neck works on channels last, as the tokens come.

B = images, h x w = tokens, C = width, N = images x windows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from methods.backbone.attention import sdpa, tiled
from methods.backbone.execution import execution_of
from methods.backbone.heap import give_back
from methods.backbone.precision import needs_widening, project, working_dtype


def run_block(block: Any, x: Tensor, number: int = 0) -> Tensor:
    """One block, the encoder's ``number``th, on tokens Bxhxwx C."""
    if needs_widening(working_dtype(x), x.device.type):
        give_back()  # bf16 is slower here than fp32: whoever takes it wants for memory
    how = execution_of(block)
    attention = how.attention if block.attn.use_rel_pos else "untouched"
    run = _compiled() if how.compile else _block
    if number < how.recompute and torch.is_grad_enabled():
        output: Tensor = checkpoint(run, block, x, attention, use_reentrant=False)
        return output
    return run(block, x, attention)


def run_neck(encoder: Any, x: Tensor) -> Tensor:
    """The encoder's neck: tokens Bxhxwx C to the embedding BxDxhxw."""
    if execution_of(encoder).attention == "untouched":
        return encoder.neck(x.permute(0, 3, 1, 2))
    narrow, norm1, mix, norm2 = encoder.neck
    x = _norm(norm1, F.linear(x, narrow.weight.flatten(1)))
    x = mix(x.permute(0, 3, 1, 2))  # channels last in memory
    # in memory as a stored embedding is: what follows then gives the same to the last digit
    return _norm(norm2, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


def _norm(norm: Any, x: Tensor) -> Tensor:
    """LayerNorm2d on ...xD."""
    return F.layer_norm(x.float(), x.shape[-1:], norm.weight, norm.bias, norm.eps)


@cache
def _compiled() -> Callable[[Any, Tensor, str], Tensor]:
    # one graph for each kind of block, batch size and way of keeping gradients
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    return torch.compile(_block, dynamic=False)


def _block(block: Any, x: Tensor, attention: str) -> Tensor:
    if attention == "untouched":
        output: Tensor = block(x)
        return output
    y = block.norm1(x)
    x = x + _attention(block.attn, y.to(working_dtype(y)), block.window_size, attention)
    return x + project(block.mlp.lin2, block.mlp.act(project(block.mlp.lin1, block.norm2(x))))


def _attention(attention: Any, x: Tensor, window: int, wanted: str) -> Tensor:
    """Window partition, Attention.forward and its inverse on Bxhxwx C; ``window`` 0: one over all."""
    b, h, w, c = x.shape
    heads: int = attention.num_heads
    rows, columns = window or h, window or w
    down, across = -(-h // rows), -(-w // columns)
    qkv = _filled(attention.qkv, x, down * rows, across * columns)
    parts = qkv.view(b, down, rows, across, columns, 3, heads, c // heads).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = parts.reshape(3, b * down * across, heads, rows * columns, c // heads)
    at = q.unflatten(2, (rows, columns))
    by_row = torch.einsum("nahwd,hkd->nahwk", at, get_rel_pos(rows, rows, attention.rel_pos_h).to(q.dtype))
    by_column = torch.einsum("nahwd,wkd->nahwk", at, get_rel_pos(columns, columns, attention.rel_pos_w).to(q.dtype))
    out = _attend(wanted, q)(q, k, v, by_row.flatten(2, 3), by_column.flatten(2, 3), attention.scale)
    out = out.view(b, down, across, heads, rows, columns, -1).permute(0, 1, 4, 2, 5, 3, 6)
    out = out.reshape(b, down * rows, across * columns, c)[:, :h, :w]
    return project(attention.proj, out)


def _attend(wanted: str, q: Tensor) -> Any:
    if wanted == "auto":
        return tiled if q.device.type == "cpu" else sdpa
    return {"tiled": tiled, "sdpa": sdpa}[wanted]


def _filled(projection: nn.Linear, x: Tensor, height: int, width: int) -> Tensor:
    """``projection`` of Bxhxwx C where rows and columns of zeros fill it up; zeros become the bias."""
    y = project(projection, x)
    h, w = x.shape[1:3]
    if (height, width) == (h, w):
        return y
    bias = projection.bias.to(y.dtype)
    right = bias.expand(len(x), h, width - w, -1)
    below = bias.expand(len(x), height - h, width, -1)
    return torch.cat([torch.cat([y, right], 2), below], 1)
