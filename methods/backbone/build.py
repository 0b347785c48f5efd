"""Builds SAM in one of four sizes from segment-anything's own classes, and loads its weights."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from methods.backbone.start import start

#: The seed of random weights.
RANDOM_SEED = 0
ORIGIN = "origin"  #: in the head of a weights file
#: vit_t's own weights, which ship with the project; vit_t.md beside them says how they came about.
BUNDLED = Path(__file__).with_name("vit_t.safetensors")


@dataclass(frozen=True)
class Size:
    """A size of SAM. ``side`` in pixels, the rest in the words of ImageEncoderViT."""

    side: int
    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int
    prompt_width: int
    official: bool  #: weights are Meta's checkpoint, not ours


SIZES: dict[str, Size] = {
    "vit_t": Size(256, 192, 6, 6, (2, 5), 8, 128, official=False),
    "vit_b": Size(1024, 768, 12, 12, (2, 5, 8, 11), 14, 256, official=True),
    "vit_l": Size(1024, 1024, 24, 16, (5, 11, 17, 23), 14, 256, official=True),
    "vit_h": Size(1024, 1280, 32, 16, (7, 15, 23, 31), 14, 256, official=True),
}


def build(name: str, checkpoint: Path | None = None, random: bool = False) -> Sam:
    """SAM of size ``name`` on the CPU, in evaluation mode.

    With a checkpoint, its weights are loaded (``weights_only``, every key must fit). Without one, vit_t has
    the weights that ship with the project; ``random`` weights are drawn from ``RANDOM_SEED`` whatever the
    global seed is.

    Raises:
        ValueError: the file is no checkpoint of this size, or an official size has neither a checkpoint nor
            ``random``; the message is one line.
    """
    if checkpoint is None and not random:
        if SIZES[name].official:
            raise ValueError(f"SAM {name}: no checkpoint is given; fetch one with `samsweep weights fetch {name}`")
        checkpoint = BUNDLED
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        sam = _build(name)
    if checkpoint is not None:
        load_weights(sam, checkpoint, name)
    return sam.eval()


def skeleton(name: str) -> Sam:
    """SAM of size ``name`` without any memory for its weights (on the meta device)."""
    with torch.device("meta"):
        return _build(name)


def load_weights(sam: Sam, checkpoint: Path, name: str) -> None:
    """Load a checkpoint in the official layout, or its tensors as safetensors; every key must be there."""
    state = _read(checkpoint, mmap=False)
    try:
        sam.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _other_size(checkpoint, name) from error


def check_weights(sam: Sam, checkpoint: Path, name: str) -> None:
    """Whether ``load_weights`` would succeed, without reading the weights themselves.

    Raises:
        ValueError: it would not; the message is one line.
    """
    state = _read(checkpoint, mmap=True)
    own = sam.state_dict()
    fits = isinstance(state, dict) and set(state) == set(own)
    if not fits or any(getattr(state[key], "shape", None) != own[key].shape for key in own):
        raise _other_size(checkpoint, name)


def dump_weights(sam: Sam, origin: str = "") -> bytes:
    """All weights as safetensors: half precision, but for the frequencies of the positions.

    ``origin`` says in words what made them; it lies in the file's head.
    """
    state = {
        key: value.detach().cpu().to(torch.float32 if "gaussian" in key else torch.float16).contiguous()
        for key, value in sam.state_dict().items()
    }
    return safetensors.torch.save(state, {ORIGIN: origin})


def read_origin(checkpoint: Path) -> str:
    """How these weights came about, as ``dump_weights`` was told; '' where the file does not tell."""
    if checkpoint.suffix != ".safetensors":
        return ""
    with safetensors.safe_open(checkpoint, "pt") as file:
        return (file.metadata() or {}).get(ORIGIN, "")


def _read(checkpoint: Path, mmap: bool) -> Any:
    try:
        if checkpoint.suffix == ".safetensors":
            return safetensors.torch.load_file(checkpoint)
        try:
            return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mmap)
        except RuntimeError:
            if not mmap:
                raise
            # a file of the old format cannot be mapped
            return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(f"{checkpoint}: no readable checkpoint; fetch it again") from error


def _other_size(checkpoint: Path, name: str) -> ValueError:
    return ValueError(f"{checkpoint}: not a checkpoint of SAM {name}; give the file of that size")


def fingerprint(sam: Sam) -> str:
    """A short digest of all weights: which backbone a trained checkpoint belongs to."""
    digest = hashlib.sha256()
    for key, value in sorted(sam.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _build(name: str) -> Sam:
    return sam_model_registry[name]() if SIZES[name].official else _build_small(SIZES[name])


def _build_small(size: Size) -> Sam:
    """vit_t: the same classes as segment-anything's ``_build_sam``, smaller numbers."""
    grid = size.side // 16
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=size.side,
            patch_size=16,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            mlp_ratio=4,
            out_chans=size.prompt_width,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=size.window,
            global_attn_indexes=size.global_blocks,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=size.prompt_width,
            image_embedding_size=(grid, grid),
            input_image_size=(size.side, size.side),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            # no downsampling: as wide inside as the official decoders, whose 256 are halved there
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=size.prompt_width,
                mlp_dim=4 * size.prompt_width,
                num_heads=8,
                attention_downsample_rate=1,
            ),
            transformer_dim=size.prompt_width,
            iou_head_depth=3,
            iou_head_hidden_dim=size.prompt_width,
        ),
    )
    start(sam)
    return sam
