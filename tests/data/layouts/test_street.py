"""Streets: Cityscapes, CamVid, and the panoramas of DensePASS and WildPASS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import encode, picture, real
from layout_samples import HIGH, WIDE, labels, put, samples, taken, wrong
from PIL import Image

from orchestrator.data.codings import VOID


def test_cityscapes(source: Path) -> None:
    for split, city in (("train", "aachen"), ("val", "frankfurt"), ("test", "berlin")):
        name = f"{city}/{city}_000000_000019"
        put(source / f"leftImg8bit/{split}/{name}_leftImg8bit.png", picture())
        put(source / f"gtFine/{split}/{name}_gtFine_labelIds.png", labels(0, 7, 33, 4))
        put(source / f"gtFine/{split}/{name}_gtFine_color.png", picture())
        put(source / f"gtFine/{split}/{name}_gtFine_instanceIds.png", labels(0, 7, 33000, 4, dtype=np.uint16))
    made = "aachen/aachen_000001_000019"
    put(source / f"leftImg8bit/train/{made}_leftImg8bit.png", picture())
    put(source / f"gtFine/train/{made}_gtFine_labelIds.png", labels(0))
    put(source / f"gtFine/train/{made}_gtFine_labelTrainIds.png", labels(255, 3))
    dataset = taken(source, "cityscapes")
    train, test = samples(dataset, "train"), samples(dataset, "test")
    assert list(test) == ["frankfurt/frankfurt_000000_000019"], "the labels of the official test split are dummies"
    city = train["aachen/aachen_000000_000019"]
    assert np.array_equal(city.labels, labels(VOID, 0, 18, VOID)) and city.group == "aachen"
    assert np.array_equal(train[made].labels, labels(VOID, 3))
    assert np.array_equal(city.mask, labels(0, 1, 1, 0))
    assert dataset.manifest.classes[:2] == ("road", "sidewalk")


@pytest.mark.parametrize("form", ["{split}{kind}", "{kind}/{split}"])
def test_camvid(source: Path, form: str) -> None:
    kinds = ("", "annot") if form.startswith("{split}") else ("images", "masks")
    for split in ("train", "val", "test"):
        for name in ("0001TP_006690", "Seq05VD_f00210"):
            put(source / form.format(split=split, kind=kinds[0]) / f"{name}.png", picture())
            put(source / form.format(split=split, kind=kinds[1]) / f"{name}.png", labels(0, 10, 11))
    dataset = taken(source, "camvid")
    one = samples(dataset, "val")["0001TP_006690"]
    assert np.array_equal(one.labels, labels(0, 10, VOID))
    assert one.group == "val-0001TP", "its own split cuts sequences; a part held out of train does not"


def test_real_camvid(tmp_path: Path) -> None:
    folder = real("camvid")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/CamVid").symlink_to(folder)
    dataset = taken(tmp_path / "source", "camvid")
    assert [dataset.manifest.rows(s) for s in ("train", "val", "test")] == [60, 20, 20]
    one = dataset.split("test").read(0)
    raw = np.asarray(Image.open(folder / f"masks/test/{one.id}.png"))
    assert one.labels is not None and ((one.labels == raw) | ((raw == 11) & (one.labels == VOID))).all()


@pytest.mark.parametrize("spelling", ["{}_", "{}"])
def test_densepass(source: Path, spelling: str) -> None:
    put(source / f"leftImg8bit/val/cs/{spelling.format(100)}.png", picture())
    put(source / "gtFine/val/cs/100_labelTrainIds.png", labels(0, 18, 255))
    put(source / "gtFine/val/cs/100_labelIds.png", labels(7))
    put(source / "leftImg8bit/train/Paris/Paris_1.jpg", picture())
    dataset = taken(source, "densepass")
    (one,) = samples(dataset, "test").values()
    assert one.id == "cs/100" and np.array_equal(one.labels, labels(0, 18, VOID))
    (unlabelled,) = samples(dataset, "train").values()
    assert (unlabelled.coding, unlabelled.labels, unlabelled.group) == ("none", None, "Paris")
    assert unlabelled.mask.shape == (HIGH, WIDE) and not unlabelled.mask.any()


def test_wildpass(source: Path) -> None:
    put(source / "leftImg8bit/val/cs/1.png", picture())
    put(source / "gtFine/val/cs/1.png", labels(4, 24, 20, 255))
    (one,) = samples(taken(source, "wildpass"), "test").values()
    assert np.array_equal(one.labels, labels(0, 7, VOID, VOID)), "car, crosswalk; sky is not evaluated"


def put_street(source: Path, mask: np.ndarray) -> None:
    for split in ("train", "val", "test"):
        put(source / f"{split}/0001TP_1.png", picture())
        put(source / f"{split}annot/0001TP_1.png", mask)


def test_values_that_are_no_classes(source: Path) -> None:
    put_street(source, labels(0, 30))
    assert "0001TP_1.png: value 30 is none of its classes" in wrong(source, "camvid")


@pytest.mark.parametrize("name", ["1_.png", "1.PNG"])
def test_wildpass_names_are_the_same_on_both_sides(source: Path, name: str) -> None:
    (source / "leftImg8bit/val/cs").mkdir(parents=True)
    (source / "gtFine/val/cs").mkdir(parents=True)
    (source / f"leftImg8bit/val/cs/{name}").write_bytes(encode(picture()))
    (source / f"gtFine/val/cs/{name}").write_bytes(encode(labels(4, 11)))
    (one,) = samples(taken(source, "wildpass"), "test").values()
    assert np.array_equal(one.labels, labels(0, 3))


def test_labels_without_their_image(source: Path) -> None:
    put(source / "cs/leftImg8bit/val/cs/1.png", picture())
    for name in ("1", "2"):
        put(source / f"cs/gtFine/val/cs/{name}_labelTrainIds.png", labels(0))
    assert "gtFine/val/cs/2_labelTrainIds.png: a mask without its image" in wrong(source / "cs", "densepass")
    for split in ("train", "val"):
        put(source / f"ct/leftImg8bit/{split}/ulm/ulm_1_1_leftImg8bit.png", picture())
        for number in (1, 2):
            put(source / f"ct/gtFine/{split}/ulm/ulm_1_{number}_gtFine_labelIds.png", labels(7))
    assert "ulm_1_2_gtFine_labelIds.png: a mask without its image" in wrong(source / "ct", "cityscapes")
