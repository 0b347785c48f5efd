"""Stand-ins in the layout of their data set: read as the real one would be, and as ambiguous as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from orchestrator import plan
from orchestrator.data.catalogue import CATALOGUE
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.objects import objects_of
from orchestrator.data.reader import Dataset, Sample, open_dataset
from orchestrator.data.standin import SIDES, cars, faces, nuclei, official, signs
from orchestrator.storage import Storage

DATASETS = ("celebamask_hq", "dsb2018", "plates", "mapillary_signs")
DRAWS: dict[str, Any] = {"faces": faces.draw, "nuclei": nuclei.draw, "cars": cars.draw, "signs": signs.draw}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Twelve training and three test pictures of each, ingested as a run does."""
    root, patch = Storage(str(tmp_path_factory.mktemp("stand-in"))), pytest.MonkeyPatch()
    with patch.context() as few:
        few.setattr(plan, "STAND_IN_TRAIN", 12)
        few.setattr(plan, "STAND_IN_TEST", 3)
        for name in DATASETS:
            plan.make_stand_in(name, root)
    return {name: open_dataset(root, name) for name in DATASETS}


def rows(dataset: Dataset) -> list[Sample]:
    splits = [dataset.split(name) for name in dataset.manifest.splits]
    return [split.read(i) for split in splits for i in range(len(split))]


@pytest.mark.parametrize("name", DATASETS)
def test_they_are_ingested_in_their_own_layout(name: str, drawn: dict[str, Dataset]) -> None:
    manifest, entry = drawn[name].manifest, CATALOGUE[name]
    assert (manifest.layout, manifest.task, manifest.stand_in) == (entry.layout, entry.task, True)
    assert manifest.classes == entry.class_names and not manifest.skipped
    assert sum(manifest.rows(split) for split in manifest.splits) == 15 and manifest.rows("test") == 3
    assert set(manifest.splits) == ({"train", "val", "test"} if name == "celebamask_hq" else {"train", "test"})


@pytest.mark.parametrize("name", DATASETS)
def test_every_picture_has_objects_of_a_fair_size(name: str, drawn: dict[str, Dataset]) -> None:
    for sample in rows(drawn[name]):
        assert all(SIDES[0] <= side <= SIDES[1] for side in sample.image.shape[:2])
        assert sample.image.std() > 5
        found = objects_of(sample, left_out=frozenset({0}) if name == "celebamask_hq" else frozenset())
        assert found and all(one.area < 0.7 * sample.mask.size for one in found)


def test_layouts_and_tables_agree() -> None:
    assert set(official.OFFICIAL) <= set(LAYOUTS)
    streets = {"cityscapes", "densepass", "wildpass"}
    assert {entry.layout for entry in CATALOGUE.values() if entry.task in ("parts", "instances")} | streets == set(
        official.OFFICIAL
    )
    assert official.domain("plates", "instances") == "car" and official.domain("dsb2018", "instances") == "nuclei"
    assert official.domain("istd", "shadow") == "shadow" and official.domain("camvid", "semantic") == "binary"


def test_others_are_drawn_in_plain_folders(tmp_path: Path) -> None:
    assert official.write("kvasir", "polyp", tmp_path, 1, 1, 0) == "folders"
    assert len(list(tmp_path.rglob("polyp-*.png"))) == 2


@pytest.mark.parametrize("kind", DRAWS)
def test_same_arguments_same_pixels_and_nothing_else_does(kind: str) -> None:
    image, told = DRAWS[kind](7, 5)
    np.random.seed(1)  # the global generator must not matter
    again, told_again = DRAWS[kind](7, 5)
    assert np.array_equal(image, again)
    if isinstance(told, dict):
        assert list(told) == list(told_again) and all(np.array_equal(told[part], told_again[part]) for part in told)
    else:
        assert np.array_equal(told, told_again)
    for seed, index in ((8, 5), (7, 6)):
        other = DRAWS[kind](seed, index, image.shape[:2])[0]
        assert other.shape == image.shape and np.abs(image.astype(int) - other).mean() > 5


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("layout", official.OFFICIAL)
def test_more_training_pictures_leave_the_others_as_they_were(layout: str, tmp_path: Path) -> None:
    for name, train in (("few", 2), ("more", 4)):
        official.write(layout, "", tmp_path / name, train, 1, 0)
    few, more = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in files(tmp_path / name) if p.suffix != ".txt"}
        for name in ("few", "more")
    )
    assert few.items() < more.items()


@pytest.fixture(scope="module")
def portraits() -> list[tuple[NDArray[np.uint8], faces.Parts]]:
    return [faces.draw(2, index) for index in range(40)]


def test_a_face_has_its_parts_where_they_belong(portraits: list[tuple[NDArray[np.uint8], faces.Parts]]) -> None:
    def middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.argwhere(mask).mean(0)

    always = {"skin", "nose", "l_brow", "r_brow", "u_lip", "l_lip", "neck", "cloth"}
    shown = [set(parts) for _, parts in portraits]
    assert np.mean([always <= there for there in shown]) > 0.85, "a hat or a fringe may hide a brow"
    assert set().union(*shown) == set(faces.PARTS), "all are drawn now and then"
    for _, parts in portraits:
        if {"l_eye", "r_eye"} <= set(parts):
            left, right, mouth = (middle(parts[part]) for part in ("l_eye", "r_eye", "u_lip"))
            assert left[1] < right[1] and mouth[0] > max(left[0], right[0]), "left is the picture's"
        face = ndimage.binary_dilation(ndimage.binary_fill_holes(parts["skin"]), iterations=2)
        for part in ("nose", "l_eye", "r_eye", "u_lip", "l_lip", "mouth"):
            inside = parts.get(part, face)
            assert (face & inside).sum() >= 0.95 * inside.sum(), f"{part} lies in the face"


def test_parts_are_nested_and_others_do_not_overlap(portraits: list[tuple[NDArray[np.uint8], faces.Parts]]) -> None:
    for _, parts in portraits:
        apart = [mask for part, mask in parts.items() if part not in ("skin", "eye_g")]
        assert sum(mask.astype(int) for mask in apart).max() <= 1  # type: ignore[union-attr]
        if "nose" in parts:
            assert (parts["nose"] <= parts["skin"]).all()


def _overlap(image: NDArray[np.uint8], one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """How much the colours of two regions overlap: 0 is told apart by one threshold on one channel, 1 is alike."""

    def shared(channel: int) -> float:
        counts = [np.bincount(image[mask][:, channel] // 16, minlength=16) / mask.sum() for mask in (one, other)]
        return float(np.minimum(*counts).sum())

    return min(shared(channel) for channel in range(3))


def test_colour_alone_does_not_tell_parts(portraits: list[tuple[NDArray[np.uint8], faces.Parts]]) -> None:
    def alike(part: str, around: int = 6) -> list[float]:
        found = []
        for image, parts in portraits:
            if part in parts and parts[part].sum() > 60:
                mask = parts[part]
                near = ndimage.binary_dilation(mask, iterations=around) & ~mask
                found.append(_overlap(image, mask, near))
        return found

    assert np.mean(alike("nose")) > 0.5, "a nose is skin"
    assert np.mean(np.array(alike("l_lip")) > 0.4) > 0.2, "some lips are hardly redder than the skin"
    assert np.mean(np.array(alike("l_lip")) < 0.4) > 0.2, "and others are"
    assert np.mean(np.array(alike("hair")) > 0.5) > 0.15, "some hair is like what is behind it"


def test_faces_lie_on_disk_as_celebamask_hq_does(tmp_path: Path) -> None:
    faces.write(tmp_path, 1, 1, 0)
    image = Image.open(tmp_path / "CelebA-HQ-img/0.jpg")
    skin = Image.open(tmp_path / "CelebAMask-HQ-mask-anno/0/00000_skin.png")
    assert skin.size == (image.width // 2, image.height // 2) and skin.mode == "RGB"
    assert set(np.unique(np.asarray(skin))) == {0, 255}
    assert (tmp_path / "CelebAMask-HQ-mask-anno/25/50000_skin.png").exists()
    header, *lines = (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").read_text().splitlines()
    assert header.split() == ["idx", "orig_idx", "orig_file"]
    assert [line.split() for line in lines] == [["0", "0", "000001.jpg"], ["50000", "182638", "182639.jpg"]]


def test_nuclei_touch_now_and_then_and_a_plate_fills_its_box() -> None:
    touching = []
    for index in range(12):
        _, labels = nuclei.draw(1, index)
        assert set(np.unique(labels)) == set(range(int(labels.max()) + 1)) and labels.max() >= 5
        pairs = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
        touching.append(pairs.any())
        image, boxes = cars.draw(1, index)
        for x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 < image.shape[1] and 0 <= y0 < y1 < image.shape[0] and (x1 - x0) > 1.5 * (y1 - y0)
    assert 0.2 < np.mean(touching) < 1 and len({len(cars.draw(1, i)[1]) for i in range(12)}) == 2


def test_signs_are_of_several_kinds_and_poles_stand_before_some() -> None:
    coded = [signs.draw(1, index)[1] for index in range(30)]
    kinds = set(np.unique(np.concatenate([c.ravel() for c in coded])) // 256)
    assert {signs.LABELS[k] for k in kinds} >= {"object--banner", "object--billboard", "object--sign--store"}
    assert all((c >= 256).any() for c in coded)
    parts = [ndimage.label(c == value)[1] for c in coded for value in np.unique(c[c >= 256])]
    assert max(parts) > 1, "one is cut by a pole"
