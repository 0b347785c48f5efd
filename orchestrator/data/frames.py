"""Images that keep their shape, with a class at each pixel: for methods that name pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from orchestrator.data.codings import VOID
from orchestrator.data.pixels import place, resize
from orchestrator.data.reader import Sample

Frame = tuple[int, int]  #: height and width of the input, pixels
SCALES = (0.5, 2.0)  #: of a crop: SegFormer's own (arXiv 2105.15203, section 4.1)


def class_map(sample: Sample) -> NDArray[np.uint8]:
    """The classes HxW of a sample; void everywhere where it has none."""
    if sample.labels is None:
        return np.full(sample.mask.shape, VOID, np.uint8)
    return sample.labels.astype(np.uint8)


def fit_frame(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], frame: Frame, flip: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image 3xHxW (bilinear) and classes 1xHxW (nearest), resized to a frame."""
    picture, ground = resize(image, *frame), _nearest(labels, frame)
    if flip:
        picture, ground = picture[:, ::-1], ground[:, ::-1]
    return _planes(picture, frame), np.ascontiguousarray(ground)[None]


def crop_frame(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], frame: Frame, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The same, scaled at random, cut to the frame somewhere (or void around it), mirrored by a coin."""
    rng = np.random.default_rng(seed)
    scale = float(np.exp(rng.uniform(*np.log(SCALES))))
    size = max(1, round(frame[0] * scale)), max(1, round(frame[1] * scale))
    picture, ground = resize(image, *size), _nearest(labels, size)
    shown, below = np.zeros((*frame, 3), np.uint8), np.full(frame, VOID, np.uint8)
    # where it is smaller than the frame it lies somewhere in it; where larger, a part of it fills the frame
    to, at = zip(*(_span(rng, whole, part) for whole, part in zip(frame, size, strict=True)), strict=True)
    shown[to], below[to] = picture[at], ground[at]
    if rng.random() < 0.5:
        shown, below = shown[:, ::-1], below[:, ::-1]
    return _planes(shown, frame), np.ascontiguousarray(below)[None]


def _span(rng: np.random.Generator, frame: int, size: int) -> tuple[slice, slice]:
    """Where along one side of a frame so much of a picture goes: in the frame, in the picture."""
    start = int(rng.integers(0, abs(frame - size) + 1))
    many = min(frame, size)
    moved, still = slice(start, start + many), slice(0, many)
    return (moved, still) if size < frame else (still, moved)


def _planes(picture: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    placed = np.zeros((3, *frame), np.uint8)
    place(np.ascontiguousarray(picture), placed)
    return placed


def _nearest(labels: NDArray[np.uint8], size: Frame) -> NDArray[np.uint8]:
    if labels.shape == size:
        return labels
    return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
