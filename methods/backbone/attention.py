"""Attention with SAM's decomposed relative positions, without a matrix of all pairs in memory.

SAM adds to the score of a pair of tokens (i, j) the terms r_i[row of j] and c_i[column of j], r = q . R_h and
c = q . R_w. segment_anything adds them to a map of N x hw x hw scores (805 MB a block for ViT-B at 1024 px), and
autograd keeps another. Here either the terms lie inside the product of one fused kernel (``sdpa``), or a few rows of
queries are worked on at a time and computed once more for their gradients (``tiled``), as FlashAttention
(arXiv 2205.14135) does it. Both are the same mathematics; tests hold them so.

N = images x windows, h x w = tokens, d = width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from methods.backbone.precision import needs_widening

#: Scores that ``tiled`` works on at a time: as many as stay in a processor's cache between two passes over them.
TILE = 1 << 21


def sdpa(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, scale: float) -> Tensor:
    """softmax(scale q k' + terms) v, the terms inside the product: NxHxhwxd, by torch's fused kernels.

    Args:
        q, k, v: NxHxhwxd, of H heads.
        by_row, by_column: NxHxhwxh and NxHxhwxw.
    """
    h, w = by_row.shape[-1], by_column.shape[-1]
    own_row = torch.eye(h, dtype=q.dtype, device=q.device).repeat_interleave(w, 0)
    own_column = torch.eye(w, dtype=q.dtype, device=q.device).repeat(h, 1)
    own = torch.cat([own_row, own_column], 1).expand(*k.shape[:2], -1, -1)
    # fused kernels want queries, keys and values of one width, a multiple of 8
    width = -(-(q.shape[-1] + h + w) // 8) * 8
    queries, keys, values = (
        F.pad(one, (0, width - one.shape[-1]))
        for one in (torch.cat([q * scale, by_row, by_column], -1), torch.cat([k, own], -1), v)
    )
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., : v.shape[-1]]


@torch.compiler.disable  # a loop over tiles is no graph
def tiled(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, scale: float) -> Tensor:
    """The same, a few rows of queries at a time."""
    flat = [one.flatten(0, 1) for one in (q, k, v, by_row, by_column)]
    return _Tiled.apply(*flat, scale).view_as(q)


class _Tiled(torch.autograd.Function):
    """NHxhwxd each, by_row NHxhwxh, by_column NHxhwxw. What is kept is of the type that came."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, scale: float) -> Tensor:
        out = _attended(_wide(q), _wide(k), _wide(v), _wide(by_row), _wide(by_column), scale).to(q.dtype)
        ctx.save_for_backward(q, k, v, by_row, by_column, out)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        gradient = given[0].contiguous()
        q, k, v, by_row, by_column, out = map(_wide, ctx.saved_tensors)
        found = _gradients(_wide(gradient), q, k, v, by_row, by_column, out, ctx.scale)
        return (*(one.to(gradient.dtype) for one in found), None)


def _wide(x: Tensor) -> Tensor:
    return x.float() if needs_widening(x.dtype, x.device.type) else x


def _attended(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, scale: float) -> Tensor:
    out = torch.empty_like(q)
    keys = k.transpose(1, 2)
    for n, rows, (memory,) in _tiles(q, 1):
        share = _shares(memory, q[n, rows], keys[n], by_row[n, rows], by_column[n, rows], scale)
        torch.bmm(share, v[n], out=out[n, rows])
    return out


def _gradients(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, out: Tensor, scale: float
) -> tuple[Tensor, ...]:
    """Those of q, k, v, by_row and by_column; a tile's shares are computed once more."""
    to_q, to_row, to_column = (torch.empty_like(one) for one in (q, by_row, by_column))
    to_k, to_v = torch.zeros_like(k), torch.zeros_like(v)
    told = (gradient.float() * out.float()).sum(-1, keepdim=True).to(q.dtype)  # the softmax's own correction
    keys, values = k.transpose(1, 2), v.transpose(1, 2)
    grid = (by_row.shape[-1], by_column.shape[-1])
    for n, rows, (memory, more) in _tiles(q, 2):
        share = _shares(memory, q[n, rows], keys[n], by_row[n, rows], by_column[n, rows], scale)
        to_v[n].baddbmm_(share.transpose(1, 2), gradient[n, rows])
        to_score = torch.bmm(gradient[n, rows], values[n], out=more[: share.numel()].view_as(share))
        to_score.sub_(told[n, rows]).mul_(share)
        torch.bmm(to_score, k[n], out=to_q[n, rows]).mul_(scale)
        to_k[n].baddbmm_(to_score.transpose(1, 2), q[n, rows], alpha=scale)
        torch.sum(to_score.unflatten(2, grid), 3, out=to_row[n, rows])
        torch.sum(to_score.unflatten(2, grid), 2, out=to_column[n, rows])
    return to_q, to_k, to_v, to_row, to_column


def _tiles(q: Tensor, buffers: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """(heads, rows) of each tile, and memory for its scores, ``buffers`` times."""
    count, tokens = q.shape[:2]
    heads = max(1, min(count, TILE // (tokens * tokens)))
    rows = max(1, min(tokens, TILE // (heads * tokens)))
    memory = q.new_empty(buffers, heads * rows * tokens)
    for n in range(0, count, heads):
        for row in range(0, tokens, rows):
            yield slice(n, n + heads), slice(row, row + rows), memory


def _shares(memory: Tensor, q: Tensor, keys: Tensor, by_row: Tensor, by_column: Tensor, scale: float) -> Tensor:
    """The softmax of a tile's scores: n x rows x hw, in ``memory``."""
    n, rows, h, w = *by_row.shape, by_column.shape[-1]
    scores = memory[: n * rows * h * w].view(n, rows, h, w)
    torch.add(by_row[..., None], by_column[..., None, :], out=scores)
    flat = scores.flatten(2)
    flat.baddbmm_(q, keys, alpha=scale)
    return torch.softmax(flat, -1, out=flat)
