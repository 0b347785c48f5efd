"""One rank's forward and backward pass over its part of a global batch: whole, or in parts that fit into memory.

The gradient in parts is that of the whole batch, whatever the loss: a contrast between images, or a mean whose
weights the batch decides, cannot be summed over parts. So the losses are taken once, over the predictions of all
parts; and each part is computed again for the gradients that its predictions have. That costs a forward pass more.
"""

from __future__ import annotations

import contextlib
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from methods.base import Batch, Method, Prediction
from orchestrator.build import autocast


class NotFinite(RuntimeError):
    """A loss became NaN or infinite; the message says where."""


class Pass:
    """``method``: whose losses; ``model``: it, or DDP around it; ``part``: images computed at a time, 0: all."""

    def __init__(self, method: Method, model: nn.Module, device: torch.device, dtype: torch.dtype, part: int = 0):
        self.method, self.model, self.device, self.dtype, self.part = method, model, device, dtype, part

    def autocast(self) -> torch.autocast:
        """Where the method runs, in the precision that was asked for."""
        return autocast(self.device, self.dtype)

    def __call__(self, batch: Batch, split: bool = True) -> dict[str, Tensor]:
        """Set a batch's gradients to the parameters'; its losses.

        Where a GPU's memory does not suffice, and no other rank waits, it is done again in smaller parts, unless
        ``split`` is false.

        Raises:
            NotFinite: the loss is not finite; no gradient was added.
        """
        while True:
            try:
                return self._in_parts(batch) if self.part and len(batch) > self.part else self._whole(batch)
            except torch.OutOfMemoryError:
                images = min(len(batch), self.part or len(batch))
                if not split or images == 1 or self.model is not self.method:
                    raise
                self.part = -(-images // 2)
            self.method.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()

    def predict(self, batch: Batch) -> Tensor:
        """The method's mask logits BxPxSxS, of as many images at a time as are trained at a time."""
        size = self.part or len(batch)
        with self.autocast():
            pieces = [
                self.method.predict(batch.map(itemgetter(slice(i, i + size)))) for i in range(0, len(batch), size)
            ]
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]

    def _whole(self, batch: Batch) -> dict[str, Tensor]:
        with self.autocast():
            prediction = self.model(batch)
        losses, total = self._losses(prediction, batch)
        total.backward()
        return losses

    def _losses(self, prediction: Prediction, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        losses = self.method.loss(prediction, batch)
        total = self.method.total(losses)
        if not torch.isfinite(total):
            raise NotFinite(", ".join(f"{name} {float(value.detach()):.3g}" for name, value in losses.items()))
        return {name: value.detach() for name, value in losses.items()}, total

    def _in_parts(self, batch: Batch) -> dict[str, Tensor]:
        parts = [slice(first, first + self.part) for first in range(0, len(batch), self.part)]
        cut = [batch.map(itemgetter(part)) for part in parts]
        with torch.no_grad(), self.autocast():
            made = [self.method(one) for one in cut]
        whole = {name: self._joined(name, [one[name] for one in made]) for name in made[0]}
        losses, total = self._losses(whole, batch)
        total.backward()
        for one, part in zip(cut, parts, strict=True):
            last = part is parts[-1]
            with contextlib.nullcontext() if last else self._unsynchronised():
                with self.autocast():
                    prediction = self.model(one)
                self._pass_on(prediction, whole, part)
        return losses

    def _joined(self, name: str, pieces: list[Tensor]) -> Tensor:
        whole = torch.cat(pieces, self.method.image_dim.get(name, 0))
        return whole.requires_grad_(whole.is_floating_point())

    def _pass_on(self, prediction: Prediction, whole: Prediction, part: slice) -> None:
        """Gradients of the whole batch's predictions to the parameters behind a part's."""
        reached = [name for name, value in prediction.items() if value.requires_grad]
        gradients = []
        for name in reached:
            dim = self.method.image_dim.get(name, 0)
            gradient = whole[name].grad
            gradient = torch.zeros_like(whole[name]) if gradient is None else gradient
            gradients.append(gradient.narrow(dim, part.start, prediction[name].shape[dim]))
        torch.autograd.backward([prediction[name] for name in reached], gradients)

    def _unsynchronised(self) -> Any:
        """Ranks exchange their gradients at the last part alone."""
        model = self.model
        return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()
