"""Several masks of one image as one picture: bit k of a pixel's 24 says whether it lies in mask k."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.check import decode_image

MAX_LAYERS = 24

Bits = NDArray[np.uint32]  #: HxW


def encode_layers(masks: NDArray[np.bool_]) -> bytes:
    """MxHxW masks, which may overlap, as a PNG (RGB: red holds the lowest eight bits)."""
    if not 1 <= len(masks) <= MAX_LAYERS:
        raise ValueError(f"{len(masks)} masks: 1 to {MAX_LAYERS}")
    bits = np.zeros(masks.shape[1:], np.uint32)
    for k, mask in enumerate(masks):
        bits |= mask.astype(np.uint32) << np.uint32(k)
    planes = np.stack([(bits >> np.uint32(8 * i)) & np.uint32(255) for i in range(3)], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(planes.astype(np.uint8)).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def decode_layers(data: bytes) -> Bits:
    """What ``encode_layers`` wrote, as HxW of 24 bits. Raises BadImage."""
    planes = decode_image(data).astype(np.uint32)
    return planes[..., 0] | planes[..., 1] << np.uint32(8) | planes[..., 2] << np.uint32(16)


def layer(bits: Bits, k: int) -> NDArray[np.bool_]:
    """Mask ``k``."""
    return (bits >> np.uint32(k) & np.uint32(1)).astype(np.bool_)
