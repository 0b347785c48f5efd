"""Street scenes in pinhole views, and panoramas: Cityscapes, CamVid, DensePASS, WildPASS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.codings import VOID, class_map, encode_labels
from orchestrator.data.layouts.base import ANY, Found, Item, Layout, Made, files, suffix
from orchestrator.data.layouts.folders import Pairs, Part
from orchestrator.data.schema import Skipped

CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
#: Cityscapes' labelIds in the order of its trainIds; every other one is void.
_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

WILDPASS_CLASSES = ("car", "truck", "bus", "road", "sidewalk", "person", "curb", "crosswalk")
#: WildPASS's labels count Mapillary's 25 classes; these are the ones that it evaluates, in that order.
_WILDPASS_IDS = (4, 5, 8, 11, 12, 17, 13, 24)

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def table(values: tuple[int, ...]) -> NDArray[np.uint8]:
    """From a file's values (256) to classes: ``values[k]`` is class k, every other one is void."""
    classes = np.full(256, VOID, np.uint8)
    classes[list(values)] = range(len(values))
    return classes


def translated(data: bytes, classes: NDArray[np.uint8]) -> Made:
    """A class map in our own numbers. Raises BadMask."""
    return Made(encode_labels(classes[class_map(data)]))


@dataclass(frozen=True)
class Cityscapes(Layout):
    """leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY; labelIds become trainIds where those were not made."""

    def find(self, source: Path) -> Found:
        root = self.locate_paths(source, "leftImg8bit/train", "gtFine/train")

        def told() -> Iterator[Item | Skipped]:
            # the labels of its test split are not public: as in the papers, val is what is tested on
            for folder, split in (("train", "train"), ("val", "test")):
                if not (root / "leftImg8bit" / folder).is_dir():
                    continue
                for name in files(root / "leftImg8bit" / folder, nested=True):
                    key, image = name.removesuffix("_leftImg8bit.png"), f"leftImg8bit/{folder}/{name}"
                    if key == name:
                        continue
                    mask = f"gtFine/{folder}/{key}_gtFine_label"
                    kind = next((kind for kind in ("TrainIds", "Ids") if (root / f"{mask}{kind}.png").exists()), None)
                    if kind:
                        yield Item(key, split, image, f"{mask}{kind}.png", key.partition("/")[0])
                    else:
                        yield Skipped(image, f"it has no mask (looked for {mask}Ids.png)")

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        made = super().make(root, item)
        return made if item.mask.endswith("_labelTrainIds.png") else translated(made.mask, table(_LABEL_IDS))


CITYSCAPES = Cityscapes(
    "cityscapes",
    "leftImg8bit/ and gtFine/, each with train/ and val/",
    rule="the official split; val, whose labels are public, is the test split",
    coding="classes",
    classes=CITYSCAPES_CLASSES,
)


@dataclass(frozen=True)
class CamVid(Pairs):
    """As SegNet's tutorial hands it out (480x360): value 11 is void. Its split cuts sequences; groups do not."""

    def make(self, root: Path, item: Item) -> Made:
        return translated(super().make(root, item).mask, table(tuple(range(len(CAMVID_CLASSES)))))

    def group_of(self, key: str, part: Part) -> str:
        return f"{part.split}-{key.partition('_')[0]}"


CAMVID = CamVid(
    "camvid",
    "train/, val/ and test/ of images, and trainannot/, valannot/ and testannot/ of labels",
    rule="SegNet's split (367, 101 and 233 images)",
    coding="classes",
    classes=CAMVID_CLASSES,
    forms=tuple(
        tuple(Part(split, (images.format(split),), (masks.format(split),)) for split in ("train", "val", "test"))
        for images, masks in (("{}", "{}annot"), ("images/{}", "masks/{}"))
    ),
)


@dataclass(frozen=True)
class Panoramas(Layout):
    """leftImg8bit/ and gtFine/ as Cityscapes has them; val/ is labelled and is the test split, train/ is not."""

    ends: tuple[str, ...] = ("_labelTrainIds.png",)  #: of a label's name, in place of the image's suffix
    ids: tuple[int, ...] = ()  #: the labels' values by class; none: they are the classes already

    def find(self, source: Path) -> Found:
        root = self.locate_paths(source, "leftImg8bit/val", "gtFine/val")

        def told() -> Iterator[Item | Skipped]:
            for split, folder in (("train", "train"), ("test", "val")):
                if not (root / "leftImg8bit" / folder).is_dir():
                    continue
                for name in files(root / "leftImg8bit" / folder, nested=True):
                    if suffix(name).lower() not in ANY:
                        continue
                    image, key = f"leftImg8bit/{folder}/{name}", name.rpartition(".")[0].removesuffix("_")
                    city = key.rpartition("/")[0]
                    looked = [f"gtFine/{folder}/{key}{end}" for end in self.ends]
                    mask = next((path for path in looked if (root / path).exists()), None)
                    if mask or split == "train":
                        yield Item(key, split, image, mask or "", city if split == "train" else "")
                    else:
                        yield Skipped(image, f"it has no mask (looked for {looked[0]})")

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        made = super().make(root, item)
        return translated(made.mask, table(self.ids)) if self.ids and made.mask else made


_RULE = "the labelled panoramas (val) are the test split; those of train, where they are there, have no labels"

DENSEPASS = Panoramas(
    "densepass",
    "leftImg8bit/val/ and gtFine/val/ (and perhaps leftImg8bit/train/ without labels)",
    rule=_RULE,
    coding="classes",
    classes=CITYSCAPES_CLASSES,
)
WILDPASS = Panoramas(
    "wildpass",
    "leftImg8bit/val/ and gtFine/val/ with names of their own (and perhaps leftImg8bit/train/ without labels)",
    rule=_RULE,
    coding="classes",
    classes=WILDPASS_CLASSES,
    ends=(".png", ".jpg"),
    ids=_WILDPASS_IDS,
)
