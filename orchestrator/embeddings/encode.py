"""What an entry is filled with: the encoder, run over rows of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from methods.backbone.calls import embed_image_and_blocks
from methods.base import Method
from orchestrator.build import autocast
from orchestrator.data.loader import Loader
from orchestrator.data.reader import DataSplit
from orchestrator.embeddings.fill import Images, Make, Unit
from orchestrator.embeddings.key import EMBEDDING, block_part
from orchestrator.embeddings.shards import Encoded, Form, to_bits

GPU_BATCH = 4  #: images that a GPU encodes at once; a CPU is as fast with one


def forms_of(method: Method, stored: str) -> dict[str, Form]:
    """What is stored of an image: the embedding, and the outputs of the blocks that the method reads."""
    encoder = method.sam.image_encoder
    side = int(encoder.img_size) // int(encoder.patch_embed.proj.kernel_size[0])
    depth = int(method.sam.prompt_encoder.embed_dim)
    width = int(encoder.patch_embed.proj.out_channels)
    blocks = {block_part(number): Form((side, side, width), stored) for number in method.encoder_blocks}
    return {EMBEDDING: Form((depth, side, side), stored)} | blocks


def encoding(
    method: Method,
    split: Callable[[str], DataSplit],
    forms: Mapping[str, Form],
    device: torch.device,
    dtype: torch.dtype,
    threads: int,
) -> Make:
    """The ``fill.Make`` that runs the method's encoder; ``split``: a whole split by its name."""
    blocks = {block_part(number): number for number in method.encoder_blocks}

    def make(unit: Unit, parts: list[str]) -> Images:
        wanted = [blocks[part] for part in parts if part in blocks]
        with closing(iter(_loader(method, split(unit.split), unit, device, threads))) as loader:
            for batch in loader:
                batch = batch.to(device)
                if unit.flipped:
                    batch = replace(batch, image=mirrored(batch.image, batch.valid))
                with torch.no_grad(), autocast(device, dtype):
                    embedding, outputs = embed_image_and_blocks(method.sam, batch, wanted)
                named = dict(zip((block_part(b) for b in wanted), outputs, strict=True)) | {EMBEDDING: embedding}
                for i in range(len(batch)):
                    height, width = batch.valid[i].tolist()
                    bits = {part: to_bits(named[part][i], forms[part].stored) for part in parts}
                    yield Encoded(bits, (height, width))

    return make


def mirrored(image: Tensor, valid: Tensor) -> Tensor:
    """BxCxSxS mirrored within the part that shows the image, Bx2: what the loader does by ``flip``."""
    out = image.clone()
    for i, (height, width) in enumerate(valid.tolist()):
        out[i, :, :height, :width] = image[i, :, :height, :width].flip(-1)
    return out


def _loader(method: Method, split: DataSplit, unit: Unit, device: torch.device, threads: int) -> Loader:
    rows = np.array(unit.rows, dtype=np.int64)
    size = 1 if device.type == "cpu" else GPU_BATCH
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    batches = [(part, np.ones(len(part), dtype=np.float32)) for part in parts]
    side = int(method.sam.image_encoder.img_size)
    return Loader(split, side, method.resize, batches, seed=0, epoch=0, train=False, threads=threads)
