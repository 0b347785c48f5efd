"""From settings to a method with its backbone: the one place where the two meet."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from methods import registry
from methods.backbone import build as backbone
from methods.base import Method
from orchestrator.config import Settings
from orchestrator.errors import UserError
from orchestrator.weights import local_checkpoint


def build_method(settings: Settings) -> Method:
    """The method on the CPU, its own weights drawn from ``train.seed``.

    Raises:
        UserError: the backbone's weights are missing or of another size.
    """
    path = checkpoint_path(settings)
    try:
        sam = backbone.build(settings.backbone.name, path)
    except ValueError as error:
        raise UserError(str(error)) from error
    torch.manual_seed(settings.train.seed)
    return registry.load(settings.method)(sam, settings.method_options)


def checkpoint_path(settings: Settings) -> Path | None:
    """Where the backbone's weights are; None for vit_t without any, which then starts from its fixed seed."""
    name, given = settings.backbone.name, settings.backbone.checkpoint
    if given is None and not backbone.SIZES[name].official:
        return None
    return local_checkpoint(name, given)


def starts_random(settings: Settings) -> bool:
    """Whether the backbone has no trained weights at all."""
    return checkpoint_path(settings) is None


def pick_device(gpus: float, local_rank: int = 0) -> torch.device:
    """The rank's device: a GPU where it was given one."""
    if gpus > 0 and torch.cuda.is_available():
        # Ray shows each worker only its own GPUs
        return torch.device("cuda", local_rank if torch.cuda.device_count() > 1 else 0)
    return torch.device("cpu")


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """bfloat16 where asked for, or where ``auto`` finds that the machine computes it fast."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bf16" else torch.float32
    on_gpu = device.type == "cuda"
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_has_bf16()
    return torch.bfloat16 if fast else torch.float32


def _cpu_has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    if not info.exists() or os.uname().machine != "x86_64":
        return False
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    return "avx512_bf16" in flags or "amx_bf16" in flags
