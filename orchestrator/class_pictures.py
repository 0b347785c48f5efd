"""Classes of pixels as pictures: colours over an image, a sheet that compares with the truth, and a PNG to keep."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from orchestrator.class_scores import VOID

#: The official ones.
CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_BLACK, _RED = (0, 0, 0), (240, 30, 30)
_DIMMED = 0.45  #: how bright the picture behind errors is
WIDE, NARROW = 1024, 384  #: a panel's width below others and beside them
_LINE, _GAP = 20, 4  #: heights of a line of text and of what is between panels

Bytes = NDArray[np.uint8]
Labels = NDArray[Any]


@cache
def palette(names: tuple[str, ...]) -> Bytes:
    """256x3: Cityscapes' own colours for its classes' names, well apart for others; black for all other numbers."""
    own = [CITYSCAPES.get(name.lower().replace("_", " ").replace("-", " ")) for name in names]
    others = _spread([_BLACK, (255, 255, 255), *(colour for colour in own if colour is not None)])
    table = np.zeros((256, 3), np.uint8)
    for k, colour in enumerate(own):
        table[k] = next(others) if colour is None else colour
    return table


def coloured(labels: Labels, names: Sequence[str]) -> Bytes:
    """Labels HxW (class numbers, 255 for void) in their colours: HxWx3. What is no class is black."""
    return palette(tuple(names))[_as_bytes(labels)]


def overlay_classes(image: Bytes, labels: Labels, names: Sequence[str], opacity: float = 0.55) -> Bytes:
    """The image HxWx3 tinted in the colours of labels HxW; what is no class stays as it is."""
    tinted = image + opacity * (coloured(labels, names).astype(np.float32) - image)
    return np.where((labels >= len(names))[..., None], image, tinted.round().clip(0, 255).astype(np.uint8))


def compare_classes(
    image: Bytes, truth: Labels | None, predicted: Labels, names: Sequence[str], caption: str
) -> Image.Image:
    """Image, truth, prediction and errors with a legend: below one another for panoramas, else side by side.

    Args:
        image: HxWx3.
        truth: HxW, 255 for void; None: not known, and neither truth nor errors are shown.
        predicted: HxW; C or 255 mean 'something else'.
    """
    panels = [(caption, image)]
    if truth is not None:
        panels.append(("ground truth", overlay_classes(image, truth, names)))
    panels.append(("prediction", overlay_classes(image, predicted, names)))
    if truth is not None:
        panels.append(_errors(image, truth, predicted))
    there = np.unique(np.concatenate([part.ravel() for part in (truth, predicted) if part is not None]))
    sheet = _sheet(panels, below=image.shape[1] > 2 * image.shape[0])
    legend = _legend([int(k) for k in there if k < len(names)], names, sheet.width)
    whole = Image.new("RGB", (sheet.width, sheet.height + legend.height), "white")
    whole.paste(sheet, (0, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def class_map_png(labels: Labels, names: Sequence[str]) -> bytes:
    """Labels HxW as a PNG of 8 bits with a palette; its values are the class numbers, 255 for void."""
    picture = Image.fromarray(_as_bytes(labels))
    picture.putpalette(palette(tuple(names)).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _as_bytes(labels: Labels) -> Bytes:
    if labels.size and (labels.min() < 0 or labels.max() > VOID):
        raise ValueError(f"labels must lie in 0..{VOID}, not {labels.min()} to {labels.max()}")
    return np.ascontiguousarray(labels, np.uint8)


def _spread(taken: Sequence[tuple[int, int, int]]) -> Iterator[Bytes]:
    """Colours, each as far as can be from those before it and from those that are taken."""
    levels = np.linspace(0, 255, 8).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    places, gaps = _lab(grid), np.full(len(grid), np.inf)
    for place in _lab(np.asarray(taken, np.uint8)):
        gaps = np.minimum(gaps, np.linalg.norm(places - place, axis=1))
    while True:
        best = int(gaps.argmax())
        yield grid[best]
        gaps = np.minimum(gaps, np.linalg.norm(places - places[best], axis=1))


def _lab(colours: Bytes) -> NDArray[np.float32]:
    """Colours Nx3 where distances are those that one sees."""
    found = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    return np.asarray(found, np.float32)


def _errors(image: Bytes, truth: Labels, predicted: Labels) -> tuple[str, Bytes]:
    """A title and the dimmed image, red where the prediction is wrong."""
    wrong, counted = (truth != predicted) & (truth != VOID), int(np.count_nonzero(truth != VOID))
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    shown = np.repeat((_DIMMED * grey).astype(np.uint8)[..., None], 3, axis=2)
    shown[wrong] = _RED
    return f"errors (red): {np.count_nonzero(wrong) / max(counted, 1):.1%} of what is labelled", shown


def _sheet(panels: Sequence[tuple[str, Bytes]], below: bool) -> Image.Image:
    """Pictures of one size with their titles above them."""
    height, width = panels[0][1].shape[:2]
    across = WIDE if below else NARROW
    down = min(2 * across, max(1, round(across * height / width)))
    step = (0, down + _LINE + _GAP) if below else (across + _GAP, 0)
    last = len(panels) - 1
    sheet = Image.new("RGB", (across + last * step[0], down + _LINE + last * step[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (title, panel) in enumerate(panels):
        x, y = i * step[0], i * step[1]
        draw.text((x + 2, y + 4), _fitting(draw, title, across - 4), fill="black")
        sheet.paste(Image.fromarray(panel).resize((across, down), Image.Resampling.BOX), (x, y + _LINE))
    return sheet


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """As much of a text as fits."""
    while text and draw.textlength(text) > width:
        text = text[:-1]
    return text


def _legend(classes: Sequence[int], names: Sequence[str], width: int) -> Image.Image:
    """The classes' colours and names in lines of a width."""
    colours, draw = palette(tuple(names)), ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, x, y = [], _GAP, _GAP
    for k in classes:
        name = _fitting(draw, names[k], width - 30)
        need = round(draw.textlength(name)) + 30
        if x > _GAP and x + need > width:
            x, y = _GAP, y + _LINE
        places.append((k, name, x, y))
        x += need
    legend = Image.new("RGB", (width, y + _LINE), "white")
    draw = ImageDraw.Draw(legend)
    for k, name, x, y in places:
        draw.rectangle((x, y + 2, x + 12, y + 14), fill=tuple(colours[k].tolist()), outline="black")
        draw.text((x + 17, y + 2), name, fill="black")
    return legend
