"""The face that every method shows to the engine, and the batch that both speak of."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from methods.parts.prompts import Prompts, ask


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch. B = images on this rank, S = the model's input side in pixels.

    For a ``Labeller`` read HxW in place of SxS: images keep their shape, and ``mask`` is Bx1xHxW, classes (255 = void).

    Every rank holds the same B. Where the global batch does not divide, the rest is filled with samples
    of ``weight`` 0, which no loss and no metric may count.
    """

    image: Tensor  #: Bx3xSxS uint8 RGB, resized; padding (if any) at the right and bottom. Bx3x0x0 with ``embedding``
    mask: Tensor  #: BxPxSxS uint8, 1 = foreground; P = the masks that the method asks for, mostly 1
    valid: Tensor  #: Bx2 int64, height and width of the part of the input that shows the image
    size: Tensor  #: Bx2 int64, height and width of the original image
    index: Tensor  #: B int64, row in the split
    seed: Tensor  #: B int64, for whatever is random about a sample: the same for any number of ranks
    weight: Tensor  #: B float32, 1 = counts, 0 = filler
    prompts: Prompts | None = None  #: P for each image, one a mask; None where nothing is prompted for
    embedding: Tensor | None = None  #: BxDxhxw: the frozen encoder's, where it is stored; image is then Bx3x0x0
    blocks: tuple[Tensor, ...] = ()  #: each Bxhxwx C: the outputs of ``Method.encoder_blocks``, where they are stored
    offline: dict[str, Tensor] = field(default_factory=dict)  #: Bx... each: what ``Labeller.offline`` made

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor changed: moved, pinned, cut to some images."""
        return dataclasses.replace(self, **{f.name: _mapped(getattr(self, f.name), change) for f in fields(self)})

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def __len__(self) -> int:
        return int(self.image.shape[0])


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch's field: a tensor, several, prompts, or what is no tensor at all."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(map(change, value))
    if isinstance(value, dict):
        return {name: change(tensor) for name, tensor in value.items()}
    return Prompts(change(value.coords), change(value.labels)) if isinstance(value, Prompts) else value


@dataclass(frozen=True)
class NoOptions:
    """A method without options of its own."""


Prediction = dict[str, Tensor]  #: at least ``logits``: BxPxSxS float


class Method(nn.Module, ABC):
    """One paper's way to adapt SAM: an ``embedding`` of the images, and an ``answer`` to the prompts.

    A subclass lives in ``methods/<name>.py``, is found by its file's name, and says in class attributes
    what it is. Its constructor freezes all of SAM and then unfreezes what it trains.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    #: ``stretch``: to SxS, whatever the aspect ratio (published SAM-Adapter code).
    #: ``pad``: longest side to S, the rest padded (SAM's own preprocessing).
    resize: ClassVar[str] = "stretch"
    #: The tasks that it is made for (``orchestrator.data.tasks``); empty: all whose images have masks of objects.
    tasks: ClassVar[frozenset[str]] = frozenset()
    #: Whether it trains anything at all; a zero-shot method is only measured.
    trains: ClassVar[bool] = True
    #: Whether it starts neutral: at step 0 it is SAM without a prompt.
    neutral: ClassVar[bool] = False
    #: Whether it is prompted with the true mask's box where it is measured: its numbers stand apart.
    prompted: ClassVar[bool] = False
    #: Whether it answers ``Batch.prompts``: it serves data sets whose objects are prompted for one by one.
    answers: ClassVar[bool] = True
    #: Whether it is nothing without prompts: on every data set it is asked for objects one by one.
    needs_prompts: ClassVar[bool] = False
    #: Where the images of a batch are in what ``forward`` gives, by name: the dimension, 0 for those not named.
    image_dim: ClassVar[dict[str, int]] = {}
    #: Beginnings of the names of trained parameters that one batch may leave without a gradient.
    sometimes_idle: ClassVar[tuple[str, ...]] = ()
    #: Whether the encoder stays SAM's own, so that its embeddings may be stored.
    frozen_encoder: ClassVar[bool] = False
    #: Blocks whose outputs it reads too (``methods.backbone.calls.embed_image_and_blocks``).
    encoder_blocks: tuple[int, ...] = ()
    #: Masks of an image that a batch holds in training.
    masks: int = 1
    #: ``none``. ``flip``: mirrored half of the time. ``scene``: random crops, turns and colours.
    augment: str = "flip"

    def __init__(self, sam: Sam, options: Any = None) -> None:
        super().__init__()
        self.sam = sam
        self.options = options if options is not None else self.Options()
        self.sam.requires_grad_(False)

    def embedding(self, batch: Batch) -> Tensor:
        """The images' embeddings BxDxhxw, as the method makes them. Every method that ``answers`` has some."""
        raise NotImplementedError

    def answer(self, embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mask logits BxPx4xaxa and predicted IoU BxPx4, a = S/4, to the batch's prompts; output 0 is the answer.

        Without prompts P = 1.
        """
        return ask(self.sam, embedding, batch.prompts)

    @abstractmethod
    def forward(self, batch: Batch) -> Prediction:
        """Everything that the loss needs: ``logits`` BxPxSxS and the method's own features."""

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
        """Mask logits BxPxSxS in the frame of the model's input; > 0 is foreground."""
        return self.forward(batch)["logits"]

    @classmethod
    def defaults(cls, small: bool, weights: bool = False) -> dict[str, Any]:
        """Dotted settings that it starts from where the user says nothing.

        Args:
            small: beside vit_t, on a machine without a GPU.
            weights: the user gave weights of the method's own networks.
        """
        return {}

    def rates(self) -> dict[str, float]:
        """Learning rates by beginnings of parameters' names, as shares of ``train.lr``; 1 for those not named."""
        return {}

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
