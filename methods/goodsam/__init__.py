"""GoodSAM and GoodSAM++: a small network learns to label panoramas from SAM and a teacher assistant, without a label.

Papers: Zhang et al., GoodSAM, CVPR 2024, arXiv 2403.16370; GoodSAM++, arXiv 2408.09115 (``variant=plusplus``). No
code of them is public. What follows is their framework figures; **every formula and number below that the figures do
not fix is our reading**, and an option where it could be otherwise. Weights, theta, window and stride of the papers
are not known.

    x        Bx3xHxW, an unlabelled panorama; W_i its N windows, which wrap round the 0/360 degree seam
    K_i      SAM's instances of W_i, and B_SAM its edges: frozen, computed once (``offline``)
    S_i      CxhxW logits of the assistant (SegFormer, trained on pinhole images, trained on here)
    P_S, P_i logits of the student on the whole panorama, and what of them lies in W_i
    E_i, M_i = CTCF(S_i, K_i), E_H = E (x) M                                       (``fusion``; Eq. 3)
    B_ref    = BE(B_SAM, S_i, S_j) where two windows overlap                       (``boundary``)
    S_TA^w   the assistant's windows, stitched

    L = w_cc L_CC(S_i, S_j)                                   consistency on overlaps (Eq. 1)
      + w_t_ta [CE(S_i, E_i) + CE(S_i, E_H)]                  L_CE^{T,TA}: SAM and assistant teach the assistant
      + w_t_s  [CE(P_i, E_i) + CE(P_i, E_H)]                  L_CE^{T,S}: ... and the student, by windows
      + w_ta_s CE(P_S, S_TA^w)                                L_CE^{TA,S}: the assistant teaches it the whole
      + w_bd   L_bd(edges of P_i, B_ref)                      L_bd^{T,S}: SAM's boundaries

No gradient reaches a target. What is measured is the student alone, on the whole panorama.

Further readings of ours that no option changes: CE with E_H is a mean over its own pixels, so that a sure one weighs
more than twice where few are sure; S_TA^w is the class of the windows' mean probabilities; B_ref takes SAM's edges of
both windows, as they were computed for each, and L_bd is held against it one pixel wider; an edge of the student is how
much a class's probability rises within a pixel; area levels are quantiles of one panorama's instances, and their means
its own; pairs of windows are right and lower neighbours; BEv2 of GoodSAM++, whose insides are not known, is BE.

GoodSAM++: windows slide vertically, too; the pixels of an instance count by the assistant's confidence; an instance is
sure where its largest share is at least the mean of its area level (small, medium, large).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from methods.backbone.calls import normalise
from methods.base import Batch, Prediction, option
from methods.goodsam import boundary, fusion
from methods.goodsam.windows import Windows, shared
from methods.parts import segformer
from methods.parts.automatic import Sieve, automatic_masks, contours
from methods.parts.distributed import global_mean
from methods.parts.labeller import REFERENCE, Judged, Labeller, Offline, Part, Teacher, mean_cross_entropy, scaled
from methods.parts.segformer import SIZES, START

AGREED_THETA = 0.6  #: of the pseudo labels that trials are chosen by, whatever they are trained with


@dataclass(frozen=True)
class Options:
    variant: str = option(
        "goodsam", "goodsam, or plusplus: windows in two directions, area levels, confidence", ("goodsam", "plusplus")
    )
    student: str = option("b0", "SegFormer's size; the papers' smallest has 3.7 M parameters: b0", tuple(SIZES))
    student_weights: str | None = option(
        None, "folder of weights that the student starts from, as transformers saves them (nvidia/mit-b0)", path=True
    )
    start: str = option(
        "trained", "both, without weights: those that ship with size t (other sizes have none), or random", START
    )
    student_start: str = option(
        "auto",
        "the student starts from weights (ImageNet's in the sister project), or from what the assistant learned from "
        "pinhole images; auto: the latter where both are of one size and no weights are given (inferred)",
        ("auto", "weights", "assistant"),
    )
    assistant: str = option("b5", "SegFormer's size; the paper's is almost surely b5", tuple(SIZES))
    assistant_weights: str | None = option(
        None, "folder of a SegFormer trained on pinhole images (nvidia/segformer-b5-finetuned-cityscapes-1024-1024); "
        "unset: it is trained on `source` first", path=True,
    )  # fmt: skip
    source: str = option("cityscapes", "labelled pinhole images that the assistant is trained on")
    source_epochs: int = option(80, "epochs of that", at_least=1)
    source_lr: float = option(6e-5, "learning rate of that; SegFormer's own", more_than=0)
    source_weights: str | None = option(
        None, "folder of weights that it starts from there (nvidia/mit-b5); unset: random", path=True
    )
    source_width: int = option(0, "of those images in pixels, as segformer's `width`", at_least=0)
    source_seed: int = option(0, "seed of that", at_least=0)
    width: int = option(0, "of a panorama in pixels: wider ones are scaled down; 0: as they are", at_least=0)
    window: float = option(
        0.0, "a window's height, of the panorama's; 0: all of it, three quarters with plusplus (inferred)",
        at_least=0, at_most=1,
    )  # fmt: skip
    window_aspect: float = option(1.0, "a window's width, of its height (inferred: a square)", more_than=0)
    stride: float = option(0.5, "from window to window, of its width (inferred: a half)", more_than=0, at_most=1)
    theta: float = option(0.6, "share of the largest class below which an instance is unsure (inferred: 0.5 to 0.8)",
                          at_least=0, at_most=1)  # fmt: skip
    levels: str = option(
        "auto", "what an instance's share is held against: theta, its area level's mean; auto: as the variant has it",
        ("auto", "theta", "mean"),
    )  # fmt: skip
    small: float = option(0.33, "quantile of areas that parts small instances from medium ones (inferred)",
                          at_least=0, at_most=1)  # fmt: skip
    large: float = option(0.66, "quantile of areas that parts medium instances from large ones (inferred)",
                          at_least=0, at_most=1)  # fmt: skip
    weigh: str = option(
        "auto", "pixels of an instance count by the assistant's confidence, or alike; auto: as the variant has it",
        ("auto", "confidence", "alike"),
    )  # fmt: skip
    tolerance: int = option(3, "pixels between SAM's edge and a change of class (inferred: 3 to 5)", at_least=0)
    consistency: str = option("kl", "form of L_CC (inferred)", ("kl", "mse"))
    boundary_loss: str = option("bce", "form of L_bd: balanced cross-entropy, or Dice (inferred)", ("bce", "dice"))
    w_cc: float = option(1.0, "weight of L_CC (inferred: 1)", at_least=0)
    w_t_ta: float = option(1.0, "weight of L_CE^{T,TA} (inferred: 1)", at_least=0)
    w_t_s: float = option(1.0, "weight of L_CE^{T,S} (inferred: 1)", at_least=0)
    w_ta_s: float = option(1.0, "weight of L_CE^{TA,S} (inferred: 1)", at_least=0)
    w_bd: float = option(0.1, "weight of L_bd^{T,S} (inferred: 0.1 to 1)", at_least=0)
    assistant_rate: float = option(0.1, "the assistant's learning rate, of the student's (train.lr)", more_than=0)
    points: int = option(32, "a side of SAM's grid of points in a window of full height; SAM's own: 32", at_least=1)
    predicted_iou: float = option(0.88, "SAM's least opinion of a mask; SAM's own: 0.88", at_least=0, at_most=1)
    stability: float = option(0.95, "a mask's least stability; SAM's own: 0.95", at_least=0, at_most=1)


class GoodSam(Labeller):
    """A student SegFormer, a teacher assistant that is one too, and SAM."""

    title = "GoodSAM"
    paper = "arXiv 2403.16370, 2408.09115"
    Options = Options
    tasks = frozenset({"panorama"})
    augment = "none"

    @classmethod
    def defaults(cls, small: bool, weights: bool = False) -> dict[str, Any]:
        """The sister project's rate (6e-5) with weights or beside official SAM; else what serves two cores."""
        published = {"train.lr": 6e-5, "train.schedule": "steps"}
        if not small:
            return published
        sieve = {"method.points": 10, "method.predicted_iou": 0.6, "method.stability": 0.8}
        sizes = {"method.student": "t", "method.assistant": "t", "method.window_aspect": 1.5}  # as the views' own
        source = {"method.source_epochs": 8, "method.source_lr": 2e-3}
        rates = {
            "train.lr": 5e-4,
            "method.assistant_rate": 0.01,
            "train.schedule": "steps",
            "train.batch": 4,
            "train.epochs": 4,
        }
        if weights:
            return {**sieve, **published}
        return {**sieve, **sizes, **source, **rates}

    def __init__(self, sam: Sam, options: Any = None, classes: Sequence[str] = ("ground", "object")) -> None:
        super().__init__(sam, options, classes)
        o, count = self.options, len(self.classes)
        if o.variant == "plusplus" and o.window == 1:
            raise ValueError("method.window=1: windows of plusplus slide vertically, too; give less than 1, or 0")
        if o.small > o.large:
            raise ValueError(f"method.small={o.small}: above method.large={o.large}")
        if o.student_start == "assistant" and (o.student != o.assistant or o.student_weights):
            raise ValueError(
                f"method.student_start=assistant: the student ({o.student}) must be of the assistant's size "
                f"({o.assistant}) and without student_weights"
            )
        start = segformer.start_of(o.student, o.student_weights, o.start)
        self.student = segformer.SegFormer(o.student, count, start)
        self.assistant = segformer.SegFormer(o.assistant, count, o.assistant_weights, whole=True)
        if self.starts_as_assistant and o.assistant_weights:
            self.student.load_state_dict(self.assistant.state_dict())
        self.first_assistant = copy.deepcopy(self.assistant).requires_grad_(False)  #: as it was before it learned here
        if o.w_cc == o.w_t_ta == 0:
            self.assistant.requires_grad_(False)
        if o.w_t_s == o.w_ta_s == o.w_bd == 0:
            raise ValueError("method.w_t_s, w_ta_s and w_bd are all 0: the student would learn nothing")

    @classmethod
    def teacher(cls, options: Any) -> Teacher | None:
        """The assistant: ``segformer`` on the pinhole images, unless its weights are given."""
        if options.assistant_weights:
            return None
        wanted = {
            "backbone.name": "vit_t",  # it takes no part
            "method.size": options.assistant,
            "method.weights": options.source_weights,
            "method.start": options.start,
            "method.width": options.source_width,
            "train.schedule": "steps",
            "train.epochs": options.source_epochs,
            "train.lr": options.source_lr,
            "train.seed": options.source_seed,
        }
        return Teacher("segformer", options.source, wanted)

    @classmethod
    def classes_of(cls, options: Any) -> tuple[str, ...] | None:
        return segformer.class_names(options.assistant_weights) if options.assistant_weights else None

    def learn_from(self, weights: Mapping[str, Tensor]) -> None:
        net = {name.removeprefix("net."): tensor for name, tensor in weights.items()}
        student = (self.student,) if self.starts_as_assistant else ()
        for own in (self.assistant, self.first_assistant, *student):
            own.load_state_dict(net)

    @property
    def starts_as_assistant(self) -> bool:
        """Whether the student starts from what the assistant learned from pinhole images."""
        o = self.options
        alike = o.student == o.assistant and not o.student_weights
        return bool(o.student_start == "assistant" or (o.student_start == "auto" and alike))

    def frame(self, height: int, width: int) -> tuple[int, int]:
        return scaled(height, width, self.options.width)

    def rates(self) -> dict[str, float]:
        return {"assistant.": self.options.assistant_rate}

    def windows(self, height: int, width: int) -> Windows:
        """The windows of a panorama of this size."""
        o = self.options
        plus = o.variant == "plusplus"
        return Windows.of(height, width, o.window or (0.75 if plus else 1.0), o.window_aspect, o.stride, plus)

    @property
    def rule(self) -> fusion.Rule:
        """How instances become sure."""
        o, plus = self.options, self.options.variant == "plusplus"
        by_level = plus if o.levels == "auto" else o.levels == "mean"
        return fusion.Rule(
            o.theta, plus if o.weigh == "auto" else o.weigh == "confidence", by_level, (o.small, o.large)
        )

    def offline(self, height: int, width: int) -> Offline:
        """SAM's instances (NxhxW, 255 = none) and edges (bits of NxhxW) of each window."""
        return self._of_windows(self.windows(height, width))

    def reference(self, height: int, width: int) -> Offline:
        """The same of the windows that all trials are chosen by, whatever they are trained with."""
        return self._of_windows(self._agreed(height, width))

    def _agreed(self, height: int, width: int) -> Windows:
        """Of a panorama's height, half overlapping: whatever `window` and `stride` are."""
        return Windows.of(height, width, 1.0, self.options.window_aspect, stride=0.5, rows=False)

    def _of_windows(self, windows: Windows) -> Offline:
        sieve = self._sieve(windows.h / windows.height)
        shape = len(windows), windows.h, windows.w
        key = {"windows": [windows.h, windows.w, *windows.tops, *windows.lefts], "sieve": vars(sieve), "version": 1}
        parts = {"instances": Part(shape), "edges": Part((*shape[:2], -(-windows.w // 8)))}

        def make(image: Tensor) -> dict[str, Tensor]:
            found = [automatic_masks(self.sam, window, sieve) for window in windows.crop(image[None])[0]]
            return {
                "instances": torch.stack([fusion.instance_map(masks) for masks in found]),
                "edges": _packed(torch.stack([contours(masks) for masks in found])),
            }

        return Offline("instances", key, parts, make)

    def _sieve(self, size: float) -> Sieve:
        """For windows of this size: the grid is as dense in all of them."""
        o = self.options
        return Sieve(max(1, round(o.points * size)), o.predicted_iou, o.stability)

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxCxHxW of the student; in training the assistant's, too: ``assistant`` BxNxCxhxw."""
        image = normalise(self.sam, batch.image)
        prediction = {"logits": self.student(image)}
        if self.training:
            prediction["assistant"] = self._on_windows(self.assistant, image)
        return prediction

    def _on_windows(self, net: segformer.SegFormer, image: Tensor, windows: Windows | None = None) -> Tensor:
        """Logits BxNxCxhxw of a network that sees one window at a time."""
        cut = (windows or self.windows(*image.shape[-2:])).crop(image)
        return net(cut.flatten(0, 1)).unflatten(0, cut.shape[:2]).float()

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        o, windows = self.options, self.windows(*batch.image.shape[-2:])
        taught, student = prediction["assistant"], prediction["logits"].float()
        target = taught.detach()
        fused = fusion.fuse(target, batch.offline["instances"], self.rule)
        parts = windows.crop(student)
        found = {}
        if o.w_cc:
            found["l_cc"] = self._consistency(taught, windows)
        if o.w_t_ta:
            found["l_ce_t_ta"] = _twice(taught, fused)
        if o.w_t_s:
            found["l_ce_t_s"] = _twice(parts, fused)
        if o.w_ta_s:
            whole = windows.stitch(target.softmax(2)).argmax(1).masked_fill(~windows.seen(student.device), fusion.VOID)
            found["l_ce_ta_s"] = mean_cross_entropy(student, whole)
        if o.w_bd:
            found["l_bd_t_s"] = self._boundary(parts, target, batch, windows)
        return {name: global_mean(value, batch.weight) for name, value in found.items()}

    def _consistency(self, logits: Tensor, windows: Windows) -> Tensor:
        """L_CC, a mean over pairs of windows: B; 0 where none overlap."""
        pairs = [(len(at.first), shared(logits, at)) for at in windows.overlaps]
        if not pairs:
            return logits.new_zeros(len(logits)) + 0 * logits.sum()
        errors = [count * boundary.consistency(self.options.consistency, *both) for count, both in pairs]
        return torch.stack(errors).sum(0) / sum(count for count, _ in pairs)

    def _boundary(self, parts: Tensor, target: Tensor, batch: Batch, windows: Windows) -> Tensor:
        """L_bd, a mean over pairs of windows: B; over single windows where none overlap."""
        o = self.options
        edges = _unpacked(batch.offline["edges"], windows.w)
        labels = target.argmax(2)
        pairs = []
        for at in windows.overlaps:
            (sam, other), (first, second) = shared(edges[:, :, None], at), shared(labels[:, :, None], at)
            kept = boundary.refined(sam | other, first, second, o.tolerance)[:, :, 0]
            pairs.append((len(at.first), boundary.soft_edges(shared(parts, at)[0].softmax(2)), kept))
        if not pairs:
            kept = boundary.refined(edges, labels, labels, o.tolerance)
            pairs = [(len(windows), boundary.soft_edges(parts.softmax(2)), kept)]
        errors = [n * boundary.edge_errors(o.boundary_loss, s, boundary.dilated(kept, 1)) for n, s, kept in pairs]
        return torch.stack(errors).sum(0) / sum(n for n, _, _ in pairs)

    def loss_weights(self) -> dict[str, float]:
        o = self.options
        return {
            "l_cc": o.w_cc, "l_ce_t_ta": o.w_t_ta, "l_ce_t_s": o.w_t_s, "l_ce_ta_s": o.w_ta_s, "l_bd_t_s": o.w_bd,
        }  # fmt: skip

    def pseudo_labels(self, batch: Batch) -> dict[str, Judged]:
        """The assistant on whole panoramas and on windows, E and E_H: as the assistant is by now."""
        windows = self.windows(*batch.image.shape[-2:])
        image, truth = normalise(self.sam, batch.image), batch.mask
        logits = self._on_windows(self.assistant, image)
        fused, cut = fusion.fuse(logits, batch.offline["instances"], self.rule), windows.crop(truth)[:, :, 0]
        return {
            "assistant": Judged(self.assistant(image).argmax(1)[:, None], truth, wraps=True),
            "first_assistant": Judged(self.first_assistant(image).argmax(1)[:, None], truth, wraps=True),
            "assistant_windows": Judged(logits.argmax(2), cut),
            "ensemble": Judged(fused.ensemble, cut),
            "confident": Judged(fused.confident, cut),
        }

    def agreement(self, batch: Batch, logits: Tensor) -> Judged:
        """The student in each window, and E_H of the assistant as it first was: the same goal for all trials."""
        windows = self._agreed(*batch.image.shape[-2:])
        first = self._on_windows(self.first_assistant, normalise(self.sam, batch.image), windows)
        goal = fusion.fuse(first, batch.offline[f"{REFERENCE}instances"], fusion.Rule(AGREED_THETA)).confident
        return Judged(windows.crop(logits.argmax(1)[:, None])[:, :, 0], goal)


def _twice(logits: Tensor, fused: fusion.Fused) -> Tensor:
    """CE with E and with E_H, so that what is sure counts twice. Logits BxNxCxhxw: B."""
    errors = F.cross_entropy(logits.flatten(0, 1), fused.ensemble.flatten(0, 1), reduction="none")
    errors = errors.unflatten(0, logits.shape[:2]).flatten(1)
    sure = fused.sure.flatten(1)  # E_H is E there
    return errors.mean(1) + (errors * sure).sum(1) / sure.sum(1).clamp_min(1)


@lru_cache(maxsize=8)
def _bits(device: torch.device) -> Tensor:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)


def _packed(edges: Tensor) -> Tensor:
    """Bool ...xW to bytes ...x(W/8), as numpy.packbits does."""
    padded = F.pad(edges.to(torch.uint8), (0, -edges.shape[-1] % 8)).unflatten(-1, (-1, 8))
    return (padded << _bits(edges.device)).sum(-1).to(torch.uint8)


def _unpacked(packed: Tensor, width: int) -> Tensor:
    """The opposite of ``_packed``: bool ...xwidth."""
    return ((packed[..., None] >> _bits(packed.device)) & 1).flatten(-2)[..., :width].bool()
