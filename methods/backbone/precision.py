"""Which precision a piece of SAM computes in under autocast."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def working_dtype(x: Tensor) -> torch.dtype:
    """Autocast's dtype on the device of ``x`` where it is on, else that of ``x``."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def full_precision(x: Tensor) -> Any:
    """No autocast on the device of ``x``: bf16 would round a position to half a pixel."""
    return torch.autocast(x.device.type, enabled=False)


@cache
def multiplies_bf16(device: str) -> bool:
    """Whether a kind of device multiplies bf16 by itself: a CPU without AVX-512 needs eight times as long for it."""
    return device != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def needs_widening(dtype: torch.dtype, device: str) -> bool:
    """Whether products of that type are to be taken in fp32: what is kept stays bf16, and its memory small."""
    return dtype is torch.bfloat16 and not multiplies_bf16(device)


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """``linear(x)`` under autocast, at the speed of fp32 where bf16 is the slower one."""
    dtype = working_dtype(x)
    if not needs_widening(dtype, x.device.type):
        output: Tensor = linear(x)
        return output
    with full_precision(x):
        return F.linear(x.to(dtype).float(), linear.weight, linear.bias).to(dtype)
