"""Milliseconds an image of decoding and resizing, ours beside Pillow's, and how far apart the pixels are.

    python benchmarks/pixels.py DIR        # a folder of JPEG files, for example of ../shared/data/kvasir_seg/images

One core; CPU time, the least of three rounds, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from orchestrator.data.loader import valid_size
from orchestrator.data.pixels import decode_jpeg, resize

SIDES = (1024, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=40, help="at most so many files (default 40)")
    a = parser.parse_args()
    torch.set_num_threads(1)
    files = [p.read_bytes() for p in sorted(a.folder.iterdir()) if p.suffix.lower() in (".jpg", ".jpeg")][: a.images]
    if not files:
        parser.error(f"{a.folder}: no JPEG files")
    pillow, slow = timed(lambda data: np.array(Image.open(io.BytesIO(data)).convert("RGB")), files)
    ours, fast = timed(decode_jpeg, files)
    show("decode", slow, fast, ours, pillow)
    for side in SIDES:
        sized = [(image, *valid_size(*image.shape[:2], side, "pad")) for image in pillow]
        reference, slow = timed(by_pillow, sized)
        found, fast = timed(lambda one: resize(*one), sized)
        show(f"to {side}", slow, fast, found, reference)


def by_pillow(one: tuple[np.ndarray, int, int]) -> np.ndarray:
    """What segment_anything's ResizeLongestSide does."""
    image, height, width = one
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def timed(work: Callable[[Any], Any], items: list[Any]) -> tuple[list[Any], float]:
    """The results, and milliseconds an item."""
    best, results = float("inf"), []
    for _ in range(3):
        began = time.process_time()
        results = [work(item) for item in items]
        best = min(best, time.process_time() - began)
    return results, 1000 * best / len(items)


def show(what: str, slow: float, fast: float, found: list[np.ndarray], reference: list[np.ndarray]) -> None:
    apart = max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(found, reference, strict=True))
    print(
        f"{what:8s} Pillow {slow:6.2f} ms   ours {fast:6.2f} ms   {slow / fast:4.1f} times as fast   "
        f"at most {apart:.3f} grey levels apart on average"
    )


if __name__ == "__main__":
    main()
