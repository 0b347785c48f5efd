"""SAM's transformer blocks, forward, with the relative positions inside one matrix product.

SAM adds to the attention of a pixel pair (i, j) the terms q_i . R_h[row_i - row_j] and q_i . R_w[column_i -
column_j]. Both depend on j by its row or column alone, so with the queries extended by these terms for all
rows and columns, and the keys by the one-hot code of their own row and column, one product gives the sum, and
no map of attention's size is added. The same mathematics as segment_anything's Block; a test holds it so.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling.image_encoder import window_partition, window_unpartition
from torch import Tensor

from methods.backbone.precision import working_dtype

#: Tokens of an attention up to which this is the faster way (their square is kept for the backward pass).
SMALL = 1024


def run_block(block: Any, x: Tensor) -> Tensor:
    """One block on tokens Bxhxwx C."""
    h, w = x.shape[1:3]
    side = block.window_size or max(h, w)
    if side * side > SMALL or not block.attn.use_rel_pos:
        return block(x)
    y = block.norm1(x)
    y = y.to(working_dtype(y))
    if block.window_size:
        y, padded = window_partition(y, block.window_size)
        y = window_unpartition(_attend(block.attn, y), block.window_size, padded, (h, w))
    else:
        y = _attend(block.attn, y)
    x = x + y
    return x + block.mlp(block.norm2(x))


def _attend(attention: Any, x: Tensor) -> Tensor:
    """The block's Attention.forward on NxHxWxC."""
    n, h, w, c = x.shape
    heads = attention.num_heads
    q, k, v = attention.qkv(x).view(n, h * w, 3, heads, c // heads).permute(2, 0, 3, 1, 4)  # each N heads HW d
    rows, columns = _offsets(attention.rel_pos_h, h).to(q.dtype), _offsets(attention.rel_pos_w, w).to(q.dtype)
    at = q.reshape(n, heads, h, w, -1)
    by_row = torch.einsum("nahwd,hkd->nahwk", at, rows).flatten(2, 3)
    by_column = torch.einsum("nahwd,wkd->nahwk", at, columns).flatten(2, 3)
    own_row = torch.eye(h, dtype=q.dtype, device=x.device).repeat_interleave(w, 0)
    own_column = torch.eye(w, dtype=q.dtype, device=x.device).repeat(h, 1)
    queries = torch.cat([q * attention.scale, by_row, by_column], dim=-1)
    keys = torch.cat([k, torch.cat([own_row, own_column], 1).expand(n, heads, -1, -1)], dim=-1)
    out = torch.softmax(queries @ keys.transpose(-2, -1), dim=-1) @ v
    return attention.proj(out.transpose(1, 2).reshape(n, h, w, c))


def _offsets(table: Tensor, side: int) -> Tensor:
    """R[i - j] for all i and j: side x side x d, from a table for this side."""
    steps = torch.arange(side, device=table.device)
    return table[steps[:, None] - steps[None] + side - 1]
