from pathlib import Path

import pytest
from data_samples import put_pair

from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.layouts.base import Found
from orchestrator.data.sources import find_items
from orchestrator.errors import UserError

BATFISH = "COD10K-CAM-1-Aquatic-1-BatFish-{}"
OWL = "COD10K-NonCAM-3-Flying-61-Owl-{}"


def pairs(found: Found) -> list[tuple[str, str, str, str]]:
    return [(p.split, p.id, p.image, p.mask) for p in found.items]


def make_cod10k(root: Path) -> None:
    for split, numbers in (("Train", (2, 10)), ("Test", (5,))):
        for n in numbers:
            name = BATFISH.format(n)
            put_pair(root / split / f"Image/{name}.jpg", root / split / f"GT_Object/{name}.png")
            for other in ("GT_Instance", "GT_Edge"):
                (root / split / other).mkdir(exist_ok=True)
                (root / split / other / f"{name}.png").write_bytes(b"ignored")
        owl = OWL.format(split)
        put_pair(root / split / f"Image/{owl}.jpg", root / split / f"GT_Object/{owl}.png")
    (root / "Info").mkdir()


def test_cod10k_takes_the_camouflaged_images(tmp_path: Path) -> None:
    make_cod10k(tmp_path / "COD10K-v3")
    found = find_items("cod10k", tmp_path / "COD10K-v3")
    assert pairs(found) == [
        (split.lower(), name, f"{split}/Image/{name}.jpg", f"{split}/GT_Object/{name}.png")
        for split, name in (
            ("Train", BATFISH.format(10)),
            ("Train", BATFISH.format(2)),
            ("Test", BATFISH.format(5)),
        )
    ]
    assert "2 images not named COD10K-CAM-* left out" in found.split_rule
    assert "official" in found.split_rule
    assert not found.problems


def test_cod10k_as_commonly_repackaged(tmp_path: Path) -> None:
    name = BATFISH.format(1)
    for folder in ("TrainDataset", "TestDataset/COD10K"):
        put_pair(tmp_path / folder / f"Imgs/{name}.jpg", tmp_path / folder / f"GT/{name}.png")
    camo = tmp_path / "TrainDataset"
    put_pair(camo / "Imgs/camourflage_00012.jpg", camo / "GT/camourflage_00012.png")
    found = find_items("cod10k", tmp_path)
    assert [(p.split, p.id) for p in found.items] == [("train", name), ("test", name)]
    assert not found.problems


def test_cod4040_is_the_joint_training_set(tmp_path: Path) -> None:
    name, camo = BATFISH.format(1), "camourflage_00012"
    for folder, names in (
        ("TrainDataset", (name, camo)),
        ("TestDataset/COD10K", (name,)),
        ("TestDataset/CAMO", (camo,)),
    ):
        for one in names:
            put_pair(tmp_path / "COD" / folder / f"Imgs/{one}.jpg", tmp_path / "COD" / folder / f"GT/{one}.png")
    found = find_items("cod4040", tmp_path / "COD")
    assert [(p.split, p.id) for p in found.items] == [("train", name), ("train", camo), ("test", name)]
    assert "joint training set" in found.split_rule and not found.problems


def test_camo_shares_one_mask_folder(tmp_path: Path) -> None:
    root = tmp_path / "CAMO-V.1.0-CVIU2019"
    for split, name in (("Train", "camourflage_00012"), ("Test", "camourflage_00018")):
        put_pair(root / f"Images/{split}/{name}.jpg", root / f"GT/{name}.png")
    found = find_items("camo", root)
    assert pairs(found) == [
        ("train", "camourflage_00012", "Images/Train/camourflage_00012.jpg", "GT/camourflage_00012.png"),
        ("test", "camourflage_00018", "Images/Test/camourflage_00018.jpg", "GT/camourflage_00018.png"),
    ]
    assert not found.problems


@pytest.mark.parametrize(("images", "masks"), [(".", "."), ("Imgs", "GT"), ("Image", "GT")])
def test_chameleon_is_a_test_set(tmp_path: Path, images: str, masks: str) -> None:
    for i in (1, 2):
        put_pair(tmp_path / images / f"animal-{i}.jpg", tmp_path / masks / f"animal-{i}.png")
    found = find_items("chameleon", tmp_path)
    assert [(p.split, p.id, p.image[-4:], p.mask[-4:]) for p in found.items] == [
        ("test", "animal-1", ".jpg", ".png"),
        ("test", "animal-2", ".jpg", ".png"),
    ]
    assert not found.problems


def test_istd_groups_by_scene(tmp_path: Path) -> None:
    root = tmp_path / "ISTD_Dataset"
    for split, name in (("train", "1-1"), ("train", "1-2"), ("train", "90-1"), ("test", "91-3")):
        put_pair(root / f"{split}/{split}_A/{name}.png", root / f"{split}/{split}_B/{name}.png")
        (root / f"{split}/{split}_C").mkdir(exist_ok=True)
        (root / f"{split}/{split}_C/{name}.png").write_bytes(b"shadow-free, ignored")
    found = find_items("istd", root)
    assert [(p.split, p.id, p.group) for p in found.items] == [
        ("train", "1-1", "1"),
        ("train", "1-2", "1"),
        ("train", "90-1", "90"),
        ("test", "91-3", "91"),
    ]
    assert "/train_A/" in found.items[0].image
    assert "/train_B/" in found.items[0].mask


def test_sbu_has_two_folders_of_long_names(tmp_path: Path) -> None:
    root = tmp_path / "SBU-shadow"
    for folder, name in (("SBUTrain4KRecoveredSmall", "lssd1"), ("SBU-Test", "lssd3000")):
        put_pair(root / folder / f"ShadowImages/{name}.jpg", root / folder / f"ShadowMasks/{name}.png")
        (root / folder / "EdgeMap").mkdir()
        (root / folder / f"EdgeMap/{name}.png").write_bytes(b"ignored")
    found = find_items("sbu", tmp_path)
    assert [(p.split, p.id) for p in found.items] == [("train", "lssd1"), ("test", "lssd3000")]
    assert not found.problems


def test_kvasir_is_split_by_seed(tmp_path: Path) -> None:
    root = tmp_path / "Kvasir-SEG"
    for i in range(10):
        put_pair(root / f"images/cju{i}.jpg", root / f"masks/cju{i}.jpg")
    (root / "kavsir_bboxes.json").write_text("{}")
    found = find_items("kvasir", root)
    test = [p.id for p in found.items if p.split == "test"]
    assert len(test) == 2
    assert len(found.items) == 10
    assert "80/20" in found.split_rule
    assert "seed 42" in found.split_rule
    again = find_items("kvasir", root)
    assert again.items == found.items
    others = {tuple(p.id for p in find_items("kvasir", root, s).items if p.split == "test") for s in range(5)}
    assert len(others) > 1


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("image", "mask"), ("IMGS", "GT")])
@pytest.mark.parametrize("form", ["{split}/{kind}", "{kind}/{split}"])
def test_folders_with_splits(tmp_path: Path, images: str, masks: str, form: str) -> None:
    for split in ("train", "val", "test"):
        places = [tmp_path / form.format(split=split, kind=kind) for kind in (images, masks)]
        put_pair(places[0] / "a.jpg", places[1] / "a.png")
    found = find_items("folders", tmp_path)
    assert [(p.split, p.id, p.group) for p in found.items] == [
        ("train", "a", ""),
        ("val", "a", ""),
        ("test", "a", ""),
    ]


def test_sub_folders_are_groups_and_stay_whole(tmp_path: Path) -> None:
    for video in range(5):
        for frame in range(4):
            name = f"video{video}/{frame:05}"
            put_pair(tmp_path / f"images/{name}.jpg", tmp_path / f"masks/{name}.png")
    found = find_items("folders", tmp_path)
    splits = {p.group: {q.split for q in found.items if q.group == p.group} for p in found.items}
    assert sorted(splits) == [f"video{v}" for v in range(5)]
    assert all(len(where) == 1 for where in splits.values())
    assert sum(p.split == "test" for p in found.items) == 4
    assert "groups" in found.split_rule


def test_one_group_alone_cannot_be_split(tmp_path: Path) -> None:
    for frame in range(4):
        put_pair(tmp_path / f"images/v/{frame}.jpg", tmp_path / f"masks/v/{frame}.png")
    with pytest.raises(UserError, match="too little to split"):
        find_items("folders", tmp_path)


@pytest.mark.parametrize("above", ["..", "../.."])
def test_the_layout_is_found_below(folders: Path, above: str) -> None:
    (folders.parent / "__MACOSX" / "images").mkdir(parents=True)
    found = find_items("folders", folders if above == ".." else folders.parent)
    assert found.root == folders
    assert found.items[0].image.startswith("images/")


def test_two_candidates_below_are_named(folders: Path) -> None:
    put_pair(folders.parent / "second/images/a.jpg", folders.parent / "second/masks/a.png")
    with pytest.raises(UserError, match=r"several folders hold .* \(own, second\)"):
        find_items("folders", folders.parent)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_wrong_layout_says_what_it_wants_and_what_is_there(tmp_path: Path, layout: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(UserError) as caught:
        find_items(layout, tmp_path)
    message = str(caught.value)
    assert LAYOUTS[layout].expected in message
    assert "found there: pictures/, readme.txt" in message
    assert "\n" not in message


def test_unknown_layouts_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown layout 'folder' .*folders"):
        find_items("folder", tmp_path)


def test_sources_that_are_no_use(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_items("folders", tmp_path / "nowhere")
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="not a folder; unpack it"):
        find_items("folders", tmp_path / "data.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder is empty"):
        find_items("folders", tmp_path / "empty")
    for name in ("images", "masks"):
        (tmp_path / "bare" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="no images in images/"):
        find_items("folders", tmp_path / "bare")


def test_images_beside_imgs_is_ambiguous(folders: Path) -> None:
    (folders / "imgs").mkdir()
    with pytest.raises(UserError, match="keep one of them"):
        find_items("folders", folders)


def problems(folders: Path) -> list[tuple[str, str]]:
    return [(p.file, p.reason) for p in find_items("folders", folders).problems]


def test_missing_mask_and_missing_image(folders: Path) -> None:
    (folders / "masks/p3.png").unlink()
    (folders / "images/p5.jpg").unlink()
    assert problems(folders) == [
        ("images/p3.jpg", "it has no mask (looked for masks/p3.*)"),
        ("masks/p5.png", "a mask without its image (looked for images/p5.*)"),
    ]


def test_two_files_of_one_name(folders: Path) -> None:
    put_pair(folders / "images/p1.png", folders / "masks/p2.jpg")
    assert problems(folders) == [
        ("images/p1.jpg", "two files of one name (the other: images/p1.png)"),
        ("masks/p2.jpg", "two files of one name (the other: masks/p2.png)"),
    ]


def test_litter_is_ignored_and_other_files_are_counted(folders: Path) -> None:
    for name in (".DS_Store", "._p1.jpg", "Thumbs.db", "notes.txt", "list.csv"):
        (folders / "images" / name).write_bytes(b"x")
    found = find_items("folders", folders)
    assert len(found.items) == 10
    assert not found.problems
    assert "2 files that are no images ignored" in found.split_rule


def test_suffixes_in_capitals_and_names_with_dots(folders: Path) -> None:
    (folders / "images/p0.jpg").rename(folders / "images/p.0.JPG")
    (folders / "masks/p0.png").rename(folders / "masks/p.0.PNG")
    assert "p.0" in [p.id for p in find_items("folders", folders).items]


def test_one_name_in_two_unicode_forms(folders: Path) -> None:
    (folders / "images/p4.jpg").rename(folders / "images/caf\u00e9.jpg")
    (folders / "masks/p4.png").rename(folders / "masks/cafe\u0301.png")
    found = find_items("folders", folders)
    assert not found.problems
    assert "caf\u00e9" in [p.id for p in found.items]


def test_names_that_are_not_utf8(folders: Path) -> None:
    for kind in ("images", "masks"):
        old = next((folders / kind).glob("p4.*"))
        old.rename(old.with_name(f"caf\udce9{old.suffix}"))
    assert problems(folders) == [("images/caf\\udce9.jpg", "its name is not UTF-8")]
