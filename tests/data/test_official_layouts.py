"""Each official layout, on small files of just its names, folders, mask coding and quirks: from disk to samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_samples import encode, ground, picture, real
from PIL import Image

from orchestrator.data.catalogue import CATALOGUE
from orchestrator.data.codings import VOID
from orchestrator.data.ingest import ingest
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.reader import Dataset, Sample, open_dataset
from orchestrator.errors import UserError
from orchestrator.storage import Storage

HIGH, WIDE = 24, 32


def put(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "JPEG" if path.suffix == ".jpg" else "PNG"
    path.write_bytes(encode(array, kind, **options))


def palette(path: Path, labels: np.ndarray) -> None:
    """A PNG of colours by index, as DAVIS and YouTube-VOS have them."""
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette([*(0, 0, 0), *(128, 0, 0), *(0, 128, 0), *(128, 128, 0)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def labels(*values: int, high: int = HIGH, wide: int = WIDE, dtype: type = np.uint8) -> np.ndarray:
    """Stripes of values, from the left to the right."""
    stripes = np.array_split(np.arange(wide), len(values))
    row = np.concatenate([np.full(len(s), v) for s, v in zip(stripes, values, strict=True)])
    return np.tile(row, (high, 1)).astype(dtype)


def taken(source: Path, name: str, **how: object) -> Dataset:
    """The dataset of the catalogue, ingested from ``source``."""
    entry, out = CATALOGUE[name], Storage(str(source.parent / "out"))
    ingest(name, source, out, entry.layout, entry.task, **how)  # type: ignore[arg-type]
    return open_dataset(out, name)


def samples(dataset: Dataset, split: str) -> dict[str, Sample]:
    rows = dataset.split(split)
    return {sample.id: sample for sample in (rows.read(i) for i in range(len(rows)))}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_celebamask(source: Path) -> None:
    root = source / "CelebAMask-HQ"
    numbers = {0: 119613, 1: 162771, 2: 182638, 2001: 0}
    for k in numbers:
        put(root / f"CelebA-HQ-img/{k}.jpg", picture(k, 64, 64))
        parts = root / f"CelebAMask-HQ-mask-anno/{k // 2000}"
        put(parts / f"{k:05d}_skin.png", np.repeat(labels(255, 255, high=32)[..., None], 3, axis=2))
        put(parts / f"{k:05d}_nose.png", np.repeat(labels(0, 255, high=32)[..., None], 3, axis=2))
        if k == 0:
            put(parts / f"{k:05d}_hair.png", labels(255, 0, 0, 0, high=32))
    lines = [f"{k}          {orig}     {orig + 1:06d}.jpg" for k, orig in numbers.items()]
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(["idx  orig_idx  orig_file", *lines]) + "\n")
    dataset = taken(source, "celebamask")
    assert {s: sorted(samples(dataset, s)) for s in ("train", "val", "test")} == {
        "train": ["00000", "02001"],
        "val": ["00001"],
        "test": ["00002"],
    }
    assert len(dataset.manifest.classes) == 19 and dataset.manifest.classes[13] == "hair"
    face = samples(dataset, "train")["00000"]
    assert face.image.shape == (64, 64, 3) and face.labels is not None and face.labels.shape == (32, 32)
    assert np.array_equal(face.labels, labels(13, 1, 2, 2, high=32)), "the later part of g_mask.py's order wins"


def test_celebamask_whose_mask_is_not_half(source: Path) -> None:
    put(source / "CelebA-HQ-img/0.jpg", picture(0, 64, 64))
    put(source / "CelebAMask-HQ-mask-anno/0/00000_skin.png", labels(255, high=64, wide=64))
    (source / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 5 000006.jpg\n")
    with pytest.raises(UserError, match=r"00000: the mask has 64x64 pixels, its image 64x64; it should have 32x32"):
        taken(source, "celebamask")


PLATE = """<annotation><folder>images</folder><filename>Cars{n}.png</filename>
<size><width>32</width><height>24</height><depth>4</depth></size><segmented>0</segmented>
{objects}</annotation>"""
BOX = """<object><name>licence</name><pose>Unspecified</pose><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def test_plates(source: Path) -> None:
    boxes = [(2, 3, 10, 6), (20, 15, 30, 20)]
    for n in range(5):
        image = np.dstack([picture(n), np.full((HIGH, WIDE), 255, np.uint8)])  # some are RGBA
        put(source / f"images/Cars{n}.png", image)
        (source / "annotations").mkdir(exist_ok=True)
        xml = PLATE.format(n=n, objects="".join(BOX.format(*box) for box in boxes[: 1 + (n == 3)]))
        (source / f"annotations/Cars{n}.xml").write_text(xml)
    dataset = taken(source, "plates")
    assert (dataset.manifest.rows("train"), dataset.manifest.rows("test")) == (4, 1)
    both = samples(dataset, "train") | samples(dataset, "test")
    car = both["Cars3"]
    assert [o.box for o in car.objects] == [tuple(map(float, box)) for box in boxes]
    assert car.labels is not None and (car.labels[3:7, 2:11] == 1).all() and (car.labels == 2).sum() == 6 * 11
    assert (car.mask == (car.labels > 0)).all()


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


def test_stanford2d3d(source: Path) -> None:
    names = ["<UNK>_0_<UNK>_0_0", "beam_10_hallway_6_1", *(f"clutter_{i}_office_1_5" for i in range(400))]
    names += ["window_2_office_1_5"]
    (source / "assets").mkdir()
    (source / "assets/semantic_labels.json").write_text(json.dumps(names))
    last = len(names) - 1
    colours = np.zeros((HIGH, WIDE, 3), np.uint8)
    colours[:, 8:16] = (0, 0, 1)
    colours[:, 16:24] = (0, last // 256, last % 256)
    colours[:, 24:] = 0x0D
    for area in ("1", "5a", "5b"):
        at, name = source / f"area_{area}/pano", "camera_0ccf_office_1_frame_equirectangular_domain"
        put(at / f"rgb/{name}_rgb.png", np.dstack([picture(), np.full((HIGH, WIDE), 255, np.uint8)]))
        put(at / f"semantic/{name}_semantic.png", colours)
        put(at / f"semantic_pretty/{name}_semantic_pretty.png", picture())
    dataset = taken(source, "stanford2d3d")
    assert {s.group for s in samples(dataset, "test").values()} == {"area_5"}
    assert dataset.manifest.rows("test") == 2
    (one,) = samples(dataset, "train").values()
    assert np.array_equal(one.labels, labels(VOID, 0, 12, VOID))


@pytest.mark.parametrize("top", ["stage1_train/", ""])
def test_dsb2018(source: Path, top: str) -> None:
    keys = [c * 64 for c in "abcde"]
    for key in keys:
        put(source / f"{top}{key}/images/{key}.png", np.dstack([picture(), np.full((HIGH, WIDE), 255, np.uint8)]))
        put(source / f"{top}{key}/masks/1f.png", labels(255, 0, 0))
        put(source / f"{top}{key}/masks/2e.png", labels(0, 255, 0))
    dataset = taken(source, "dsb2018")
    assert (dataset.manifest.rows("train"), dataset.manifest.rows("test")) == (4, 1)
    (one,) = samples(dataset, "test").values()
    assert np.array_equal(one.labels, labels(1, 2, 0)) and [o.value for o in one.objects] == [1, 2]
    assert dataset.manifest.classes == ("nucleus",) and one.objects[0].category == 0


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


def test_mvtec(source: Path) -> None:
    grey = picture()[..., 0]
    for category in ("bottle", "grid"):
        for at in ("train/good/000", "test/good/000", "test/broken_large/000"):
            put(source / f"{category}/{at}.png", grey if category == "grid" else picture())
        put(source / f"{category}/ground_truth/broken_large/000_mask.png", ground())
        (source / f"{category}/license.txt").write_text("CC BY-NC-SA 4.0")
    dataset = taken(source, "mvtec")
    assert sorted(samples(dataset, "train")) == ["bottle/train/good/000", "grid/train/good/000"]
    test = samples(dataset, "test")
    assert not test["grid/test/good/000"].mask.any() and test["grid/test/good/000"].image.shape == (HIGH, WIDE, 3)
    assert np.array_equal(test["bottle/test/broken_large/000"].mask, ground() > 0)


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


def test_hqseg(source: Path) -> None:
    for folder, masks in (
        ("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
        ("cascade_psp/DUTS-TR", "cascade_psp/DUTS-TR"),
        ("thin_object_detection/HRSOD/images", "thin_object_detection/HRSOD/masks_max255"),
        ("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
    ):
        put(source / folder / "one.jpg", picture())
        put(source / masks / "one.png", np.repeat(ground()[..., None], 3, axis=2))
    (source / "thin_object_detection/HRSOD/masks").mkdir()
    dataset = taken(source, "hqseg")
    assert sorted(samples(dataset, "train")) == ["DIS-TR/one", "DUTS-TR/one"]
    assert sorted(samples(dataset, "test")) == ["DIS-VD/one", "HRSOD/one"]


def test_kvasir_by_its_published_list(source: Path) -> None:
    held_out = ["cju0s690hkp960855tjuaqvv0", "cju0sr5ghl0nd08789uzf1raf"]
    for key in (*held_out, "cju0qkwl35piu0993l0dewei2"):
        put(source / f"Kvasir-SEG/images/{key}.jpg", picture())
        put(source / f"Kvasir-SEG/masks/{key}.jpg", np.repeat(ground()[..., None], 3, axis=2), quality=95)
    (source / "Kvasir-SEG/kavsir_bboxes.json").write_text("{}")
    dataset = taken(source, "kvasir")
    assert sorted(samples(dataset, "test")) == held_out
    assert (
        "880/120" in dataset.manifest.split_rule and "118 of its 120 names are not there" in dataset.manifest.split_rule
    )


def test_own_class_maps_and_label_maps(source: Path) -> None:
    for split in ("train", "test"):
        put(source / f"{split}/images/a.png", picture())
        put(source / f"{split}/masks/a.png", labels(0, 1, VOID))
    out = Storage(str(source.parent / "out"))
    with pytest.raises(UserError, match=r"classes.txt: 0 classes; write a class name a line"):
        ingest("own", source, out, "folders", "semantic")
    (source / "classes.txt").write_text("grass\n")
    with pytest.raises(UserError, match=r"masks/a.png: class 1, but there are 1 \(0 to 0; 255 = void\)"):
        ingest("own", source, out, "folders", "semantic")
    (source / "classes.txt").write_text("grass\nsky\n")
    assert ingest("own", source, out, "folders", "semantic").classes == ("grass", "sky")
    ingest("mine", source, out, "folders", "instances")
    (one,) = samples(open_dataset(out, "mine"), "train").values()
    assert one.coding == "instances" and np.array_equal(one.labels, labels(0, 1, VOID))


def wrong(source: Path, name: str) -> str:
    """The one line of an ingest's error."""
    with pytest.raises(UserError) as caught:
        taken(source, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("text", "reason"), [("grass\ngrass\n", "'grass' stands there 2 times"), ("", "0 classes")])
def test_class_lists_that_are_no_use(source: Path, text: str, reason: str) -> None:
    for name in ("a", "b"):
        put(source / f"images/{name}.png", picture())
        put(source / f"masks/{name}.png", labels(0))
    (source / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=rf"classes.txt: .*{reason}"):
        ingest("own", source, Storage(str(source.parent / "out")), "folders", "semantic")


def test_a_byte_order_mark_is_no_part_of_a_class(source: Path) -> None:
    for name in ("a", "b"):
        put(source / f"images/{name}.png", picture())
        put(source / f"masks/{name}.png", labels(0))
    (source / "classes.txt").write_bytes(b"\xef\xbb\xbfgrass\r\n")
    out = Storage(str(source.parent / "out"))
    assert ingest("own", source, out, "folders", "semantic").classes == ("grass",)


def put_street(source: Path, mask: np.ndarray) -> None:
    for split in ("train", "val", "test"):
        put(source / f"{split}/0001TP_1.png", picture())
        put(source / f"{split}annot/0001TP_1.png", mask)


def test_values_that_are_no_classes(source: Path) -> None:
    put_street(source, labels(0, 30))
    assert "0001TP_1.png: value 30 is none of its classes" in wrong(source, "camvid")


def test_soft_masks_of_thin_objects(source: Path) -> None:
    soft = labels(*range(0, 256, 16))
    for at in ("cascade_psp/DUTS-TR", "thin_object_detection/COIFT"):
        images, masks = (at, at) if "DUTS" in at else (f"{at}/images", f"{at}/masks")
        put(source / images / "a.jpg", picture())
        put(source / masks / "a.png", soft)
    (one,) = samples(taken(source, "hqseg"), "test").values()
    assert np.array_equal(one.mask, soft > 127)


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


def put_plate(source: Path, box: tuple[object, ...] = (2, 3, 10, 6)) -> None:
    for n in range(3):
        put(source / f"images/Cars{n}.png", picture(n))
        (source / "annotations").mkdir(exist_ok=True)
        (source / f"annotations/Cars{n}.xml").write_text(PLATE.format(n=n, objects=BOX.format(*box)))


@pytest.mark.parametrize("box", [(2, -9, 10, -3), (2, 3, "nan", 6), (2, 3, "1e999", 6), (10, 3, 2, 6), (2, 3, 99, 6)])
def test_boxes_that_cannot_be(source: Path, box: tuple[object, ...]) -> None:
    put_plate(source, box)
    assert "annotations/Cars0.xml: not an annotation of Pascal VOC (a box from" in wrong(source, "plates")


def test_plates_of_another_size_encoding_or_without_their_image(source: Path) -> None:
    put_plate(source)
    path = source / "annotations/Cars0.xml"
    good = path.read_text()
    path.write_text(good.replace("<width>32<", "<width>99999<"))
    assert "tells of 99999x24 pixels, but its image has 32x24" in wrong(source, "plates")
    path.write_text(f'<?xml version="1.0" encoding="foo"?>{good}')
    assert "annotations/Cars0.xml: not an annotation" in wrong(source, "plates")
    path.write_text(good)
    (source / "images/Cars1.png").unlink()
    assert "annotations/Cars1.xml: a mask without its image" in wrong(source, "plates")


def test_two_files_of_one_id(source: Path) -> None:
    put_plate(source)
    put(source / "images/Cars0.jpg", picture())
    assert "images/Cars0.png: two files of one name (the other: images/Cars0.jpg)" in wrong(source, "plates")


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
    for at in ("train/good/000", "test/bent/000"):
        put(source / f"mv/bottle/{at}.png", picture())
    for name in ("000", "001"):
        put(source / f"mv/bottle/ground_truth/bent/{name}_mask.png", ground())
    assert "ground_truth/bent/001_mask.png: a mask without its image" in wrong(source / "mv", "mvtec")
    for split in ("train", "val"):
        put(source / f"ct/leftImg8bit/{split}/ulm/ulm_1_1_leftImg8bit.png", picture())
        for number in (1, 2):
            put(source / f"ct/gtFine/{split}/ulm/ulm_1_{number}_gtFine_labelIds.png", labels(7))
    assert "ulm_1_2_gtFine_labelIds.png: a mask without its image" in wrong(source / "ct", "cityscapes")


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


def test_lists_that_are_no_text(source: Path) -> None:
    put_davis(source)
    (source / "ImageSets/480p/train.txt").write_bytes(b"\xff\xfe")
    assert "train.txt: not UTF-8 text" in wrong(source, "davis2016")


def test_names_that_no_row_can_hold(source: Path) -> None:
    put(source / "bottle/train/good/000.png", picture())
    put(source / "bottle/test/good/caf\udce9.png", picture())
    assert "caf\\udce9.png: its name is not UTF-8" in wrong(source, "mvtec")


def test_masks_that_changed_are_not_gone_on_from(source: Path) -> None:
    """The folder of an image's masks keeps its time where one of them is written over."""
    for key in ("a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64):
        put(source / f"{key}/images/{key}.png", picture())
        put(source / f"{key}/masks/1.png", labels(255, 0))
    out, how = Storage(str(source.parent / "out")), ("dsb2018", "instances")

    def stop(done: int, total: int, item: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest("own", source, out, *how, shard_bytes=1, progress=stop)
    for path in source.glob("*/masks/1.png"):
        path.write_bytes(encode(labels(0, 255)))
    ingest("own", source, out, *how, shard_bytes=1)
    for split in ("train", "test"):
        for sample in samples(open_dataset(out, "own"), split).values():
            assert np.array_equal(sample.mask, labels(0, 1))


@pytest.mark.parametrize("layout", ["istd", "cod10k", "hqseg", "kvasir"])
def test_a_layout_of_binary_masks_is_no_other_task(layout: str) -> None:
    assert LAYOUTS[layout].coding == "binary"


def test_a_task_that_does_not_fit_the_layout(source: Path) -> None:
    put(source / "bottle/train/good/000.png", picture())
    put(source / "bottle/test/good/000.png", picture())
    with pytest.raises(UserError, match=r"--task semantic: its masks are classes, this layout's are binary; --task"):
        ingest("own", source, Storage(str(source.parent / "out")), "mvtec", "semantic")


def test_every_layout_is_tested_or_is_a_plain_pair() -> None:
    tested = {name.removeprefix("test_") for name in globals()}
    elsewhere = {"cod10k", "cod4040", "camo", "chameleon", "istd", "sbu", "folders", "kvasir", "kvasir900"}
    assert set(LAYOUTS) - elsewhere <= tested
