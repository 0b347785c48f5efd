"""Objects one by one in training: which of them a batch holds, as what masks, and how they fit the input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_samples import encode, picture
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from methods.base import Batch
from orchestrator.config import make_settings
from orchestrator.data.layers import encode_layers
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.loader import Apart, Loader, fit, fit_mask, flips, valid_size
from orchestrator.data.order import epoch_order, rank_batches
from orchestrator.data.reader import DataSplit, Sample, open_dataset
from orchestrator.data.schema import Row
from orchestrator.data.tasks import OBJECTS, TASKS, Task, judged_as, of_coding
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.job import apart
from orchestrator.metrics import METRICS
from orchestrator.storage import Storage

ROWS, HEIGHT, WIDTH = 6, 24, 32
SIZES = arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def instances(i: int) -> np.ndarray:
    """Picture ``i`` has i objects, each a column of 4x24 pixels with its number."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for k in range(i):
        labels[:, 5 * k : 5 * k + 4] = k + 1
    return labels


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., DataSplit]:
    """Writes masks as the training split of a dataset."""

    def write(coding: str, task: str, masks: list[bytes], layers: int = 0) -> DataSplit:
        with DatasetWriter(Storage(str(tmp_path)), "own") as writer:
            for i, mask in enumerate(masks):
                row = Row(f"r{i}", "", encode(picture(i)), mask, HEIGHT, WIDTH, 0, "", coding=coding, layers=layers)
                writer.add("train", row)
            writer.commit(task=task, layout="folders", split_rule="")
        return open_dataset(Storage(str(tmp_path)), "own").split("train")

    return write


@pytest.fixture
def split(store: Callable[..., DataSplit]) -> DataSplit:
    return store("instances", "instances", [encode(instances(i)) for i in range(ROWS)])


def load(
    split: DataSplit, masks: int = 4, epoch: int = 1, rank: int = 0, world: int = 1, **more: object
) -> list[Batch]:
    batches = rank_batches(epoch_order(len(split), 3, epoch), 3, rank, world)
    options = {"train": True, "apart": Apart(), **more}
    return list(Loader(split, 64, "pad", batches, 3, epoch, masks=masks, **options))  # type: ignore[arg-type]


def of_rows(batches: list[Batch]) -> dict[int, tuple[torch.Tensor, int]]:
    """Each real row's masks PxSxS and its seed."""
    return {
        int(b.index[k]): (b.mask[k], int(b.seed[k])) for b in batches for k in range(len(b)) if float(b.weight[k]) > 0
    }


@pytest.mark.parametrize("augment", ["flip", "none"])
def test_every_mask_is_one_of_the_pictures_objects(split: DataSplit, augment: str) -> None:
    rows = of_rows(load(split, augment=augment))
    assert sorted(rows) == list(range(ROWS))
    for i, (masks, seed) in rows.items():
        flip = augment == "flip" and flips(seed)
        labels = torch.from_numpy(fit_mask(instances(i), 64, (48, 64), flip).astype(int))
        own = [labels == k for k in range(1, i + 1)]
        for mask in masks:
            assert any(torch.equal(mask.bool(), one) for one in own) if own else not mask.any()


def test_different_objects_come_first_and_then_again(split: DataSplit) -> None:
    for i, (masks, _) in of_rows(load(split, masks=4)).items():
        told = [mask.numpy().tobytes() for mask in masks]
        assert len(set(told)) == (min(i, 4) or 1)
        if i:
            assert told == (told[: min(i, 4)] * 4)[:4]


def test_which_objects_come_is_drawn_anew_each_epoch(split: DataSplit) -> None:
    """Of five objects every one is met, and not one order of them alone."""
    first = {of_rows(load(split, masks=1, epoch=e, augment="none"))[5][0].numpy().tobytes() for e in range(1, 25)}
    assert len(first) == 5
    again = [of_rows(load(split, masks=3, epoch=2))[5][0] for _ in range(2)]
    assert torch.equal(*again)


def test_ranks_see_the_objects_of_one(split: DataSplit) -> None:
    alone = of_rows(load(split))
    parts = [of_rows(load(split, rank=rank, world=2)) for rank in (0, 1)]
    assert sorted([*parts[0], *parts[1]]) == sorted(alone)
    assert all(torch.equal(masks, alone[i][0]) for part in parts for i, (masks, _) in part.items())


def test_what_is_too_small_for_the_input_is_passed_over(store: Callable[..., DataSplit]) -> None:
    """A line of a pixel's height may fall between the input's rows: the other object comes in its place."""
    labels = np.zeros((300, 300), np.uint8)
    labels[1, 10:250], labels[100:200, 100:200] = 1, 2
    split = store("instances", "instances", [encode(labels), encode(np.where(labels == 2, 0, labels))])
    both, line = (of_rows(load(split, masks=3))[i][0] for i in (0, 1))
    assert all(torch.equal(mask, both[0]) and mask.any() for mask in both)
    assert not line.any(), "nothing else is there"


def test_classes_that_are_no_object_are_left_out(store: Callable[..., DataSplit]) -> None:
    labels = np.repeat([[0, 1, 2, 255]], HEIGHT, axis=0).repeat(8, axis=1).astype(np.uint8)
    split = store("classes", "parts", [encode(labels)])
    one = of_rows(load(split, masks=6, apart=Apart(frozenset({0, 2})), augment="none"))[0][0]
    assert np.array_equal(one.numpy(), np.stack([fit_mask(labels, 64, (48, 64), False) == 1] * 6))
    every = of_rows(load(split, masks=6))[0][0]
    assert len(every.unique(dim=0)) == 3 and every.sum() == 6 * 48 * 16, "void never is one"


def test_layers_stay_apart_though_they_overlap(store: Callable[..., DataSplit]) -> None:
    layers = np.zeros((2, HEIGHT, WIDTH), np.bool_)
    layers[0, 4:20, 4:20], layers[1, 10:16, 2:30] = True, True
    split = store("layers", "promptable", [encode_layers(layers)], layers=2)
    masks = of_rows(load(split, masks=2, augment="none"))[0][0]
    wanted = {fit_mask(one.astype(np.uint8), 64, (48, 64), False).tobytes() for one in layers}
    assert {mask.numpy().tobytes() for mask in masks} == wanted


def test_what_is_measured_is_the_whole_mask(split: DataSplit) -> None:
    """The scores read each object from the split itself."""
    for i, (masks, _) in of_rows(load(split, train=False)).items():
        assert masks.shape == (1, 64, 64)
        assert np.array_equal(masks[0].numpy(), fit_mask((instances(i) > 0).astype(np.uint8), 64, (48, 64), False))


@given(SIZES, st.sampled_from(["stretch", "pad"]), st.booleans())
def test_a_mask_fits_as_it_does_beside_its_image(mask: np.ndarray, resize: str, flip: bool) -> None:
    height, width = mask.shape
    valid = valid_size(height, width, 32, resize)
    found = fit_mask(mask.astype(np.uint8), 32, valid, flip)
    image = np.repeat(mask[..., None].astype(np.uint8), 3, axis=2)
    assert np.array_equal(fit(image, mask.astype(np.uint8), 32, valid, flip)[1][0], found)
    near = Image.fromarray(mask.astype(np.uint8)).resize(valid[::-1], Image.Resampling.NEAREST)
    shown = found[: valid[0], : valid[1]]
    assert np.array_equal(shown[:, ::-1] if flip else shown, np.asarray(near))
    assert found.sum() == shown.sum(), "padding shows nothing"


def test_background_is_what_the_data_set_calls_so() -> None:
    settings = make_settings("decoder", "x")
    assert apart(OBJECTS, settings, ("background", "nose")) == Apart(frozenset({0}))
    assert apart(OBJECTS, settings, ("nose", "Background light")) == Apart()
    assert apart(TASKS["polyp"], settings, ("background",)) is None


def test_only_the_classes_that_are_wanted_are_asked_for() -> None:
    classes = ("background", "skin", "nose", "hair")

    def of(wanted: str, task: Task = OBJECTS) -> Apart | None:
        return apart(task, make_settings("decoder", "x", {"prompts.classes": wanted}), classes)

    assert of("nose") == Apart(frozenset({0, 1, 3})) and of("hair, skin") == Apart(frozenset({0, 2}))
    with pytest.raises(UserError, match=r"unknown class of dataset 'x' 'noze' \(nearest: nose\)"):
        of("hair,noze")
    with pytest.raises(UserError, match="prompts.classes: whole images are segmented here"):
        of("hair", TASKS["polyp"])


def test_a_whole_has_its_parts_in_it_where_the_layout_says_so() -> None:
    settings = make_settings("decoder", "x", {"prompts.classes": "skin"})
    found = apart(OBJECTS, settings, LAYOUTS["celebamask"].classes, "celebamask")
    assert found is not None
    skin, nose, hair = (LAYOUTS["celebamask"].classes.index(name) for name in ("skin", "nose", "hair"))
    assert nose in found.nested[skin] and hair not in found.nested[skin] and skin not in found.left_out
    labels = np.full((20, 20), hair, np.int32)
    labels[4:16, 4:16] = skin
    labels[8:18, 8:12] = nose  # below the chin as well
    (whole,) = found.objects(
        Sample(0, "a", "", np.zeros((20, 20, 3), np.uint8), labels > 0, coding="classes", labels=labels)
    )
    assert whole.category == skin and np.array_equal(whole.full(labels.shape), (labels == skin) | (labels == nose))
    assert apart(OBJECTS, make_settings("decoder", "x"), ("a", "b"), "folders") == Apart()


@pytest.mark.parametrize("changes", [{"prompts.judged_by": "box"}, {"prompts.per_image": 2}, {"prompts.repeats": 9}])
def test_prompts_that_nobody_would_draw_are_an_error(changes: dict[str, Any]) -> None:
    (key,) = changes
    with pytest.raises(UserError, match=f"{key}: whole images are segmented here; add prompts.objects=always"):
        apart(TASKS["polyp"], make_settings("decoder", "x", changes), ())


@pytest.mark.parametrize("name", TASKS)
def test_whoever_is_prompted_for_objects_is_judged_by_them(name: str) -> None:
    assert judged_as(name, True) is OBJECTS
    own = judged_as(name, False)
    assert own is (OBJECTS if TASKS[name].per_object else TASKS[name])
    assert own.objective in own.metrics and set(own.metrics) <= set(METRICS)
    assert METRICS[own.objective].mode == own.mode


def test_objects_are_no_task_of_a_folders() -> None:
    assert all(OBJECTS.name not in of_coding(task.coding) for task in TASKS.values())
    assert {"parts", "semantic", "panorama"} == set(of_coding("classes"))
