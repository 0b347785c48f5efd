"""InfoNCE between tokens of an image and between samples of a batch.

Source: MCA-SAM (arXiv 2408.05936). The token loss CL_t is known from a review of the paper; the sample
loss is our reading of it (inferred).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from methods.parts.distributed import gather_live, global_mean, replicated

#: Pairs that are compared at a time; a K x K matrix that is larger never exists as a whole.
PAIRS = 1 << 21


def token_contrast(x: Tensor, y: Tensor, temperature: float, side: Tensor | None = None) -> Tensor:
    """CL_t: pull token k before (x) and after (y) the adaptor together, push different tokens apart.

    -(1/K) sum_k log( exp(cos(x_k, y_k)/tau) / sum_j exp(cos(x_k, y_j)/tau) )

    Args:
        x, y: BxKxC.
        temperature: tau > 0.
        side: BxK, what each token lies on: of the same side, tokens are no negatives; None follows the formula.

    Returns:
        B losses.
    """
    x, y = _unit(x) / temperature, _unit(y)
    tokens = x.shape[1]
    rows = max(1, PAIRS // (len(x) * tokens))
    if rows >= tokens:
        against = _against(x, y, side, 0)
    else:  # backward, a few rows of similarities are made once more
        parts = [
            checkpoint(_against, x[:, first : first + rows], y, side, first, use_reentrant=False)
            for first in range(0, tokens, rows)
        ]
        against = torch.cat(parts, 1)
    return (against - (x * y).sum(-1)).mean(1)


def _against(x: Tensor, y: Tensor, side: Tensor | None, first: int) -> Tensor:
    """log sum_j exp(x_k y_j) of tokens k, which are numbered from ``first``: Bxn."""
    similarity = x @ y.transpose(1, 2)
    if side is not None:
        numbers = torch.arange(y.shape[1], device=y.device)
        mine = numbers[first : first + x.shape[1]]
        same = side[:, mine, None] == side[:, None, :]
        similarity = similarity.masked_fill(same & (mine[:, None] != numbers), float("-inf"))
    return similarity.logsumexp(2)


def sample_contrast(z: Tensor, z_augmented: Tensor, weight: Tensor, temperature: float, gather: bool) -> Tensor:
    """L_sc: pull an image and its augmentation together, push the batch's other images away.

    -(1/N) sum_n log( exp(cos(z_n, z'_n)/tau) / sum_m exp(cos(z_n, z'_m)/tau) )

    Args:
        z, z_augmented: BxC pooled outputs of the SC-adaptor for I and I'.
        weight: B, 0 marks filler, which is neither an anchor nor a negative.
        gather: negatives from all ranks (N = the global batch) or from this rank alone.

    Returns:
        A scalar, this rank's share of the global loss.
    """
    z, z_augmented = _unit(z), _unit(z_augmented)
    if gather:
        z, z_augmented, weight = gather_live(z), gather_live(z_augmented), gather_live(weight)
    # not -inf: a rank without a real sample would turn it into NaN gradients
    similarity = (z @ z_augmented.T / temperature).masked_fill(weight == 0, -1e9)
    positive = similarity.diagonal().masked_fill(weight == 0, 0.0)
    per_sample = (similarity.logsumexp(1) - positive).masked_fill(weight == 0, 0.0)
    if not gather:
        return global_mean(per_sample, weight)
    return replicated(per_sample.sum() / weight.sum())


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1, eps=1e-6)
