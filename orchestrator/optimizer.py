"""AdamW for everything, or Muon for the large matrices and AdamW for the rest."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, optim

from methods.base import Method
from orchestrator.config import TrainSettings
from orchestrator.errors import UserError
from orchestrator.muon import Muon

SMALLEST_MATRIX = 64  #: the shorter side from which a linear layer's weight is Muon's


class Optimizers:
    """One or two optimizers that step together; ``set_rate`` scales each one's own rate."""

    def __init__(self, parts: list[optim.Optimizer]) -> None:
        self._parts = parts
        self._rates = [[group["lr"] for group in part.param_groups] for part in parts]

    def set_rate(self, share: float) -> None:
        """The learning rates as a share of those it was made with."""
        for part, rates in zip(self._parts, self._rates, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = share * rate

    def zero_grad(self) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {str(i): part.state_dict() for i, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, part in enumerate(self._parts):
            part.load_state_dict(state[str(i)])


def make_optimizers(method: Method, settings: TrainSettings) -> Optimizers | None:
    """What trains a method's parameters that require a gradient; None where there are none.

    Muon (Jordan et al. 2024; ``orchestrator.muon``) makes a step along the nearest orthogonal matrix, whatever the
    gradient's size. It is for the weights of SAM's own linear layers alone: tables, norms, biases,
    convolutions, narrow heads and adaptors stay AdamW's.

    Raises:
        UserError: Muon is asked for where the method trains no such matrix.
    """
    trained = [p for p in method.parameters() if p.requires_grad]
    if not trained:
        return None
    if settings.optimizer == "adamw":
        return Optimizers([_adamw(_groups(method, settings), settings)])
    matrices = _matrices(method.sam)
    if not matrices:
        raise UserError("train.optimizer=muon: this method trains no large matrix of SAM; use adamw")
    taken = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in taken]
    parts: list[optim.Optimizer] = [_adamw(rest, settings)] if rest else []
    return Optimizers([*parts, Muon(matrices, lr=settings.matrix_lr, weight_decay=settings.weight_decay)])


def state_bytes(method: Method, settings: TrainSettings) -> int:
    """The bytes of the optimizers' state: two numbers for each parameter of AdamW, one for each of Muon."""
    trained = {id(p): p for p in method.parameters() if p.requires_grad}
    muons = {id(p) for p in _matrices(method.sam)} if settings.optimizer == "muon" else set()
    return sum(p.numel() * p.element_size() * (1 if key in muons else 2) for key, p in trained.items())


def _matrices(sam: nn.Module) -> list[Tensor]:
    linear = (m.weight for m in sam.modules() if isinstance(m, nn.Linear))
    unique = {id(w): w for w in linear if w.requires_grad and min(w.shape) >= SMALLEST_MATRIX}
    return list(unique.values())


def _groups(method: Method, settings: TrainSettings) -> list[dict[str, Any]]:
    """What is trained, apart by its learning rate (``Method.rates``)."""
    rates = method.rates()
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            rate = next((rate for start, rate in rates.items() if name.startswith(start)), 1.0)
            groups.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "lr": rate * settings.lr} for rate, parameters in groups.items()]


def _adamw(parameters: list[nn.Parameter] | list[dict[str, Any]], settings: TrainSettings) -> optim.AdamW:
    # fused: many small parameters cost more to walk through than to update
    return optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
