"""The face that every method shows to the engine, and the batch that both speak of."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch. B = images on this rank, S = the model's input side in pixels.

    Every rank holds the same B. Where the global batch does not divide, the rest is filled with samples
    of ``weight`` 0, which no loss and no metric may count.
    """

    image: Tensor  #: Bx3xSxS uint8 RGB, resized; padding (if any) at the right and bottom
    mask: Tensor  #: BxPxSxS uint8, 1 = foreground; P = the masks that the method asks for, mostly 1
    valid: Tensor  #: Bx2 int64, height and width of the part of the input that shows the image
    size: Tensor  #: Bx2 int64, height and width of the original image
    index: Tensor  #: B int64, row in the split
    seed: Tensor  #: B int64, for whatever is random about a sample: the same for any number of ranks
    weight: Tensor  #: B float32, 1 = counts, 0 = filler

    def to(self, device: torch.device | str) -> Batch:
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in dataclasses.fields(self)}
        return Batch(**moved)

    def __len__(self) -> int:
        return int(self.image.shape[0])


@dataclass(frozen=True)
class NoOptions:
    """A method without options of its own."""


Prediction = dict[str, Tensor]  #: at least ``logits``: Bx1xSxS float


class Method(nn.Module, ABC):
    """One paper's way to adapt SAM.

    A subclass lives in ``methods/<name>.py``, is found by its file's name, and says in class attributes
    what it is. Its constructor freezes all of SAM and then unfreezes what it trains.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    #: ``stretch``: to SxS, whatever the aspect ratio (published SAM-Adapter code).
    #: ``pad``: longest side to S, the rest padded (SAM's own preprocessing).
    resize: ClassVar[str] = "stretch"
    #: Whether it trains anything at all; a zero-shot method is only measured.
    trains: ClassVar[bool] = True
    #: Whether it starts neutral: at step 0 it is SAM without a prompt.
    neutral: ClassVar[bool] = False
    #: Whether it is prompted with the true mask's box where it is measured: its numbers stand apart.
    prompted: ClassVar[bool] = False
    #: Beginnings of the names of trained parameters that one batch may leave without a gradient.
    sometimes_idle: ClassVar[tuple[str, ...]] = ()
    #: Masks of an image that a batch holds in training.
    masks: int = 1
    #: ``flip``: mirrored half of the time. ``scene``: random crops, turns and colours.
    augment: str = "flip"

    def __init__(self, sam: Sam, options: Any = None) -> None:
        super().__init__()
        self.sam = sam
        self.options = options if options is not None else self.Options()
        self.sam.requires_grad_(False)

    @abstractmethod
    def forward(self, batch: Batch) -> Prediction:
        """Everything that the loss needs: ``logits`` Bx1xSxS and the method's own features."""

    @abstractmethod
    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Named scalars whose weighted sum (``loss_weights``) is minimised.

        Each is this rank's share, scaled so that the mean over ranks is the value for the whole global
        batch; ``methods.parts.distributed.global_mean`` does that.
        """

    def loss_weights(self) -> dict[str, float]:
        """The weight of each loss; 1 for those not named."""
        return {}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the losses: a scalar."""
        weights = self.loss_weights()
        return torch.stack([weights.get(name, 1.0) * value for name, value in losses.items()]).sum()

    def predict(self, batch: Batch) -> Tensor:
        """Mask logits Bx1xSxS in the frame of the model's input; > 0 is foreground."""
        return self.forward(batch)["logits"]

    def trained_names(self) -> list[str]:
        """The names of the parameters that are trained: just these go into a checkpoint."""
        return [name for name, parameter in self.named_parameters() if parameter.requires_grad]

    def trained_state(self) -> dict[str, Tensor]:
        """Copies on the CPU of what is trained, by name."""
        parameters = dict(self.named_parameters())
        return {name: parameters[name].detach().cpu().clone() for name in self.trained_names()}


def option(
    default: Any,
    help: str,
    choices: tuple[Any, ...] = (),
    *,
    at_least: float | None = None,
    more_than: float | None = None,
    at_most: float | None = None,
    path: bool = False,
) -> Any:
    """A dataclass field with a help text and the values that it allows. A ``path`` is made absolute."""
    limits = {"at_least": at_least, "more_than": more_than, "at_most": at_most}
    given = {name: value for name, value in limits.items() if value is not None}
    return field(default=default, metadata={"help": help, "choices": choices, "limits": given, "path": path})
