"""The folder layouts that can be ingested: each as data, one entry a layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from orchestrator.errors import UserError

JPG = frozenset({".jpg", ".jpeg"})
ANY = JPG | {".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Part:
    """Where the images and masks of one split lie: alternative folders, of which one must be there."""

    split: str  #: '' where the layout has no split of its own
    images: tuple[str, ...]
    masks: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True)
class Layout:
    """One way to lay out a dataset."""

    name: str
    expected: str  #: in words, for the error
    forms: tuple[tuple[Part, ...], ...]  #: alternative forms, the most particular first
    rule: str = ""  #: how the split came about; '' where it is drawn by seed
    prefix: str = ""  #: only images of this name take part
    scenes: bool = False  #: the group is what stands before the first '-' of the name
    nested: bool = False  #: sub-folders of the image folder are groups (videos, patients)
    image_suffixes: frozenset[str] = ANY
    mask_suffixes: frozenset[str] = ANY


@dataclass(frozen=True)
class Place:
    """A part that was found on disk."""

    split: str
    images: Path
    masks: Path


def _under(folders: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for folder, name in product(folders, names))


IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "gt", "gts")
VAL = ("val", "valid", "validation")
SPLITS = (("train", ("train",), False), ("val", VAL, True), ("test", ("test",), False))

_COD10K = Layout(
    "cod10k",
    "Train/ and Test/, each with Image/ and GT_Object/",
    (
        (
            Part("train", ("Train/Image", "Train/Imgs"), ("Train/GT_Object",)),
            Part("test", ("Test/Image", "Test/Imgs"), ("Test/GT_Object",)),
        ),
        (
            Part("train", _under(("TrainDataset",), ("Imgs", "Image")), ("TrainDataset/GT",)),
            Part("test", _under(("TestDataset/COD10K",), ("Imgs", "Image")), ("TestDataset/COD10K/GT",)),
        ),
    ),
    rule="the official split (Train, Test), camouflaged images only",
    prefix="COD10K-CAM-",
)
_COD4040 = Layout(
    "cod4040",
    "TrainDataset/ and TestDataset/COD10K/, each with Imgs/ and GT/",
    (
        (
            Part("train", _under(("TrainDataset",), ("Imgs", "Image")), ("TrainDataset/GT",)),
            Part("test", _under(("TestDataset/COD10K",), ("Imgs", "Image")), ("TestDataset/COD10K/GT",)),
        ),
    ),
    rule="the papers' joint training set (COD10K camouflaged and CAMO), tested on COD10K",
)
_CAMO = Layout(
    "camo",
    "Images/Train/, Images/Test/ and GT/",
    ((Part("train", ("Images/Train",), ("GT",)), Part("test", ("Images/Test",), ("GT",))),),
    rule="the official split (Images/Train, Images/Test)",
)
_CHAMELEON = Layout(
    "chameleon",
    "Imgs/ and GT/, or one folder of jpg images and png masks of the same names",
    ((Part("test", ("Imgs", "Image", "Images"), ("GT", "masks")),), (Part("test", (".",), (".",)),)),
    rule="all images are the test split, as in the papers",
    image_suffixes=JPG,
    mask_suffixes=frozenset({".png"}),
)
_ISTD = Layout(
    "istd",
    "train/ with train_A/ and train_B/, and test/ with test_A/ and test_B/",
    (
        (
            Part("train", ("train/train_A",), ("train/train_B",)),
            Part("test", ("test/test_A",), ("test/test_B",)),
        ),
    ),
    rule="the official split (train, test)",
    scenes=True,
)
_SBU = Layout(
    "sbu",
    "SBUTrain4KRecoveredSmall/ and SBU-Test/, each with ShadowImages/ and ShadowMasks/",
    (
        (
            Part("train", ("SBUTrain4KRecoveredSmall/ShadowImages",), ("SBUTrain4KRecoveredSmall/ShadowMasks",)),
            Part("test", ("SBU-Test/ShadowImages",), ("SBU-Test/ShadowMasks",)),
        ),
    ),
    rule="the official split (SBUTrain4KRecoveredSmall, SBU-Test)",
)
_KVASIR = Layout("kvasir", "images/ and masks/", ((Part("", ("images",), ("masks",)),),))
_FOLDERS = Layout(
    "folders",
    "images/ and masks/, or train/ and test/ (and perhaps val/) each with images/ and masks/",
    (
        tuple(Part(s, _under(f, IMAGES), _under(f, MASKS), opt) for s, f, opt in SPLITS),
        tuple(Part(s, _under(IMAGES, f), _under(MASKS, f), opt) for s, f, opt in SPLITS),
        (Part("", IMAGES, MASKS),),
    ),
    rule="the folders train/, test/ (and val/ where it is there)",
    nested=True,
)

LAYOUTS = {layout.name: layout for layout in (_COD10K, _COD4040, _CAMO, _CHAMELEON, _ISTD, _SBU, _KVASIR, _FOLDERS)}


def locate(layout: Layout, source: Path) -> tuple[Path, list[Place]]:
    """The folder that holds the layout, and its parts.

    Looks in ``source``, then in its sub-folders, then in theirs. Raises UserError where no folder holds
    the layout, or several do.
    """
    level = [source]
    for _ in range(3):
        held = [(root, places) for root in level if (places := _places(layout, root))]
        if len(held) > 1:
            names = ", ".join(root.relative_to(source).as_posix() for root, _ in held[:4])
            raise UserError(
                f"{source}: several folders hold the layout '{layout.name}' ({names}); give one of them with --source"
            )
        if held:
            return held[0]
        level = [folder for root in level for folder in subfolders(root)]
    found = ", ".join(sorted(p.name + ("/" if p.is_dir() else "") for p in visible(source))[:12])
    raise UserError(f"{source}: not the layout '{layout.name}', which has {layout.expected}; found there: {found}")


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name, without what operating systems leave behind."""
    litter = {"thumbs.db", "desktop.ini", "__macosx"}
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in litter)


def subfolders(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir()]


def _places(layout: Layout, root: Path) -> list[Place]:
    """The places of the first form that ``root`` holds; empty where it holds none."""
    for form in layout.forms:
        places = [place for part in form if (place := _place(layout, part, root))]
        if {p.split for p in places} >= {part.split for part in form if not part.optional}:
            return places
    return []


def _place(layout: Layout, part: Part, root: Path) -> Place | None:
    images = _one_of(root, part.images)
    masks = _one_of(root, part.masks)
    if images is None or masks is None:
        return None
    if images == masks:
        suffixes = {path.suffix.lower() for path in visible(root) if path.is_file()}
        if not (suffixes & layout.image_suffixes and suffixes & layout.mask_suffixes):
            return None
    return Place(part.split, images, masks)


def _one_of(root: Path, alternatives: tuple[str, ...]) -> Path | None:
    found = list(dict.fromkeys(path for name in alternatives for path in _named(root, name)))
    if len(found) > 1:
        raise UserError(f"{found[0]}: stands beside {found[1].name}/, which means the same; keep one of them")
    return found[0] if found else None


def _named(root: Path, name: str) -> Iterator[Path]:
    """The folders that are called ``name`` (a/b), in whatever case."""
    level = [root]
    for step in Path(name).parts:
        level = [sub for at in level for sub in subfolders(at) if sub.name.casefold() == step.casefold()]
    yield from level
