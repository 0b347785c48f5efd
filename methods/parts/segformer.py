"""SegFormer (arXiv 2105.15203), transformers' own, as methods use it: a size, a start, logits of the input's size.

The head's batch norm counts with its stored statistics, in training too: those of the weights that it starts from, or
mean 0 and variance 1. So a result is the same for any number of ranks and images a rank, as everywhere here; and there
is no dropout and no stochastic depth, which the published recipe has (0.1 each).
"""

from __future__ import annotations

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


class SegFormer(nn.Module):
    """Normalised images Bx3xHxW to class logits BxCxHxW."""

    def __init__(self, size: str, classes: int) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation  # seconds: not for `--help`

        found = SIZES[size]
        shape = {"hidden_sizes": [*found.widths], "depths": [*found.depths], "decoder_hidden_size": found.head}
        chance = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob", "drop_path_rate")
        about: dict[str, Any] = {"num_labels": classes, **shape, **dict.fromkeys(chance, 0.0)}
        self.net = SegformerForSemanticSegmentation(SegformerConfig(**about))

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(self.net(image).logits, image.shape[-2:], mode="bilinear", align_corners=False)

    def train(self, mode: bool = True) -> SegFormer:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def started(size: str, classes: int, weights: str | None) -> SegFormer:
    """A SegFormer with a folder's weights, or random ones. Raises ValueError where they do not fit."""
    net = SegFormer(size, classes)
    if weights and not next(net.parameters()).is_meta:
        start(net, read_weights(weights, size, classes), weights)
    elif weights:
        read_config(weights)
    return net


def read_weights(folder: str, size: str, classes: int | None) -> dict[str, Tensor]:
    """The weights of a folder as transformers saves them (config.json, and model.safetensors or pytorch_model.bin).

    A classifier of ImageNet, and one of other than ``classes`` classes, is left out: such a start has encoder (and
    head) alone. ``classes`` None: as many as there are.

    Raises:
        ValueError: the folder does not hold a SegFormer or MiT of this size.
    """
    config, tensors = read_config(folder), _tensors(Path(folder))
    if tuple(config.get("hidden_sizes", ())) != SIZES[size].widths or tuple(config["depths"]) != SIZES[size].depths:
        raise ValueError(f"{folder}: a SegFormer of another size than {size}")
    named = {n if n.startswith(("segformer.", "decode_head.")) else f"segformer.{n}": t for n, t in tensors.items()}
    named = {n: t for n, t in named.items() if not n.startswith("segformer.classifier.")}
    last = named.get("decode_head.classifier.weight")
    if last is not None and classes is not None and len(last) != classes:
        named = {n: t for n, t in named.items() if not n.startswith("decode_head.classifier.")}
    return named


def read_config(folder: str) -> dict[str, Any]:
    """config.json of a folder of weights. Raises ValueError where there is none of a SegFormer."""
    import json

    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}); give the folder of a SegFormer, as transformers saves it"
        ) from None
    if not isinstance(config, dict) or config.get("model_type") != "segformer" or "depths" not in config:
        raise ValueError(f"{path}: not a SegFormer's")
    return config


def class_names(folder: str) -> tuple[str, ...]:
    """The classes that weights know, by number."""
    named = read_config(folder).get("id2label", {})
    return tuple(str(named[key]) for key in sorted(named, key=int))


def start(net: SegFormer, weights: dict[str, Tensor], where: str) -> None:
    """Put weights into a net; what they do not have keeps its random start.

    Raises:
        ValueError: nothing fits, or shapes differ.
    """
    own = net.net.state_dict()
    odd = [name for name, tensor in weights.items() if name not in own or own[name].shape != tensor.shape]
    if odd or not weights:
        raise ValueError(
            f"{where}: {len(odd)} weights do not fit a SegFormer of this size (e.g. {odd[0] if odd else '-'})"
        )
    net.net.load_state_dict(weights, strict=False)


def _tensors(folder: Path) -> dict[str, Tensor]:
    import safetensors.torch

    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        if safe.exists():
            return safetensors.torch.load_file(safe)
        return dict(torch.load(pickled, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(f"{folder}: its weights cannot be read ({error})") from None
