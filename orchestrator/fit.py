"""How a rank's part of a batch is made to fit into memory at the least cost: found by trial, at a trial's first step.

    nothing             where all fits
    recompute k blocks  k of the encoder's blocks keep their input alone: k / depth of a forward pass more
    parts               as many images at a time as fit: a forward pass more (``orchestrator.step``)
    both                one image at a time, or few, with blocks recomputed

One and two images are run, never more: on a CPU too much memory ends the process. On a GPU, where it is an error, a
step that does not fit after all is done again in smaller parts (``Pass``). What exceeds even the smallest way is run
all the same: a rank's share of a machine is a guess. Only memory that was asked for, or that nobody has, is a limit.
"""

from __future__ import annotations

import contextlib
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
from orchestrator.memory import (
    GIB,
    MARGIN,
    machine_memory,
    memory_budget,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
)
from orchestrator.ranks import Ranks
from orchestrator.step import NotFinite, Pass

SURELY = 1 / 3  #: of the memory: what is estimated to need less is not tried
NUMBERS = 12  #: that a block keeps of each channel of each token, about

Peak = Callable[[int, int], float]  #: images, blocks recomputed: bytes at the highest; inf where there were not enough


@dataclass(frozen=True)
class Fit:
    """``part``: images at a time, 0 = all; ``recompute``: blocks of the encoder that keep their input alone."""

    part: int = 0
    recompute: int = 0


def make_fit(run: Pass, batch: Batch, train: TrainSettings, ranks: Ranks, images: int = 0, reserve: float = 0.0) -> Fit:
    """Choose for batches of ``images`` (0: as many as this one's), on all ranks alike, and have ``run`` compute so.

    ``reserve``: bytes that are still to be taken, by the optimizer.

    Raises:
        UserError: one image does not fit, or a method that names pixels is asked for parts.
    """
    depth = 0 if isinstance(run.method, Labeller) else len(run.method.sam.image_encoder.blocks)
    if not depth and train.micro_batch:
        raise UserError("train.micro_batch: this method's batch norm wants the whole batch; leave it out")
    always = depth if train.recompute == "all" else 0
    fit, error = Fit(train.micro_batch, always), None
    if depth and not train.micro_batch:
        try:
            fit = _found(run, batch, train, images or len(batch), always, reserve)
        except UserError as one:
            error = one
    told = ranks.gather((fit, error and str(error)))
    if wrong := next((said for _, said in told if said), None):
        raise UserError(wrong)
    parts = [one.part for one, _ in told if one.part]
    fit = Fit(min(parts, default=0), max(one.recompute for one, _ in told))
    run.part = fit.part
    _recompute(run.method, fit.recompute)
    return fit


def _found(run: Pass, batch: Batch, train: TrainSettings, images: int, always: int, reserve: float) -> Fit:
    method, device = run.method, run.device
    limit = memory_budget(train.memory_gb, device, train.cpus_per_worker, train.gpus_per_worker) - reserve
    if _surely_fits(run, images, limit) or not reset_peak_memory(device):
        return Fit(recompute=always)
    may = len(method.sam.image_encoder.blocks) if train.recompute == "auto" and not method.frozen_encoder else 0
    fit, least = choose(_tried(run, batch, always), images, may, limit)
    most = limit if train.memory_gb else math.inf if device.type == "cuda" else MARGIN * machine_memory() - reserve
    if math.isinf(least) or least > most:
        takes = "more than the GPU has"
        if math.isfinite(least):
            takes = f"{least / GIB:.1f} GB, and there are {most / GIB:.1f}"
        raise UserError(f"train.batch: one image takes {takes}; take a smaller backbone.name, or raise train.memory_gb")
    return replace(fit, recompute=max(fit.recompute, always))


def choose(peak: Peak, images: int, depth: int, budget: float) -> tuple[Fit, float]:
    """The cheapest way for ``images`` to fit into ``budget`` bytes, with at most ``depth`` blocks recomputed.

    Returns:
        The way, the smallest one where none fits; and the least that one image takes where that was asked, else 0.
    """
    one = peak(1, 0)
    each = _slope(one, peak(2, 0) if images > 1 and one <= budget else math.inf, images)
    if one + (images - 1) * each <= budget:
        return Fit(), 0.0
    least = min(one, peak(1, depth)) if depth else one
    saved = (one - least) / depth if depth and math.isfinite(one) else 0.0  # by each block, of each image
    needed = one + (images - 1) * each - budget
    if saved > 0 and math.isfinite(needed):
        blocks = math.ceil(needed / (images * saved))
        if blocks <= depth:
            return Fit(0, blocks), least
    again = _slope(least, peak(2, depth) if depth and images > 1 and least <= budget else math.inf, images)
    if least + (images - 1) * again <= budget:
        return Fit(0, depth), least
    if one <= budget:
        return Fit(_images(one, each, budget)), least
    if least <= budget and images > 1:
        return Fit(_images(least, again, budget), depth), least
    return Fit(1 if images > 1 else 0, depth), least


def _slope(one: float, two: float, images: int) -> float:
    """Bytes of each image after the first; nothing where there is none."""
    return 0.0 if images == 1 else max(1.0, two - one) if math.isfinite(two) else math.inf


def _images(first: float, each: float, budget: float) -> int:
    """How many images fit at a time: one at least."""
    return max(1, int(1 + (budget - first) / each)) if math.isfinite(each) else 1


def _tried(run: Pass, batch: Batch, always: int) -> Peak:
    """Runs images of a batch; leaves no gradient and meets no other rank."""
    method, device = run.method, run.device
    trial = Pass(method, method, device, run.dtype)
    ones: dict[int, float] = {}  # what one image took, by blocks

    def peak(images: int, blocks: int) -> float:
        if images == 1:
            ones[blocks] = measured(1, blocks)
            return ones[blocks]
        if device.type == "cpu" and images * ones[blocks] > MARGIN * machine_memory():
            return math.inf  # where there might not be enough, it is not tried: this process would end
        return measured(images, blocks)

    def measured(images: int, blocks: int) -> float:
        was = execution_of(method.sam)
        _recompute(method, max(blocks, always), compile=False)
        release_memory(device)
        reset_peak_memory(device)
        rows = [i % len(batch) for i in range(images)]  # a rank may hold few images, and all of them fillers
        some = replace(batch.map(lambda tensor: tensor[rows]), weight=torch.ones(images, device=device))
        try:
            with alone(), contextlib.suppress(NotFinite):  # which the real step will tell
                trial(some, split=False)
            return peak_memory_mb(device) * 2**20
        except torch.OutOfMemoryError:
            return math.inf
        finally:
            execute(method.sam, was)
            method.zero_grad(set_to_none=True)
            release_memory(device)

    return peak


def _recompute(method: Method, blocks: int, **changes: Any) -> None:
    execute(method.sam, replace(execution_of(method.sam), recompute=blocks, **changes))


def _surely_fits(run: Pass, images: int, limit: float) -> bool:
    """Whether so little is needed that trying costs more than it tells."""
    encoder: Any = run.method.sam.image_encoder
    blocks = 1 if run.method.frozen_encoder else len(encoder.blocks)
    tokens, width = (encoder.img_size // 16) ** 2, encoder.patch_embed.proj.out_channels
    needed = images * tokens * width * blocks * NUMBERS * (2 if run.dtype is torch.bfloat16 else 4)
    return bool(needed < SURELY * limit)
