"""Pictures of classes: colours, sheets and PNGs that keep the numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.class_pictures import (
    CITYSCAPES,
    NARROW,
    WIDE,
    class_map_png,
    coloured,
    compare_classes,
    overlay_classes,
    palette,
)

STREET = tuple(CITYSCAPES)


def _scene(height: int, width: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """An image, its truth with some void, and a prediction with some 'something else'."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    truth, predicted = rng.integers(0, classes, (2, height, width))
    truth[0], predicted[-1] = 255, classes
    return image, truth, predicted


def test_colours_of_cityscapes_whatever_its_names_are_written_like() -> None:
    assert palette(("sky", "Traffic_Light", "traffic-sign"))[:3].tolist() == [
        [70, 130, 180],
        [250, 170, 30],
        [220, 220, 0],
    ]


@pytest.mark.parametrize("names", [STREET, (*STREET, "tree", "water"), tuple(f"class {k}" for k in range(254))])
def test_every_class_has_a_colour_of_its_own_and_void_is_black(names: tuple[str, ...]) -> None:
    table = palette(names)
    own = {tuple(colour) for colour in table[: len(names)].tolist()}
    assert len(own) == len(names) and (0, 0, 0) not in own
    assert not table[len(names) :].any()


def test_a_few_unknown_classes_look_unlike_each_other() -> None:
    own = palette(tuple("abcdefghijkl"))[:12].astype(int)
    apart = np.abs(own[:, None] - own[None]).max(axis=-1) + 999 * np.eye(12, dtype=int)
    assert apart.min() >= 60


def test_colours_and_overlay() -> None:
    labels = np.array([[0, 1, 255]])
    assert coloured(labels, STREET).tolist() == [[[128, 64, 128], [244, 35, 232], [0, 0, 0]]]
    image = np.full((1, 3, 3), 100, np.uint8)
    assert overlay_classes(image, labels, STREET, opacity=0.5).tolist() == [[[114, 82, 114], [172, 68, 166], [100] * 3]]
    assert (overlay_classes(image, labels, STREET, opacity=0) == image).all()
    assert (overlay_classes(image, np.array([[19, 19, 255]]), STREET) == image).all()
    for bad in (-1, 256):
        with pytest.raises(ValueError):
            coloured(np.array([[bad]]), STREET)


@pytest.mark.parametrize("names", [("sky",), STREET])
def test_a_png_keeps_the_numbers(names: tuple[str, ...]) -> None:
    _, truth, predicted = _scene(13, 17, len(names))
    for labels in (truth, predicted, truth.T):
        written = class_map_png(labels, names)
        picture = Image.open(io.BytesIO(written))
        assert picture.mode == "P" and written[24:26] == b"\x08\x03"  # 8 bits, by palette
        assert (np.asarray(picture) == labels).all()
        assert (np.asarray(picture.convert("RGB")) == coloured(labels, names)).all()


@pytest.mark.parametrize("classes", [1, 19])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("height", "width"), [(32, 128), (64, 128), (90, 60), (1, 1)])
def test_a_sheet(height: int, width: int, classes: int, known: bool) -> None:
    image, truth, predicted = _scene(height, width, classes)
    sheet = compare_classes(image, truth if known else None, predicted, STREET[:classes], "a caption " * 40)
    panels = 4 if known else 2
    if width > 2 * height:
        assert sheet.width == WIDE and sheet.height > panels * WIDE * height / width
    else:
        assert sheet.width == panels * (NARROW + 4) - 4 and sheet.height > NARROW * height / width
    assert sheet.mode == "RGB"


def test_errors_are_red_but_on_void() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    truth, predicted = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    truth[:, 50:] = 255
    predicted[:, 25:75] = 1
    sheet = np.asarray(compare_classes(image, truth, predicted, STREET, ""))
    errors = sheet[20 + NARROW // 2, -NARROW:]
    red = (errors == (240, 30, 30)).all(axis=-1)
    assert red[NARROW // 4 + 2 : NARROW // 2 - 2].all() and red.sum() <= NARROW // 4 + 2
