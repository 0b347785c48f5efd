"""Videos: DAVIS and YouTube-VOS, with and without expressions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_samples import picture
from layout_samples import labels, palette, put, samples, taken, wrong

from orchestrator.errors import UserError


@pytest.mark.parametrize("zip_of", [2016, 2017])
def test_davis2016(source: Path, zip_of: int) -> None:
    root = source / "DAVIS"
    for video in ("bear", "cows"):
        for frame in range(2):
            put(root / f"JPEGImages/480p/{video}/{frame:05d}.jpg", picture(frame))
            at = root / f"Annotations/480p/{video}/{frame:05d}.png"
            put(at, labels(0, 255)) if zip_of == 2016 else palette(at, labels(0, 1, 2))
    lists = root / ("ImageSets/480p" if zip_of == 2016 else "ImageSets/2016")
    lists.mkdir(parents=True)
    for split, video in (("train", "bear"), ("val", "cows")):
        lines = [f"/JPEGImages/480p/{video}/{i:05d}.jpg /Annotations/480p/{video}/{i:05d}.png " for i in range(2)]
        (lists / f"{split}.txt").write_text("\n".join(lines if zip_of == 2016 else [video]) + "\n")
    dataset = taken(source, "davis2016")
    test = samples(dataset, "test")
    assert [(s.id, s.group, s.frame) for s in test.values()] == [("cows/00000", "cows", 0), ("cows/00001", "cows", 1)]
    expected = labels(0, 1) if zip_of == 2016 else labels(0, 1, 1)
    assert all(np.array_equal(s.mask, expected) for s in test.values())


def test_refdavis17(source: Path) -> None:
    root = source / "DAVIS"
    for video in ("classic-car", "cows"):
        for frame in range(2):
            put(root / f"JPEGImages/480p/{video}/{frame:05d}.jpg", picture(frame))
            palette(root / f"Annotations/480p/{video}/{frame:05d}.png", labels(0, 1, 2))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("classic-car\n")
    (root / "ImageSets/2017/val.txt").write_text("cows\n")
    texts = source / "davis_text_annotations"
    texts.mkdir()
    first = 'clasic-car 1 "a red car"\nclasic-car 2 "its driver"\ncows 1 "a cow  on grass"\nparkour 1 "a man"\n'
    for file in ("Davis17_annot1.txt", "Davis17_annot1_full_video.txt", "Davis17_annot2_full_video.txt"):
        (texts / file).write_text(first)
    (texts / "Davis17_annot2.txt").write_bytes('clasic-car 1 "a caf\u00e9 racer"\n'.encode("latin-1"))
    dataset = taken(source, "refdavis17")
    car = samples(dataset, "train")["classic-car/00001"]
    assert [(o.value, o.texts) for o in car.objects] == [
        (1, ("a red car", "a red car", "a caf\u00e9 racer", "a red car")),
        (2, ("its driver",) * 3),
    ]
    assert np.array_equal(car.labels, labels(0, 1, 2)) and car.group == "classic-car"
    assert list(samples(dataset, "test")) == ["cows/00000", "cows/00001"]


def test_referyoutube(source: Path) -> None:
    told = {
        "train": {"003234408d": {"expressions": {"0": {"exp": "a penguin", "obj_id": "2"}}, "frames": ["00000"]}},
        "valid": {
            "0062f687f1": {"expressions": {"0": {"exp": "a dog"}, "1": {"exp": "a cat"}}, "frames": ["00005"]},
            "hidden": {"expressions": {"0": {"exp": "x"}}, "frames": ["00000"]},
        },
        "test": {"hidden": {"expressions": {"0": {"exp": "x"}}, "frames": ["00000"]}},
    }
    for split, videos in told.items():
        path = source / f"meta_expressions/{split}/meta_expressions.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"videos": videos}))
    for frame in ("00000", "00001"):
        put(source / f"train/JPEGImages/003234408d/{frame}.jpg", picture())
        palette(source / f"train/Annotations/003234408d/{frame}.png", labels(0, 1, 2))
    for frame in ("00000", "00005"):
        put(source / f"valid/JPEGImages/0062f687f1/{frame}.jpg", picture())
    dataset = taken(source, "referyoutube")
    (train,) = samples(dataset, "train").values()
    assert train.id == "003234408d/00000" and np.array_equal(train.labels, labels(0, 1, 2))
    assert [(o.value, o.texts) for o in train.objects] == [(2, ("a penguin",))]
    (test,) = samples(dataset, "test").values()
    assert (test.id, test.coding, test.frame) == ("0062f687f1/00005", "none", 5)
    assert [o.texts for o in test.objects] == [("a dog",), ("a cat",)]


def put_davis(source: Path) -> None:
    for video in ("bear", "cows"):
        for frame in range(2):
            put(source / f"JPEGImages/480p/{video}/{frame:05d}.jpg", picture(frame))
            put(source / f"Annotations/480p/{video}/{frame:05d}.png", labels(0, 255))
    (source / "ImageSets/480p").mkdir(parents=True)
    for split, video in (("train", "bear"), ("val", "cows")):
        lines = [f"/JPEGImages/480p/{video}/{i:05d}.jpg /Annotations/480p/{video}/{i:05d}.png " for i in range(2)]
        (source / f"ImageSets/480p/{split}.txt").write_text("\n".join(lines) + "\n")


def test_frames_that_vanished(source: Path) -> None:
    put_davis(source)
    put(source / "JPEGImages/480p/bear/cover.jpg", picture())
    taken(source, "davis2016")
    (source / "JPEGImages/480p/bear/00001.jpg").unlink()
    with pytest.raises(UserError, match=r"bear/00001.jpg: is not there, but is listed"):
        taken(source, "davis2016", replace=True)


def test_expressions_without_the_list_of_hidden_videos(source: Path) -> None:
    for split, videos in (("train", ("a",)), ("valid", ("b", "hidden"))):
        path = source / f"meta_expressions/{split}/meta_expressions.json"
        path.parent.mkdir(parents=True)
        one = {"expressions": {"0": {"exp": "x", "obj_id": "1"}}, "frames": ["00000"]}
        path.write_text(json.dumps({"videos": dict.fromkeys(videos, one)}))
    put(source / "train/JPEGImages/a/00000.jpg", picture())
    palette(source / "train/Annotations/a/00000.png", labels(0, 1))
    put(source / "valid/JPEGImages/b/00000.jpg", picture())
    dataset = taken(source, "referyoutube")
    assert list(samples(dataset, "test")) == ["b/00000"]
    assert "no list of the hidden test videos" in dataset.manifest.split_rule
    (source / "train/JPEGImages/a/00000.jpg").unlink()
    with pytest.raises(UserError, match=r"a/00000.jpg: is not there, but is listed"):
        taken(source, "referyoutube", replace=True)


@pytest.mark.parametrize(
    "told", ["[]", "{}", '{"videos": {"a": {}}}', '{"videos": {"a": {"expressions": {"0": {}}, "frames": []}}}', "\xff"]
)
def test_expressions_that_are_damaged(source: Path, told: str) -> None:
    put(source / "train/JPEGImages/a/00000.jpg", picture())
    palette(source / "train/Annotations/a/00000.png", labels(0, 1))
    path = source / "meta_expressions/train/meta_expressions.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(told.encode("latin-1"))
    assert "meta_expressions.json: " in wrong(source, "referyoutube")


def test_lists_that_are_no_text(source: Path) -> None:
    put_davis(source)
    (source / "ImageSets/480p/train.txt").write_bytes(b"\xff\xfe")
    assert "train.txt: not UTF-8 text" in wrong(source, "davis2016")
