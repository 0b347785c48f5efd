import io

import numpy as np
import pytest
from data_samples import encode, ground, picture
from PIL import Image

from orchestrator.data.check import BadImage, BadMask, decode_image, decode_mask
from orchestrator.data.codings import check_pair


def check_mask(mask: bytes, height: int = 24, width: int = 32) -> int:
    return check_pair(encode(picture(0, height, width)), mask).foreground_above


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_a_good_pair() -> None:
    checked = check_pair(encode(picture()), encode(ground()))
    assert (checked.height, checked.width, checked.foreground_above) == (24, 32, 127)


@pytest.mark.parametrize("high", [0, 1, 255])
def test_threshold_gives_the_rectangle_back(high: int) -> None:
    mask = encode(ground(high=high))
    above = check_mask(mask)
    assert above == (0 if high == 1 else 127)
    assert (decode_mask(mask, above) == (ground() > 0) * (high > 0)).all()


def test_one_bit_masks() -> None:
    mask = saved(Image.fromarray(ground()).convert("1"))
    assert check_mask(mask) == 0
    assert decode_mask(mask, 0).sum() == (ground() > 0).sum()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_masks_in_several_channels(mode: str) -> None:
    mask = saved(Image.fromarray(ground()).convert(mode))
    assert check_mask(mask) == 127
    assert (decode_mask(mask, 127) == (ground() > 0)).all()


def test_jpeg_ringing_is_allowed() -> None:
    big = np.zeros((200, 200), dtype=np.uint8)
    big[50:150, 60:140] = 255
    mask = encode(np.stack([big] * 3, axis=2), "JPEG", quality=60)
    assert len(np.unique(np.asarray(Image.open(io.BytesIO(mask))))) > 10
    assert check_mask(mask, 200, 200) == 127
    assert np.mean(decode_mask(mask, 127) != (big > 0)) < 0.002


def test_soft_edges_are_allowed() -> None:
    soft = Image.fromarray(ground(48, 48)).resize((192, 192), Image.Resampling.BICUBIC)
    assert check_mask(saved(soft), 192, 192) == 127


def palette(indices: np.ndarray, colours: list[int]) -> bytes:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colours)
    return saved(image)


def test_colour_palettes_speak_by_index_grey_ones_by_value() -> None:
    indices = ground(high=1)
    coloured = palette(indices, [0, 0, 0, 128, 0, 0])
    assert check_mask(coloured) == 0
    assert (decode_mask(coloured, 0) == indices).all()
    grey = palette(indices, [0, 0, 0, 255, 255, 255])
    assert check_mask(grey) == 127
    assert (decode_mask(grey, 127) == indices).all()


def labels(top: int, side: int = 60) -> np.ndarray:
    """A label map: ``top`` small objects on a ground that fills more than 95 %."""
    mask = np.zeros((side * 4, side * 4), dtype=np.uint8)
    for label in range(1, top + 1):
        row, column = divmod(label * 7, side)
        mask[row * 7 : row * 7 + 3, column * 3 : column * 3 + 3] = label
    return mask


@pytest.mark.parametrize("top", [2, 5, 30, 200, 250])
def test_label_maps_are_not_binary_however_small_the_objects(top: int) -> None:
    with pytest.raises(BadMask, match=rf"not binary: {top + 1} distinct values, from 0 to {top}"):
        check_mask(encode(labels(top)), 240, 240)


def test_class_map_with_void_border_is_not_binary() -> None:
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask[10:30, 10:30] = 255
    mask[11:29, 11:29] = 15
    with pytest.raises(BadMask, match="not binary"):
        check_mask(encode(mask), 100, 100)


def test_grey_masks_are_not_binary() -> None:
    with pytest.raises(BadMask, match="not binary: 3 distinct values"):
        check_mask(encode(np.where(np.eye(24, 32) > 0, ground(), np.uint8(90))))


def test_16_bit_label_maps_are_not_binary() -> None:
    wide = labels(5).astype(np.uint16) * 100
    with pytest.raises(BadMask, match="not binary: 6 distinct values, from 0 to 500"):
        check_mask(encode(wide), 240, 240)


def test_coloured_masks_are_not_binary() -> None:
    mask = np.zeros((100, 100, 3), dtype=np.uint8)
    mask[10:15, 10:15, 0] = 255
    with pytest.raises(BadMask, match="not binary"):
        check_mask(encode(mask), 100, 100)
    mask[10:15, 10:15] = (255, 255, 0)
    with pytest.raises(BadMask, match="it has colours"):
        check_mask(encode(mask), 100, 100)
    mask[50:60, 50:60] = 255
    mask[0:30, 0:30] = (255, 0, 255)
    with pytest.raises(BadMask, match="not binary"):
        check_mask(encode(mask), 100, 100)


def test_sizes_are_said() -> None:
    with pytest.raises(BadMask, match="the mask has 10x20 pixels, its image 32x24"):
        check_mask(encode(ground(20, 10)))
    with pytest.raises(BadMask, match="EXIF orientation is not applied"):
        check_mask(encode(ground(32, 24)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_empty_truncated_and_foreign_files(kind: str) -> None:
    whole = encode(picture(0, 200, 200), kind)
    good = encode(ground(200, 200))
    with pytest.raises(BadImage, match="empty file"):
        check_pair(b"", good)
    with pytest.raises(BadImage, match="truncated"):
        check_pair(whole[: len(whole) // 2], good)
    with pytest.raises(BadImage, match="not an image"):
        check_pair(b"<html>" * 50, good)
    with pytest.raises(BadMask, match="truncated"):
        check_pair(whole, good[: len(good) // 2])


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadImage, match="too many pixels"):
        check_pair(encode(picture()), encode(ground()))


def test_every_mode_becomes_rgb() -> None:
    rgb = picture()
    assert (decode_image(encode(rgb)) == rgb).all()
    alpha = np.dstack([rgb, np.full(rgb.shape[:2], 9, dtype=np.uint8)])
    assert (decode_image(encode(alpha)) == rgb).all()
    grey = rgb[:, :, 0]
    assert (decode_image(encode(grey)) == grey[:, :, None]).all()
    assert (decode_image(encode(grey.astype(np.uint16) * 257)) == grey[:, :, None]).all()
    quantised = Image.fromarray(rgb).quantize(200)
    assert (decode_image(saved(quantised)) == np.asarray(quantised.convert("RGB"))).all()
    cmyk = Image.fromarray(np.full((8, 8, 3), (200, 40, 10), dtype=np.uint8)).convert("CMYK")
    assert np.abs(decode_image(saved(cmyk, "JPEG", quality=95))[4, 4].astype(int) - (200, 40, 10)).max() < 12


def test_orientation_is_not_applied() -> None:
    image = Image.fromarray(picture())
    exif = image.getexif()
    exif[0x0112] = 6
    assert decode_image(saved(image, "JPEG", exif=exif)).shape == (24, 32, 3)


@pytest.mark.parametrize(
    "mask",
    [Image.new("1", (32, 24), 1), Image.new("L", (32, 24), 1), Image.new("L", (32, 24), 255)],
    ids=["one bit", "coded 0/1", "coded 0/255"],
)
def test_a_mask_that_is_all_foreground_stays_so(mask: Image.Image) -> None:
    data = saved(mask)
    assert decode_mask(data, check_mask(data)).all()


def test_eight_bits_in_a_deep_file_are_refused() -> None:
    """Scaled like its neighbours it would be black; scaled by its own top it would be another scale."""
    with pytest.raises(BadImage, match="uses only 255 of 65535 levels; convert it to 8 bits"):
        decode_image(encode(np.arange(256, dtype=np.uint16).reshape(16, 16)))
