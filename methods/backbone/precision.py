"""Which precision a piece of SAM computes in under autocast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def working_dtype(x: Tensor) -> torch.dtype:
    """Autocast's dtype on the device of ``x`` where it is on, else that of ``x``."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def full_precision(x: Tensor) -> Any:
    """No autocast on the device of ``x``: bf16 would round a position to half a pixel."""
    return torch.autocast(x.device.type, enabled=False)
