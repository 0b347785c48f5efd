"""From the model's frame back to the image's own pixels, and what is drawn there."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

_GREEN, _RED, _BLUE = (64, 220, 120), (240, 70, 70), (70, 130, 250)


def to_original(logits: Tensor, valid: Tensor, size: Tensor) -> np.ndarray:
    """Probability of foreground at the image's own resolution.

    Args:
        logits: SxS, in the frame of the model's input.
        valid: 2, height and width of the part that shows the image; the rest is padding.
        size: 2, height and width of the original.

    Returns:
        HxW float32 in [0, 1].
    """
    shown = logits[: int(valid[0]), : int(valid[1])].float()[None, None]
    full = F.interpolate(shown, (int(size[0]), int(size[1])), mode="bilinear", align_corners=False)
    return torch.sigmoid(full)[0, 0].cpu().numpy()


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = _GREEN) -> np.ndarray:
    """The image HxWx3 with the mask HxW {0,1} tinted and its outline drawn."""
    out = image.astype(np.float32)
    inside = mask.astype(bool)
    out[inside] = 0.55 * out[inside] + 0.45 * np.array(colour, np.float32)
    out[_outline(inside)] = colour
    return out.round().clip(0, 255).astype(np.uint8)


def comparison(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, caption: str) -> Image.Image:
    """Image, ground truth, prediction and errors side by side. Errors: red = missed, blue = too much."""
    errors = overlay(image, truth & (1 - predicted), _RED)
    errors = overlay(errors, predicted & (1 - truth), _BLUE)
    panels = [image, overlay(image, truth), overlay(image, predicted), errors]
    side = 256
    height = min(2 * side, max(1, round(side * image.shape[0] / image.shape[1])))
    sheet = Image.new("RGB", (4 * side + 12, height + 20), "white")
    draw = ImageDraw.Draw(sheet)
    titles = [caption, "ground truth", "prediction", "missed (red), too much (blue)"]
    for i, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        sheet.paste(Image.fromarray(panel).resize((side, height)), (i * (side + 4), 20))
        draw.text((i * (side + 4) + 2, 4), title[:42], fill="black")
    return sheet


def stack(pictures: list[Image.Image]) -> Image.Image:
    """Pictures below one another."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def _outline(inside: np.ndarray) -> np.ndarray:
    padded = np.pad(inside, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core
