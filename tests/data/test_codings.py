import numpy as np
import pytest
from data_samples import encode, ground, picture
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.data.check import BadMask
from orchestrator.data.codings import CODINGS, check_pair, decode_ground, encode_labels, instance_map, panoptic_map

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 65535))))
def test_labels_come_back(labels: np.ndarray) -> None:
    found = decode_ground(encode_labels(labels), "instances")
    assert found and (found.labels == labels).all() and (found.mask == (labels > 0)).all()


@given(SHAPES.flatmap(lambda shape: arrays(np.uint32, shape, elements=st.integers(0, 2**24 - 1))))
def test_panoptic_ids_come_back(ids: np.ndarray) -> None:
    colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
    assert (panoptic_map(encode(colours)) == ids).all()


def test_labels_that_do_not_fit() -> None:
    for value in (65536, -1):
        with pytest.raises(ValueError, match="do not fit into 16 bits"):
            encode_labels(np.full((2, 2), value))


def wrong(mask: bytes, coding: str, **how: object) -> str:
    with pytest.raises(BadMask) as caught:
        check_pair(encode(picture()), mask, coding, **how)  # type: ignore[arg-type]
    return str(caught.value)


def test_what_a_coding_does_not_allow() -> None:
    colours, grey = encode(picture()), encode(ground(high=7))
    assert wrong(colours, "classes", classes=3) == "a class map has one channel of 8 bits, this has RGB"
    assert wrong(colours, "instances") == "a label map has one channel, this has RGB"
    assert "has three channels" in wrong(grey, "panoptic")
    assert wrong(grey, "classes", classes=7) == "class 7, but there are 7 (0 to 6; 255 = void)"
    assert wrong(grey, "instances", values=frozenset({6})) == "segment 7 is not listed in the annotations"
    assert "20x20 pixels, its image 32x24" in wrong(encode(ground(20, 20)), "instances")
    assert "(EXIF orientation is not applied)" in wrong(encode(ground(32, 24)), "instances")
    assert wrong(encode(ground())[:50], "instances").startswith("truncated or damaged image")


def test_a_good_one_of_each() -> None:
    for coding, mask in (("binary", ground()), ("classes", ground(high=1)), ("instances", ground(high=9))):
        assert check_pair(encode(picture()), encode(mask), coding, classes=2).width == 32
    assert check_pair(encode(picture()), b"", "none").height == 24
    assert decode_ground(b"", "none") is None
    assert check_pair(encode(picture()), encode(ground(12, 16, 3)), "instances", scale=0.5).height == 24


def test_16_bit_labels_of_tiff_and_png() -> None:
    labels = (np.arange(600, dtype=np.uint16) * 100).reshape(20, 30)
    for kind in ("PNG", "TIFF"):
        assert (instance_map(encode(labels, kind)) == labels).all()


def test_every_coding_says_what_it_means() -> None:
    assert all(coding.meaning for coding in CODINGS.values())
