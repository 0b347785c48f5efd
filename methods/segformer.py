"""SegFormer, trained on labelled images: the baseline for classes of pixels, and the assistant of GoodSAM.

Paper: Xie et al., SegFormer, arXiv 2105.15203; the networks are transformers' own. SAM takes no part in it.

    logits  BxCxHxW = net(image), from a quarter of the size, bilinear
    L       = cross-entropy, a mean over each image's labelled pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segment_anything.modeling import Sam
from torch import Tensor

from methods.backbone.calls import normalise
from methods.base import Batch, Prediction, option
from methods.parts import segformer
from methods.parts.distributed import global_mean
from methods.parts.labeller import Labeller, mean_cross_entropy, scaled


@dataclass(frozen=True)
class Options:
    size: str = option("b0", "of the network; t is smaller than the published ones, and ours", tuple(segformer.SIZES))
    weights: str | None = option(
        None, "folder of weights to start from, as transformers saves them (nvidia/mit-b0); unset: see start", path=True
    )
    start: str = option(
        "trained", "without weights: those that ship with size t (other sizes have none), or random", segformer.START
    )
    width: int = option(0, "of the input in pixels: wider images are scaled down to it; 0: as they are", at_least=0)
    augment: str = option(
        "crop", "crop: scaled by 0.5 to 2, cut to size, mirrored half of the time (the paper's); flip: mirrored",
        ("crop", "flip", "none"),
    )  # fmt: skip


class SegFormerBaseline(Labeller):
    """A SegFormer and its labels, nothing else."""

    title = "SegFormer (supervised)"
    paper = "arXiv 2105.15203"
    Options = Options
    tasks = frozenset({"semantic"})

    @classmethod
    def defaults(cls, small: bool, weights: bool = False) -> dict[str, Any]:
        """SegFormer's own rate from trained weights (6e-5); from random ones, and small, what serves two cores."""
        if small and not weights:
            return {"method.size": "t", "train.lr": 2e-3, "train.schedule": "steps", "train.epochs": 40}
        return {"train.lr": 6e-5, "train.schedule": "steps"}

    def __init__(self, sam: Sam, options: Any = None, classes: Sequence[str] = ("ground", "object")) -> None:
        super().__init__(sam, options, classes)
        self.augment = self.options.augment
        o = self.options
        self.net = segformer.SegFormer(o.size, len(self.classes), segformer.start_of(o.size, o.weights, o.start))

    def frame(self, height: int, width: int) -> tuple[int, int]:
        """As the images are, or scaled down to ``width``."""
        return scaled(height, width, self.options.width)

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxCxHxW."""
        return {"logits": self.net(normalise(self.sam, batch.image))}

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        return {"ce": global_mean(mean_cross_entropy(prediction["logits"], batch.mask[:, 0]), batch.weight)}
