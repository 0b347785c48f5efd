"""Which precision a piece of SAM computes in under autocast."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
    """``linear(x)`` under autocast: keeps no bf16 of a frozen weight, and multiplies in fp32 where that is faster."""
    dtype, trained = working_dtype(x), any(p.requires_grad for p in linear.parameters())
    if dtype is linear.weight.dtype or (trained and not needs_widening(dtype, x.device.type)):
        output: Tensor = linear(x)
        return output
    with full_precision(x):
        x = x.to(dtype)
        return _linear(x, linear.weight, linear.bias) if trained else _Frozen.apply(x, linear.weight, linear.bias)


class _Frozen(torch.autograd.Function):
    """x W' + b for x ...xC in bf16 and frozen W and b in fp32, whose own bf16 is made when it is needed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None, None]:
        return _linear(given[0], ctx.saved_tensors[0].t(), None), None, None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear of bf16 x and fp32 weights: in fp32 where that is faster; the result is bf16."""
    if needs_widening(x.dtype, x.device.type):
        return F.linear(x.float(), weight, bias).to(x.dtype)
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
