"""From settings to a method with its backbone: the one place where the two meet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from segment_anything.modeling import Sam

from methods import registry
from methods.backbone import build as backbone
from methods.backbone.execution import execute
from methods.base import Method
from methods.parts.labeller import Labeller
from orchestrator.config import Settings
from orchestrator.errors import UserError
from orchestrator.weights import local_checkpoint

CPU_INFO = Path("/proc/cpuinfo")


def build_method(settings: Settings, classes: Sequence[str] = ()) -> Method:
    """The method on the CPU, its own weights drawn from ``train.seed``. ``classes``: of one that names pixels.

    Raises:
        UserError: the backbone's weights are missing or of another size.
    """
    path = checkpoint_path(settings)
    try:
        sam = backbone.build(settings.backbone.name, path, starts_random(settings))
    except ValueError as error:
        raise UserError(str(error)) from error
    torch.manual_seed(settings.train.seed)
    return _with_options(settings, sam, classes)


def check_method(settings: Settings) -> None:
    """Say now what ``build_method`` would say later, without the time and memory that it takes.

    Raises:
        UserError: weights that are missing or of another size, or options that do not go together.
    """
    path = checkpoint_path(settings)
    method = skeleton_method(settings)
    try:
        if path is not None:
            backbone.check_weights(method.sam, path, settings.backbone.name)
    except ValueError as error:
        raise UserError(str(error)) from error


def skeleton_method(settings: Settings) -> Method:
    """The method without any memory for its weights (on the meta device).

    Raises:
        UserError: options that do not go together.
    """
    skeleton = backbone.skeleton(settings.backbone.name)
    with torch.device("meta"):
        return _with_options(settings, skeleton)


def _with_options(settings: Settings, sam: Sam, classes: Sequence[str] = ()) -> Method:
    kind = registry.load(settings.method)
    try:
        named = (classes,) if classes and issubclass(kind, Labeller) else ()
        method: Method = kind(sam, settings.method_options, *named)
    except ValueError as error:
        raise UserError(str(error)) from error
    execute(method.sam, settings.execution)
    return method


def checkpoint_path(settings: Settings) -> Path | None:
    """Where the backbone's weights are; None for random ones."""
    name, given = settings.backbone.name, settings.backbone.checkpoint
    if starts_random(settings):
        return None
    if given is None and not backbone.SIZES[name].official:
        return backbone.BUNDLED
    return local_checkpoint(name, given)


def starts_random(settings: Settings) -> bool:
    """Whether the backbone starts without trained weights, as the user asked."""
    return settings.backbone.start == "random"


def pick_device() -> torch.device:
    """A GPU where this process sees one. (Ray Train's workers ask Ray, which gave them theirs.)"""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """bfloat16 where asked for, or where ``auto`` finds that the machine computes it fast."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bf16" else torch.float32
    on_gpu = device.type == "cuda"
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_has_bf16()
    return torch.bfloat16 if fast else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Where a method computes in that precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16)


def _cpu_has_bf16() -> bool:
    if not CPU_INFO.exists() or os.uname().machine != "x86_64":
        return False
    text = CPU_INFO.read_text()
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    # Intel's cores multiply bf16 fast in their matrix unit alone: without it, half as fast as fp32
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in text)
