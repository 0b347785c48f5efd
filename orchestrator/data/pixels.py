"""The two steps that every training image costs, as fast as a core does them: decoding JPEG and resizing.

Both give Pillow's pixels: decoding exactly (both are libjpeg-turbo with its default, accurate settings),
shrinking but for a rounding here and there (the same antialiased triangle filter, in PyTorch's vectorised
kernels), enlarging within one grey level (OpenCV, in fixed point).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  #: HxWx3 RGB

cv2.setNumThreads(0)  # whoever calls has threads of its own


def decode_jpeg(data: bytes) -> Pixels | None:
    """An ordinary JPEG file; None where it is none (has inks, is huge or damaged): then Pillow has the word."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("YCbCr", "Gray") or height * width > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB")
    except (ValueError, MemoryError):
        return None
    return pixels


def place(image: Pixels, planes: NDArray[np.uint8]) -> None:
    """Put HxWx3 at the top left of 3xSxS, a plane a colour: three times as fast as numpy's transposed copy."""
    height, width = image.shape[:2]
    cv2.split(image, [plane[:height, :width] for plane in planes])


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """HxWx3 to height x width, bilinear, antialiased where it shrinks: SAM's own preprocessing."""
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    if height >= rows and width >= columns:
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    # 1x3xHxW whose memory stays HxWx3: PyTorch then works on bytes, all channels at once
    planes = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None]
    small = F.interpolate(planes, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return small[0].permute(1, 2, 0).contiguous().numpy()
