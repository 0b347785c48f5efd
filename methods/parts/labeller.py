"""The face of a method that names every pixel's class, in place of answering prompts with masks.

B = images, C = classes, H x W = the input in pixels. Images keep their shape, and all of a data set get one size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from methods.base import Batch, Method, Prediction

REFERENCE = "reference_"
VOID = 255  #: a pixel of no class


@dataclass(frozen=True)
class Teacher:
    """Another method's best weights on another data set, from which a method starts."""

    method: str
    dataset: str
    settings: Mapping[str, Any]  #: dotted ones, beside the defaults


@dataclass(frozen=True)
class Part:
    """One array that is stored of each image: ``shape``, of unsigned bytes."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Offline:
    """What frozen SAM says of each image, computed once and stored beside the data set for all trials."""

    name: str  #: of the stage
    key: Mapping[str, Any]  #: all that its numbers hang on, but for SAM's weights, the input's size and the images
    parts: Mapping[str, Part]
    make: Callable[[Tensor], dict[str, Tensor]]  #: an image 3xHxW uint8 to its parts


@dataclass(frozen=True)
class Judged:
    """Class maps, and what they are held against."""

    labels: Tensor  #: BxNxhxw, classes; 255 where nothing is said
    truth: Tensor  #: BxNxhxw, classes; 255 = void
    wraps: bool = False  #: left and right edge join


class Labeller(Method):
    """A method for data sets whose every pixel has a class."""

    answers = False

    def __init__(self, sam: Sam, options: Any = None, classes: Sequence[str] = ("ground", "object")) -> None:
        super().__init__(sam, options)
        self.classes = tuple(classes)

    @classmethod
    def teacher(cls, options: Any) -> Teacher | None:
        """Whose weights it starts from; its classes are then the teacher's."""
        return None

    @classmethod
    def classes_of(cls, options: Any) -> tuple[str, ...] | None:
        """The classes that it names whatever the data set; None: the teacher's, or the data set's own."""
        return None

    def learn_from(self, weights: Mapping[str, Tensor]) -> None:
        """Start from the teacher's trained weights."""
        raise NotImplementedError

    @abstractmethod
    def frame(self, height: int, width: int) -> tuple[int, int]:
        """The input's size for images of this size."""

    def offline(self, height: int, width: int) -> Offline | None:
        """What is to be computed of every image of this input size before it trains."""
        return None

    def reference(self, height: int, width: int) -> Offline | None:
        """What ``agreement`` is told by, the same for all trials; in a batch its names begin with ``REFERENCE``."""
        return None

    def pseudo_labels(self, batch: Batch) -> dict[str, Judged]:
        """What it learns from, and what that is made of, by name: where truth is known, their quality is told."""
        return {}

    def agreement(self, batch: Batch, logits: Tensor) -> Judged | None:
        """How it is chosen by where held-out images have no labels: its answer, and what that should agree with."""
        return None

    @abstractmethod
    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxCxHxW, and in training whatever else the loss needs."""


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits BxCx... with labels Bx..., a mean over each image's labelled pixels: B; 0 without any."""
    found = F.cross_entropy(logits.float(), labels.long(), ignore_index=VOID, reduction="none").flatten(1)
    return found.sum(1) / (labels != VOID).flatten(1).sum(1).clamp_min(1)


def scaled(height: int, width: int, most: int) -> tuple[int, int]:
    """A size no wider than ``most`` (0: whatever it is), of the same shape."""
    if not most or width <= most:
        return height, width
    return max(1, round(height * most / width)), most
