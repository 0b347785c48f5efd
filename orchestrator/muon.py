"""Muon for many matrices at once: those of one shape take their step in the same few products."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, optim

from orchestrator.build import pick_precision


class Muon(optim.Muon):
    """``torch.optim.Muon`` (its settings, its state, its step), grouped by shape.

    One matrix at a time, a small model's step is two thousand tiny kernels. Two things differ: a matrix whose
    gradient is zero stays where it is (torch's goes on along its last step at full length), and the products
    are bfloat16 only where the machine computes that fast.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(tuple(p.shape), []).append(p)
            for matrices in shapes.values():
                self._step_alike(matrices, group)

    def _step_alike(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """One step of matrices of one shape."""
        grads: list[Any] = [p.grad for p in matrices]
        for p in matrices:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in matrices]
        grad, buffer = torch.stack(grads), torch.stack(buffers)
        moves = (grad != 0).any(-1, keepdim=True).any(-2, keepdim=True).float()  # n x 1 x 1
        buffer.lerp_(grad, (1 - group["momentum"]) * moves)
        torch._foreach_copy_(buffers, list(buffer.unbind()))
        update = grad.lerp_(buffer, group["momentum"]) if group["nesterov"] else buffer
        dtype = pick_precision("auto", update.device)
        update = orthogonal(update.to(dtype), group["ns_coefficients"], group["ns_steps"], group["eps"]).float()
        rows, columns = matrices[0].shape
        length = float(group["lr"]) * math.sqrt(max(1.0, rows / columns))
        kept = 1 - float(group["lr"]) * group["weight_decay"] * moves
        torch._foreach_mul_(matrices, list(kept.unbind()))
        torch._foreach_sub_(matrices, list((length * moves * update).unbind()))


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Nearly the nearest orthogonal matrix of each of nxRxC, by Newton and Schulz's iteration (Jordan et al. 2024)."""
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
