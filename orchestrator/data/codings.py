"""What the values of a stored mask mean: each coding says how a mask is checked and how it is read."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.check import BadImage, BadMask, binary_threshold, decode_image, decode_mask, open_image
from orchestrator.data.layers import Bits, decode_layers

SOFT_THRESHOLD = 127  #: of a mask that is grey all over
VOID = 255  #: in a class map: no class, counted nowhere

Labels = NDArray[np.int32]  #: HxW


@dataclass(frozen=True)
class Coding:
    """How masks of one kind are read."""

    name: str
    meaning: str
    labels: Callable[[bytes], Labels] | None = None  #: a mask's values; None where it has no labels
    background: int = 0  #: the value of what belongs to nothing


def class_map(data: bytes) -> Labels:
    """A grey or palette image of class numbers; 255 is void. Raises BadMask."""
    image = open_image(data)
    if image.mode not in ("L", "P", "1"):
        raise BadMask(f"a class map has one channel of 8 bits, this has {image.mode}")
    return np.asarray(image).astype(np.int32)


def instance_map(data: bytes) -> Labels:
    """A grey (8 or 16 bits) or palette image: 0 is background, k is instance k. Raises BadMask."""
    image = open_image(data)
    if not image.mode.startswith("I") and image.mode not in ("L", "P", "1"):
        raise BadMask(f"a label map has one channel, this has {image.mode}")
    return np.asarray(image).astype(np.int32)


def panoptic_map(data: bytes) -> Labels:
    """COCO's panoptic PNG: segment id = R + 256 G + 65536 B, 0 is void. Raises BadMask."""
    image = open_image(data)
    if image.mode not in ("RGB", "RGBA"):
        raise BadMask(f"a panoptic map has three channels (id = R + 256 G + 65536 B), this has {image.mode}")
    r, g, b = np.moveaxis(np.asarray(image)[..., :3].astype(np.int32), -1, 0)
    return r + 256 * g + 65536 * b


CODINGS = {
    coding.name: coding
    for coding in (
        Coding("none", "no mask"),
        Coding("binary", "one mask: foreground above a threshold"),
        Coding("layers", "up to 24 masks that may overlap, a bit each"),
        Coding("classes", "a class number at each pixel, 255 = void", class_map, VOID),
        Coding("instances", "0 = background, k = instance k", instance_map),
        Coding("panoptic", "segment id = R + 256 G + 65536 B, 0 = void", panoptic_map),
    )
}


@dataclass(frozen=True)
class Checked:
    """Height and width of the image in pixels, and the threshold that binarises a binary mask."""

    height: int
    width: int
    foreground_above: int = 0


def check_pair(
    image: bytes,
    mask: bytes,
    coding: str = "binary",
    *,
    classes: int = 0,
    values: frozenset[int] | None = None,
    scale: float = 1,
    soft: bool = False,
) -> Checked:
    """Decode an image and its mask fully.

    Args:
        classes: how many a class map may tell apart.
        values: those of the row's objects, where every value of the mask must be one of them.
        scale: the mask's size, of the image's.
        soft: a binary mask may hold any grey.

    Raises:
        BadMask: the mask is damaged, of another size, or holds what its coding does not allow.
        BadImage: the image is damaged.
    """
    width, height = open_image(image).size  # by Pillow, which does not forgive a truncated file
    decode_image(image)
    if coding == "none":
        return Checked(height, width)
    try:
        (high, wide), above = _check_mask(mask, coding, classes, values, soft)
    except BadMask:
        raise
    except BadImage as error:
        raise BadMask(str(error)) from error
    expected = round(height * scale), round(width * scale)
    if (high, wide) != expected:
        turned = (high, wide) == expected[::-1]
        hint = " (EXIF orientation is not applied)" if turned else ""
        hint = hint or (f"; it should have {expected[1]}x{expected[0]}" if scale != 1 else "")
        raise BadMask(f"the mask has {wide}x{high} pixels, its image {width}x{height}{hint}")
    return Checked(height, width, above)


def _check_mask(
    mask: bytes, coding: str, classes: int, values: frozenset[int] | None, soft: bool
) -> tuple[tuple[int, int], int]:
    """The mask's (height, width) and the threshold of a binary one."""
    if coding == "binary":
        image = open_image(mask)
        return (image.height, image.width), SOFT_THRESHOLD if soft else binary_threshold(image)
    read = CODINGS[coding].labels
    if read is None:
        raise ValueError(f"masks of coding '{coding}' are not ingested")
    labels = read(mask)
    found = np.unique(labels)
    if coding == "classes":
        known = found[found != VOID]
        if len(known) and known[-1] >= classes:
            raise BadMask(f"class {known[-1]}, but there are {classes} (0 to {classes - 1}; {VOID} = void)")
    elif values is not None and (strange := sorted(set(found.tolist()) - values - {0})):
        raise BadMask(f"segment {strange[0]} is not listed in the annotations")
    return (labels.shape[0], labels.shape[1]), 0


@dataclass(frozen=True)
class Ground:
    """A decoded mask."""

    mask: NDArray[np.uint8]  #: HxW, 1 = what belongs to something: to any object, to any class
    labels: Labels | None = None  #: HxW, where its values are classes, instances or segments
    bits: Bits | None = None  #: HxW, where it holds several masks as layers


def decode_ground(mask: bytes, coding: str, foreground_above: int = 0) -> Ground | None:
    """Whatever a stored mask says; None where there is none. Raises BadImage."""
    if coding == "none":
        return None
    if coding == "binary":
        return Ground(decode_mask(mask, foreground_above))
    if coding == "layers":
        bits = decode_layers(mask)
        return Ground((bits > 0).astype(np.uint8), bits=bits)
    kind = CODINGS[coding]
    assert kind.labels
    labels = kind.labels(mask)
    return Ground((labels != kind.background).astype(np.uint8), labels)


def encode_labels(labels: NDArray[np.integer]) -> bytes:
    """HxW of at least 0 as a grey PNG: 8 bits where they suffice, else 16. Raises ValueError beyond."""
    top = int(labels.max(initial=0))
    if top > 65535 or labels.min(initial=0) < 0:
        raise ValueError(f"labels from {labels.min()} to {top} do not fit into 16 bits")
    buffer = io.BytesIO()
    Image.fromarray(labels.astype(np.uint8 if top < 256 else np.uint16)).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()
