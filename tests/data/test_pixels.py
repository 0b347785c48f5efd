"""Fast decoding and resizing against Pillow, which SAM's own preprocessing uses."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.data.check import BadImage, decode_image
from orchestrator.data.pixels import decode_jpeg, resize

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (150, 210, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((210, 150)))


def pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}, {"quality": 35}],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_decodes_to_pillows_pixels(mode: str, options: dict) -> None:
    data = jpeg(Image.fromarray(SMOOTH[:, :-3]).convert(mode), **options)
    found = decode_jpeg(data)
    assert found is not None and found.dtype == np.uint8 and found.flags.writeable
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert np.array_equal(decode_image(data), found)


def test_what_is_no_ordinary_jpeg_is_left_to_pillow() -> None:
    inks = jpeg(Image.fromarray(SMOOTH).convert("CMYK"))
    assert decode_jpeg(inks) is None
    assert np.array_equal(decode_image(inks), np.asarray(Image.open(io.BytesIO(inks)).convert("RGB")))
    file = io.BytesIO()
    Image.fromarray(SMOOTH).save(file, "PNG")
    assert decode_jpeg(file.getvalue()) is None and np.array_equal(decode_image(file.getvalue()), SMOOTH)


def test_too_many_pixels_are_said_before_they_take_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(BadImage, match="too many pixels"):
        decode_image(jpeg(Image.fromarray(NOISE)))


@pytest.mark.parametrize("keep", [3, 20, 300, 1500])
def test_a_truncated_jpeg_is_an_error(keep: int) -> None:
    data = jpeg(Image.fromarray(NOISE))
    assert len(data) > 2000
    with pytest.raises(BadImage):
        decode_image(data[:keep])


def test_an_orientation_tag_turns_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(jpeg(Image.fromarray(SMOOTH), exif=exif.tobytes())).shape == SMOOTH.shape


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.booleans())
def test_resizes_within_two_grey_levels(height: int, width: int, noisy: bool) -> None:
    image = NOISE if noisy else SMOOTH
    found = resize(image, height, width).astype(int)
    assert found.shape == (height, width, 3)
    assert np.abs(found - pillow(image, height, width)).mean() < 0.5


def test_shrinking_is_pillows_to_a_rounding() -> None:
    for height, width in ((149, 209), (75, 100), (20, 180), (7, 9), (100, 400)):
        off = np.abs(resize(NOISE, height, width).astype(int) - pillow(NOISE, height, width))
        assert off.max() <= 1 and off.mean() < 0.3


@pytest.mark.parametrize("side", [256, 1024])
def test_real_pictures(side: int, kvasir: Path) -> None:
    for path in sorted((kvasir / "images").iterdir())[::40]:
        image = decode_image(path.read_bytes())
        scale = side / max(image.shape[:2])
        height, width = (round(scale * n) for n in image.shape[:2])
        assert np.abs(resize(image, height, width).astype(int) - pillow(image, height, width)).mean() < 0.5


def test_the_source_is_left_alone() -> None:
    frozen = NOISE.copy()
    frozen.flags.writeable = False
    resize(frozen, 50, 60)
    view = NOISE[10:120, 5:200]
    assert np.abs(resize(view, 60, 70).astype(int) - pillow(view.copy(), 60, 70)).max() <= 1
