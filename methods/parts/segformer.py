"""SegFormer (arXiv 2105.15203), transformers' own, as methods use it: a size, a start, logits of the input's size.

The head's batch norm counts with its stored statistics, in training too: those of the weights that it starts from, or
mean 0 and variance 1. They are folded into its scale and shift (``Affine``), which are trained and stored as all else.
So a result is the same for any number of ranks and images a rank, as everywhere here; and there is no dropout and no
stochastic depth, which the published recipe has (0.1 each).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """One of the published sizes; ``t`` is ours, for machines without a GPU."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    head: int


FILES = ("model.safetensors", "pytorch_model.bin")
MOST_CLASSES = 254  #: the rest of a byte is void, and what is none of them
START = ("trained", "random")  #: what a net without weights of its own starts from

_WIDE = (64, 128, 320, 512)
SIZES = {
    "t": Size((16, 32, 80, 128), (1, 1, 1, 1), 128),
    "b0": Size((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": Size(_WIDE, (2, 2, 2, 2), 256),
    "b2": Size(_WIDE, (3, 4, 6, 3), 768),
    "b3": Size(_WIDE, (3, 4, 18, 3), 768),
    "b4": Size(_WIDE, (3, 8, 27, 3), 768),
    "b5": Size(_WIDE, (3, 6, 40, 3), 768),
}


#: Folders of weights that ship, by size: ``segformer_t/card.md`` tells how they came about.
SHIPPED = {"t": Path(__file__).parent / "segformer_t"}


class SegFormer(nn.Module):
    """Normalised images Bx3xHxW to class logits BxCxHxW.

    Args:
        size: of ``SIZES``.
        classes: C.
        folder: weights to start from, as transformers saves them (config.json, and model.safetensors or
            pytorch_model.bin); what they lack (the head of an encoder of ImageNet's), or have for another number of
            classes, starts at random. None: all of it.
        whole: the folder must have all, for these classes.

    Raises:
        ValueError: the folder does not hold a SegFormer or MiT of this size, or not all that is wanted.
    """

    def __init__(self, size: str, classes: int, folder: str | None = None, whole: bool = False) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation  # seconds: not for `--help`

        found = SIZES[size]
        shape = {"hidden_sizes": [*found.widths], "depths": [*found.depths], "decoder_hidden_size": found.head}
        chance = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob", "drop_path_rate")
        about: dict[str, Any] = {"num_labels": classes, **shape, **dict.fromkeys(chance, 0.0)}
        config = SegformerConfig(**about)
        if folder:
            _check_size(folder, size)
        if folder and not torch.empty(0).is_meta:
            self.net = _loaded(folder, config, whole)
        else:
            self.net = SegformerForSemanticSegmentation(config)
        self.net.decode_head.batch_norm = Affine(self.net.decode_head.batch_norm)

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(self.net(image).logits, image.shape[-2:], mode="bilinear", align_corners=False)


class Affine(nn.Module):
    """A batch norm with its stored statistics: the same numbers as it gives in evaluation."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        with torch.no_grad():
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            self.weight = nn.Parameter(scale.clone())
            self.bias = nn.Parameter(norm.bias - mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def start_of(size: str, weights: str | None, start: str) -> str | None:
    """The folder that a net starts from: ``weights``, or what ships with its size; None: random.

    ``start`` 'random' is without what ships.
    """
    return weights or (str(SHIPPED[size]) if start == "trained" and size in SHIPPED else None)


def class_names(folder: str) -> tuple[str, ...]:
    """The classes that a folder's weights know, by number. Raises ValueError where it does not hold a SegFormer."""
    named = _config(folder).get("id2label") or {}
    if not 2 <= len(named) <= MOST_CLASSES:
        raise ValueError(
            f"{folder}/config.json: names {len(named)} classes (id2label), and 2 to {MOST_CLASSES} are wanted; give "
            "a segmenter's weights"
        )
    return tuple(str(named[key]) for key in sorted(named, key=int))


def _loaded(folder: str, config: Any, whole: bool) -> Any:
    from transformers import SegformerForSemanticSegmentation
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list what starts at random
    logging.disable_progress_bar()
    try:
        loaded: Any = SegformerForSemanticSegmentation.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{folder}: its weights cannot be read ({line})") from None
    finally:
        logging.set_verbosity(level)
    net, about = loaded
    lacking = sorted(map(str, [*about["missing_keys"], *about["mismatched_keys"]]))
    if whole and lacking:
        raise ValueError(
            f"{folder}: no whole segmenter of {config.num_labels} classes (no {lacking[0]}); an encoder alone is for "
            "source_weights or student_weights"
        )
    return net


def _check_size(folder: str, size: str) -> None:
    config, wanted = _config(folder), SIZES[size]
    if not any((Path(folder) / name).exists() for name in FILES):
        raise ValueError(f"{folder}: no weights in it (looked for {' and '.join(FILES)})")
    if tuple(config.get("hidden_sizes", ())) != wanted.widths or tuple(config["depths"]) != wanted.depths:
        raise ValueError(f"{folder}: a SegFormer of another size than {size}")


def _config(folder: str) -> dict[str, Any]:
    """config.json of a folder of weights."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); give a folder that transformers saved") from None
    if not isinstance(config, dict) or config.get("model_type") != "segformer" or "depths" not in config:
        raise ValueError(f"{path}: not a SegFormer's")
    return config
