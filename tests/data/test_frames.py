"""Images that keep their shape, and their classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_samples import encode, picture
from hypothesis import given
from hypothesis import strategies as st
from panoramas import HEIGHT, WIDTH, panorama, write_panoramas

from orchestrator.data.frames import class_map, crop_frame, fit_frame
from orchestrator.data.loader import Loader
from orchestrator.data.order import eval_batches
from orchestrator.data.reader import open_dataset
from orchestrator.storage import Storage


def test_a_frame_of_its_own_size_is_the_image() -> None:
    image, labels = panorama(1)
    shown, below = fit_frame(image, labels, (HEIGHT, WIDTH), flip=False)
    assert np.array_equal(shown, image.transpose(2, 0, 1)) and np.array_equal(below[0], labels)
    mirrored, under = fit_frame(image, labels, (HEIGHT, WIDTH), flip=True)
    assert np.array_equal(mirrored, shown[..., ::-1]) and np.array_equal(under, below[..., ::-1])


def test_a_smaller_frame_keeps_classes_whole() -> None:
    image, labels = panorama(2)
    shown, below = fit_frame(image, labels, (HEIGHT // 2, WIDTH // 2), flip=False)
    assert shown.shape == (3, HEIGHT // 2, WIDTH // 2) and below.shape == (1, HEIGHT // 2, WIDTH // 2)
    assert set(np.unique(below)) <= set(np.unique(labels)), "nothing between two classes"
    assert np.mean(below[0] == labels[::2, ::2]) > 0.9


@given(st.integers(0, 2**31), st.integers(8, 40), st.integers(8, 60))
def test_a_crop_shows_a_part_with_its_own_classes(seed: int, height: int, width: int) -> None:
    image, labels = np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32), np.uint8)
    image[:, 16:], labels[:, 16:] = 200, 1
    shown, below = crop_frame(image, labels, (height, width), seed)
    assert shown.shape == (3, height, width) and below.shape == (1, height, width)
    assert not shown[:, below[0] == 255].any(), "void where there is no image"
    inside = below[0] != 255
    assert inside.any() and np.mean((shown[0] > 100)[inside] == (below[0] == 1)[inside]) > 0.85
    again = crop_frame(image, labels, (height, width), seed)
    assert all(np.array_equal(a, b) for a, b in zip((shown, below), again, strict=True))


def test_the_loader_gives_classes_or_void(tmp_path: object) -> None:
    data = Storage(str(tmp_path))
    write_panoramas(data, train=3, test=3)
    dataset = open_dataset(data, "densepass")
    found = {}
    for name in ("train", "test"):
        split = dataset.split(name)
        assert split.subset([2]).first_size() == (HEIGHT, WIDTH)
        batches = eval_batches(3, 2, 0, 1)
        (first, _) = Loader(split, 256, "pad", batches, 0, 1, train=False, frame=(HEIGHT, WIDTH))
        found[name] = first.mask
        assert first.image.shape == (2, 3, HEIGHT, WIDTH) and first.valid.tolist() == [[HEIGHT, WIDTH]] * 2
    assert (found["train"] == 255).all()
    assert torch.equal(found["test"][0, 0], torch.from_numpy(panorama(1000)[1]))


@pytest.mark.parametrize("coding", ["none", "classes"])
def test_what_has_no_labels_is_void(tmp_path: object, coding: str) -> None:
    from orchestrator.data.schema import Row
    from orchestrator.data.writer import DatasetWriter

    data = Storage(str(tmp_path))
    with DatasetWriter(data, "own") as writer:
        mask = encode(np.full((24, 32), 2, np.uint8)) if coding == "classes" else b""
        writer.add("train", Row("a", "", encode(picture()), mask, 24, 32, 0, "a", coding=coding))
        writer.commit(task="semantic", layout="cityscapes", split_rule="", classes=("a", "b", "c"))
    found = class_map(open_dataset(data, "own").split("train").read(0))
    assert (found == (2 if coding == "classes" else 255)).all()
