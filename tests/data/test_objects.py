"""What a prompt may ask for, of every coding."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from orchestrator.data.codings import CODINGS, VOID
from orchestrator.data.layers import decode_layers, encode_layers
from orchestrator.data.objects import LEAST, Target, objects_of
from orchestrator.data.reader import Sample
from orchestrator.data.schema import Object

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def of(values: int, dtype: type = np.int32) -> st.SearchStrategy[np.ndarray]:
    return SHAPES.flatmap(lambda shape: arrays(dtype, shape, elements=st.integers(0, values)))


def sample(coding: str, mask: np.ndarray, **more: object) -> Sample:
    height, width = mask.shape
    image = np.zeros((height, width, 3), np.uint8)
    return Sample(0, "one", "", image, (mask > 0).astype(np.uint8), coding=coding, **more)  # type: ignore[arg-type]


def labelled(coding: str, labels: np.ndarray, *objects: Object) -> Sample:
    return sample(coding, labels, labels=labels.astype(np.int32), objects=objects)


def check_boxes(targets: list[Target]) -> None:
    """Every crop fills its box."""
    for one in targets:
        y0, x0, y1, x1 = one.box
        assert one.crop.shape == (y1 - y0, x1 - x0) and one.crop.dtype == np.bool_
        assert one.crop[[0, -1]].any(1).all() and one.crop[:, [0, -1]].any(0).all()


@given(of(4), st.sampled_from(["instances", "panoptic"]))
def test_labels_are_rebuilt_from_their_objects(labels: np.ndarray, coding: str) -> None:
    labels = labels * 4_000_000 if coding == "panoptic" else labels
    targets = objects_of(labelled(coding, labels), least=1)
    check_boxes(targets)
    values = np.unique(labels[labels > 0])
    assert len(targets) == len(values)
    for value, one in zip(values, targets, strict=True):
        assert np.array_equal(one.full(labels.shape), labels == value)
        assert one.area == (labels == value).sum() and one.category == 0


@given(of(5), st.frozensets(st.integers(0, 5)))
def test_classes_are_rebuilt_but_for_background_and_void(labels: np.ndarray, background: frozenset[int]) -> None:
    labels = np.where(labels == 5, VOID, labels)
    targets = objects_of(labelled("classes", labels), least=1, left_out=background)
    check_boxes(targets)
    rebuilt = np.full(labels.shape, VOID)
    for one in targets:
        rebuilt[one.full(labels.shape)] = one.category
    assert np.array_equal(rebuilt, np.where(np.isin(labels, list(background)), VOID, labels))
    assert [one.category for one in targets] == sorted({one.category for one in targets})


@given(of(1))
def test_components_of_a_binary_mask(mask: np.ndarray) -> None:
    targets = objects_of(sample("binary", mask), least=1)
    check_boxes(targets)
    whole = sum((one.full(mask.shape).astype(int) for one in targets), np.zeros(mask.shape, int))
    assert np.array_equal(whole, mask), "each pixel in one of them"
    for one in targets:
        _, count = ndimage.label(one.crop, np.ones((3, 3)))
        near = ndimage.binary_dilation(one.full(mask.shape), np.ones((3, 3)))
        assert count == 1 and (near & (mask > 0)).sum() == one.area


def test_corners_touch() -> None:
    assert len(objects_of(sample("binary", np.eye(12, dtype=int)))) == 1


@given(st.integers(1, 24).flatmap(lambda k: arrays(np.bool_, (k, 5, 6))))
def test_layers_come_back_though_they_overlap(masks: np.ndarray) -> None:
    bits = decode_layers(encode_layers(masks))
    targets = objects_of(sample("layers", bits, bits=bits, layers=len(masks)), least=1)
    check_boxes(targets)
    shown = [mask for mask in masks if mask.any()]
    assert len(targets) == len(shown)
    assert all(np.array_equal(one.full((5, 6)), mask) for one, mask in zip(targets, shown, strict=True))


@given(of(6), st.integers(1, 30))
def test_crumbs_are_left_out(labels: np.ndarray, least: int) -> None:
    for coding in ("instances", "classes", "panoptic"):
        whole = labelled(coding, labels)
        kept = {(one.box, one.category) for one in objects_of(whole, least)}
        assert kept == {(one.box, one.category) for one in objects_of(whole, 1) if one.area >= least}


def test_ten_pixels_are_no_crumb() -> None:
    labels = np.zeros((6, LEAST), int)
    labels[0], labels[2, 1:] = 1, 2
    (one,) = objects_of(labelled("instances", labels))
    assert one.box == (0, 0, 1, LEAST)


@pytest.mark.parametrize("coding", ["instances", "panoptic"])
def test_instances_of_other_classes_are_left_out(coding: str) -> None:
    labels = np.repeat([[0, 7, 8, 9]], 12, axis=0).repeat(2, axis=1)
    whole = labelled(coding, labels, Object(7, 3), Object(8, 5), Object(9, 3))
    assert [one.category for one in objects_of(whole, left_out=frozenset({0, 3}))] == [5]


@pytest.mark.parametrize("coding", ["instances", "panoptic"])
def test_crowds_are_left_out_and_categories_told(coding: str) -> None:
    labels = np.repeat([[0, 7, 70_000 if coding == "panoptic" else 300, 9]], 12, axis=0).repeat(2, axis=1)
    top = int(labels.max())
    told = (Object(top, 5), Object(7, 3), Object(9, 2, crowd=True))
    found = [(one.box[1], one.category) for one in objects_of(labelled(coding, labels, *told))]
    assert found == [(2, 3), (4, 5)]
    unknown = objects_of(labelled(coding, labels, Object(7, -1)))
    assert [one.category for one in unknown] == [0, 0, 0]


def test_every_coding_has_its_objects_and_an_empty_mask_none() -> None:
    empty = np.zeros((4, 5), int)
    for coding in CODINGS:
        whole = sample(coding, empty, labels=empty.astype(np.int32), bits=empty.astype(np.uint32), layers=2)
        assert objects_of(whole, left_out=frozenset({0})) == []
    with pytest.raises(ValueError, match="coding 'boxes' has no objects; one of none, binary"):
        objects_of(sample("boxes", empty))


@pytest.mark.parametrize("apart", [1, 50_000])
def test_hundreds_of_nuclei_are_found_quickly(apart: int) -> None:
    labels = np.zeros((1024, 1360), np.int32)
    for k in range(300):
        y, x = 50 * (k // 20) + 10, 66 * (k % 20) + 10
        labels[y : y + 30, x : x + 40] = (k + 1) * apart
    whole = labelled("panoptic", labels)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(objects_of(whole)) == 300
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1, "the fastest of five: others use this machine"
