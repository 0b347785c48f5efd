"""How a rank's part of a batch is made to fit into memory at the least cost: found by trial, at a trial's first step.

    nothing             where all fits
    recompute k blocks  k of the encoder's blocks keep their input alone: k / depth of a forward pass more
    parts               as many images at a time as fit: a forward pass more (``orchestrator.step``)
    both                one image at a time, or few, with blocks recomputed

One and two images are run, never more: on a CPU too much memory ends the process. On a GPU, where it is an error, a
step that does not fit after all is done again in smaller parts (``Pass``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from methods.backbone.execution import execute, execution_of
from methods.base import Batch, Method
from methods.parts.distributed import alone
from methods.parts.labeller import Labeller
from orchestrator.config import TrainSettings
from orchestrator.errors import UserError
from orchestrator.memory import GIB, memory_budget, peak_memory_mb, release_memory, reset_peak_memory
from orchestrator.ranks import Ranks
from orchestrator.step import Pass

SURELY = 1 / 3  #: of the memory: what is estimated to need less is not tried
NUMBERS = 12  #: that a block keeps of each channel of each token, about

Peak = Callable[[int, int], float]  #: images, blocks recomputed: bytes at the highest; inf where there were not enough


@dataclass(frozen=True)
class Fit:
    """``part``: images at a time, 0 = all; ``recompute``: blocks of the encoder that keep their input alone."""

    part: int = 0
    recompute: int = 0


def make_fit(run: Pass, batch: Batch, train: TrainSettings, ranks: Ranks) -> Fit:
    """Choose for batches like this one, on all ranks alike, and have ``run`` compute so.

    Raises:
        UserError: one image does not fit, or a method that names pixels is asked for parts.
    """
    depth = 0 if isinstance(run.method, Labeller) else len(run.method.sam.image_encoder.blocks)
    if not depth and train.micro_batch:
        raise UserError("train.micro_batch: this method's batch norm wants the whole batch; leave it out")
    always = depth if train.recompute == "all" else 0
    may = depth if train.recompute == "auto" else 0
    fit = Fit(train.micro_batch, always)
    if depth and not train.micro_batch:
        limit = memory_budget(train.memory_gb, run.device, train.cpus_per_worker)
        if not _surely_fits(run, batch, limit):
            fit = choose(_tried(run, batch, always), len(batch), may, limit)
            fit = replace(fit, recompute=max(fit.recompute, always))
    fits = ranks.gather(fit)
    parts = [one.part for one in fits if one.part]
    fit = Fit(min(parts, default=0), max(one.recompute for one in fits))
    run.part = fit.part
    _recompute(run.method, fit.recompute)
    return fit


def choose(peak: Peak, images: int, depth: int, budget: float) -> Fit:
    """The cheapest way for ``images`` to fit into ``budget`` bytes, with at most ``depth`` blocks recomputed.

    Raises:
        UserError: one image does not, with all of them.
    """
    one = peak(1, 0)
    two = peak(2, 0) if images > 1 and one <= budget else math.inf
    each = two - one if math.isfinite(two) else math.inf
    if one + (images - 1) * each <= budget if images > 1 else one <= budget:
        return Fit()
    least = peak(1, depth) if depth else one
    if least > budget:
        raise UserError(
            f"train.batch: one image takes {least / GIB:.1f} GB, and there are {budget / GIB:.1f}; take a smaller "
            "backbone.name, or raise train.memory_gb"
        )
    saved = (one - least) / depth if depth else 0.0  # by each block, of each image
    if one > budget:
        blocks = min(depth, math.ceil((one - budget) / saved)) if math.isfinite(saved) else depth
        if images == 1:
            return Fit(0, blocks)
        each = max(1.0, peak(2, depth) - least)
        most = int(1 + (budget - least) / each)
        return Fit(0, depth) if most >= images else Fit(most, depth) if most > 1 else Fit(1, blocks)
    if saved > 0 and math.isfinite(each):
        blocks = math.ceil((one + (images - 1) * each - budget) / (images * saved))
        if blocks <= depth:
            return Fit(0, blocks)
    return Fit(max(1, int(1 + (budget - one) / each)) if math.isfinite(each) else 1)


def _tried(run: Pass, batch: Batch, always: int) -> Peak:
    """Runs images of a batch; leaves no gradient and meets no other rank."""
    method, device = run.method, run.device
    trial = Pass(method, method, device, run.dtype)

    def peak(images: int, blocks: int) -> float:
        _recompute(method, max(blocks, always))
        release_memory(device)
        reset_peak_memory(device)
        try:
            with alone():
                trial(batch.map(lambda tensor: tensor[:images]), split=False)
            return peak_memory_mb(device) * 2**20
        except torch.OutOfMemoryError:
            return math.inf
        finally:
            method.zero_grad(set_to_none=True)
            release_memory(device)

    return peak


def _recompute(method: Method, blocks: int) -> None:
    execute(method.sam, replace(execution_of(method.sam), recompute=blocks))


def _surely_fits(run: Pass, batch: Batch, limit: float) -> bool:
    """Whether so little is needed that trying costs more than it tells."""
    encoder: Any = run.method.sam.image_encoder
    blocks = 1 if run.method.frozen_encoder else len(encoder.blocks)
    tokens, width = (encoder.img_size // 16) ** 2, encoder.patch_embed.proj.out_channels
    needed = len(batch) * tokens * width * blocks * NUMBERS * (2 if run.dtype is torch.bfloat16 else 4)
    return bool(needed < SURELY * limit)
