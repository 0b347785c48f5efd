"""Decoding images and binary masks, and saying what is wrong with one."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.pixels import decode_jpeg
from orchestrator.data.schema import first_line

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
DEEP = 4096  #: a deep image whose brightest level is below would turn out black: 8 or 12 bits in a 16-bit file
LOSSY = ("JPEG", "MPO", "WEBP")
SOFT = 32  #: how far JPEG ringing and soft edges may stray from 0 and 255

# Large images are read as they are; what is too large to be true is an error of its own below.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class BadImage(Exception):
    """What is wrong with one encoded image or mask, in words for the user."""


class BadMask(BadImage):
    """The same, where the mask is to blame."""


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Any encoded image as HxWx3 uint8 RGB; alpha is dropped, 65535 levels become 255. Raises BadImage."""
    if (pixels := decode_jpeg(data)) is not None:
        return pixels
    image = open_image(data)
    if image.mode.startswith(("I", "F")):
        grey = np.nan_to_num(np.asarray(image, dtype=np.float64)).clip(min=0)
        if grey.max(initial=0) < DEEP:
            raise BadImage(f"uses only {int(grey.max(initial=0))} of 65535 levels; convert it to 8 bits first")
        grey *= 255 / max(grey.max(), 65535)
        return np.repeat((grey + 0.5).astype(np.uint8)[:, :, None], 3, axis=2)
    try:
        return np.array(image.convert("RGB"), dtype=np.uint8)
    except (ValueError, OSError) as error:
        raise BadImage(f"cannot be read as RGB ({first_line(error)})") from error


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, by its head alone. Raises BadImage."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except Image.UnidentifiedImageError as error:
        raise BadImage("not an image of a known format") from error
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(f"truncated or damaged image ({first_line(error)})") from error


def decode_mask(data: bytes, foreground_above: int) -> NDArray[np.uint8]:
    """An encoded mask as HxW uint8, 1 where its value is above the threshold. Raises BadImage."""
    return (_plane(open_image(data)) > foreground_above).view(np.uint8)


def open_image(data: bytes) -> Image.Image:
    """A fully loaded image in the mode that it was stored in."""
    if not data:
        raise BadImage("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()
    except Image.UnidentifiedImageError as error:
        raise BadImage("not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"too many pixels ({first_line(error)})") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, MemoryError) as error:
        raise BadImage(f"truncated or damaged image ({first_line(error)})") from error
    return image


def _plane(image: Image.Image) -> NDArray[Any]:
    """The one plane of values HxW that a mask speaks by: grey values, or the indices of a colour palette."""
    if image.mode in ("L", "1") or image.mode.startswith(("I", "F")):
        return np.asarray(image)
    if image.mode == "P" and not _grey_palette(image):
        return np.asarray(image)
    return np.asarray(image.convert("RGB").convert("L"))


def _grey_palette(image: Image.Image) -> bool:
    palette = np.asarray(image.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
    used = np.unique(np.asarray(image))
    used = used[used < len(palette)]
    return bool((np.ptp(palette[used], axis=1) == 0).all())


def binary_threshold(image: Image.Image) -> int:
    """The value above which a pixel is foreground. Raises BadMask where the mask is not binary.

    Values of {0, 1} only: 0. Otherwise 127, where at least 95 % of the pixels lie within ``SOFT`` of 0 or
    255 and no other value looks like a label: a label map of small objects is nearly all 0 as well, and
    a threshold would silently empty it.
    """
    values = _plane(image).astype(np.int64)
    top = int(values.max(initial=0))
    if top == 1 and (values.min() == 0 or image.format not in LOSSY):
        return 0  # coded {0, 1}; a constant 1 is all foreground
    if top == 65535 and not np.isin(values, (0, 65535)).all():
        raise _not_binary(values)
    if values.min(initial=0) < 0 or (top > 255 and top != 65535):
        raise _not_binary(values)
    counts = np.bincount(values.clip(max=255).ravel(), minlength=256)
    white = int(counts[255 - SOFT :].sum())
    between = int(counts[SOFT + 1 : 255 - SOFT].sum())
    if between > 0.05 * values.size or between > 2 * white:
        raise _not_binary(values)
    if counts[8:248].max() > white or (top > 1 and white == 0 and image.format not in LOSSY):
        raise _not_binary(values)
    coloured = _coloured(image)
    if coloured > 0.05 * values.size or 2 * coloured > white:
        raise BadMask(f"the mask is not binary: it has colours ({coloured} pixels)")
    return 127


def _coloured(image: Image.Image) -> int:
    """The number of pixels whose channels differ by more than JPEG noise."""
    if image.mode in ("L", "1", "P", "LA", "La") or image.mode.startswith(("I", "F")):
        return 0
    channels = np.asarray(image.convert("RGB")).astype(np.int64)
    return int((np.ptp(channels, axis=2) > SOFT).sum())


def _not_binary(values: NDArray[np.int64]) -> BadMask:
    distinct = np.unique(values)
    return BadMask(f"the mask is not binary: {len(distinct)} distinct values, from {distinct[0]} to {distinct[-1]}")
