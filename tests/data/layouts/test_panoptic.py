"""Panoptic segments: COCO and ADE20K."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_samples import picture, real
from layout_samples import labels, put, samples, taken, wrong

from orchestrator.errors import UserError


def segments(*rows: tuple[int, int, int]) -> list[dict[str, object]]:
    return [{"id": i, "category_id": c, "iscrowd": crowd, "area": 1, "bbox": [0, 0, 1, 1]} for i, c, crowd in rows]


def ids(*values: int) -> np.ndarray:
    """An RGB picture of segment ids."""
    plane = labels(*values, dtype=np.uint32)
    return np.stack([plane & 255, plane >> 8 & 255, plane >> 16], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("below", ["annotations/", ""])
def test_coco_panoptic(source: Path, below: str) -> None:
    categories = [{"id": 92, "name": "banner", "isthing": 0}, {"id": 1, "name": "person", "isthing": 1}]
    (source / "annotations").mkdir()
    for split, number in (("train2017", 9), ("val2017", 139)):
        put(source / f"{split}/{number:012d}.jpg", picture())
        put(source / f"{below}panoptic_{split}/{number:012d}.png", ids(0, 70000, 300))
        about = {"image_id": number, "file_name": f"{number:012d}.png"}
        about["segments_info"] = segments((70000, 92, 0), (300, 1, 1))
        told = {"info": {}, "annotations": [about], "categories": categories}
        (source / f"annotations/panoptic_{split}.json").write_text(json.dumps(told))
    dataset = taken(source, "coco_panoptic")
    assert dataset.manifest.classes == ("person", "banner")
    (one,) = samples(dataset, "test").values()
    assert one.id == "000000000139" and np.array_equal(one.labels, labels(0, 70000, 300, dtype=np.int32))
    assert [(o.value, o.category, o.crowd) for o in one.objects] == [(70000, 1, False), (300, 0, True)]
    assert np.array_equal(one.mask, labels(0, 1, 1))


def test_real_coco_panoptic(tmp_path: Path) -> None:
    folder = real("coco_panoptic")
    source = tmp_path / "source"
    shutil.copytree(folder / "images", source / "val2017")
    shutil.copytree(folder / "masks", source / "annotations/panoptic_val2017")
    shutil.copy(folder / "panoptic_examples.json", source / "annotations/panoptic_val2017.json")
    told = json.loads((folder / "panoptic_examples.json").read_text())
    dataset = taken(source, "coco_panoptic")
    assert len(dataset.manifest.classes) == 133
    for sample in samples(dataset, "test").values():
        (about,) = (a for a in told["annotations"] if a["file_name"] == f"{sample.id}.png")
        assert sample.labels is not None
        areas = {s["id"]: s["area"] for s in about["segments_info"]}
        assert {o.value: int((sample.labels == o.value).sum()) for o in sample.objects} == areas


def test_a_segment_that_nobody_lists(source: Path) -> None:
    (source / "annotations").mkdir()
    put(source / "val2017/000000000139.jpg", picture())
    put(source / "annotations/panoptic_val2017/000000000139.png", ids(5, 6))
    about = {"image_id": 139, "file_name": "000000000139.png", "segments_info": segments((5, 1, 0))}
    told = {"annotations": [about], "categories": [{"id": 1, "name": "person"}]}
    (source / "annotations/panoptic_val2017.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"000000000139\.png: segment 6 is not listed in the annotations"):
        taken(source, "coco_panoptic")


def test_ade20k_panoptic(source: Path) -> None:
    root = source / "ADEChallengeData2016"
    categories = [{"id": i, "name": f"class{i} ", "isthing": i % 2} for i in range(3)]
    for split, folder in (("train", "training"), ("val", "validation")):
        name = f"ADE_{split}_00000001"
        put(root / f"images/{folder}/{name}.jpg", picture())
        put(root / f"ade20k_panoptic_{split}/{name}.png", ids(0, 9, 1000))
        about = {"image_id": name, "file_name": f"{name}.png", "segments_info": segments((9, 2, 0), (1000, 0, 0))}
        told = {"images": [], "annotations": [about], "categories": categories}
        (root / f"ade20k_panoptic_{split}.json").write_text(json.dumps(told))
    dataset = taken(source, "ade20k_panoptic")
    assert dataset.manifest.classes == ("class0", "class1", "class2"), "names lose their trailing blank"
    assert [(o.value, o.category) for o in samples(dataset, "test")["ADE_val_00000001"].objects] == [(9, 2), (1000, 0)]


def test_a_segment_id_that_is_no_id_and_a_name_that_is_a_path(source: Path) -> None:
    (source / "annotations").mkdir()
    put(source / "val2017/1.jpg", picture())
    put(source / "annotations/panoptic_val2017/1.png", ids(5))
    path = source / "annotations/panoptic_val2017.json"
    for name, number in (("1.png", 2**40), ("../1.png", 5)):
        about = {"image_id": 1, "file_name": name, "segments_info": segments((number, 1, 0))}
        path.write_text(json.dumps({"annotations": [about], "categories": [{"id": 1, "name": "person"}]}))
        assert "panoptic_val2017.json: damaged" in wrong(source, "coco_panoptic")
    about = {"image_id": 1, "file_name": "1.png", "segments_info": segments((5, 1, 0))}
    path.write_text(json.dumps({"annotations": [about, about], "categories": [{"id": 1, "name": "person"}]}))
    assert "val2017/1.jpg: two files of one name" in wrong(source, "coco_panoptic")
