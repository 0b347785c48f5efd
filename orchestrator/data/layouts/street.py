"""Street scenes in pinhole views, and panoramas: Cityscapes, CamVid, DensePASS, WildPASS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.data.check import BadMask
from orchestrator.data.codings import VOID, class_map, encode_labels
from orchestrator.data.layouts.base import ANY, Found, Item, Layout, Made, files, orphans, suffix
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


def translated(data: bytes, values: Sequence[int], void: Iterable[int]) -> Made:
    """A class map in our own numbers: ``values[k]`` becomes class k, ``void`` what it is. Raises BadMask."""
    classes = np.full(256, -1, np.int16)
    classes[[*void, VOID]] = VOID
    classes[list(values)] = range(len(values))
    found = class_map(data)
    labels = classes[found]
    if (labels < 0).any():
        raise BadMask(f"value {int(found[labels < 0][0])} is none of its classes")
    return Made(encode_labels(labels))


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
                seen: set[str] = set()
                for name in files(root / "leftImg8bit" / folder, nested=True):
                    key, image = name.removesuffix("_leftImg8bit.png"), f"leftImg8bit/{folder}/{name}"
                    if key == name:
                        continue
                    seen.add(key)
                    mask = f"gtFine/{folder}/{key}_gtFine_label"
                    kind = next((kind for kind in ("TrainIds", "Ids") if (root / f"{mask}{kind}.png").exists()), None)
                    if kind:
                        yield Item(key, split, image, f"{mask}{kind}.png", key.partition("/")[0])
                    else:
                        yield Skipped(image, f"it has no mask (looked for {mask}Ids.png)")
                end = "_gtFine_labelIds.png"
                names = (n for n in files(root / "gtFine" / folder, nested=True) if n.endswith(end))
                yield from orphans({n.removesuffix(end): f"gtFine/{folder}/{n}" for n in names}, seen)

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        made = super().make(root, item)
        return made if item.mask.endswith("_labelTrainIds.png") else translated(made.mask, _LABEL_IDS, range(34))


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
        number = len(CAMVID_CLASSES)
        return translated(super().make(root, item).mask, range(number), [number])

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

    end: str = ""  #: of a label's name, in place of the image's suffix (and of a last _); '': both have the same name
    ids: tuple[int, ...] = ()  #: the labels' values by class, of Mapillary's 25; none: they are the classes already

    def find(self, source: Path) -> Found:
        root = self.locate_paths(source, "leftImg8bit/val", "gtFine/val")

        def told() -> Iterator[Item | Skipped]:
            for split, folder in (("train", "train"), ("test", "val")):
                images, labels = root / "leftImg8bit" / folder, root / "gtFine" / folder
                masks = {self._key(name, self.end): f"gtFine/{folder}/{name}" for name in self._labels(labels)}
                seen: set[str] = set()
                for name in files(images, nested=True) if images.is_dir() else ():
                    if suffix(name).lower() in ANY:
                        key = self._key(name, suffix(name))
                        seen.add(key)
                        yield self._told(key, split, f"leftImg8bit/{folder}/{name}", masks.get(key))
                yield from orphans(masks, seen)

        return self.found(root, told())

    def _told(self, key: str, split: str, image: str, mask: str | None) -> Item | Skipped:
        if mask is None and split == "test":
            return Skipped(image, f"it has no mask (looked for gtFine/val/{key}{self.end or '.*'})")
        return Item(key, split, image, mask or "", key.rpartition("/")[0] if split == "train" else "")

    def _labels(self, folder: Path) -> list[str]:
        """The files that are labels; others (colours, ids) may lie beside them."""
        names = files(folder, nested=True) if folder.is_dir() else ()
        return [name for name in names if name.endswith(self.end or suffix(name)) and suffix(name).lower() in ANY]

    def _key(self, name: str, end: str) -> str:
        """What an image and its label have in common."""
        key = name.removesuffix(end or suffix(name))
        return key.removesuffix("_") if self.end else key

    def make(self, root: Path, item: Item) -> Made:
        made = super().make(root, item)
        return translated(made.mask, self.ids, range(26)) if self.ids and made.mask else made


_RULE = "the labelled panoramas (val) are the test split; those of train, where they are there, have no labels"

DENSEPASS = Panoramas(
    "densepass",
    "leftImg8bit/val/ and gtFine/val/ (and perhaps leftImg8bit/train/ without labels)",
    rule=_RULE,
    coding="classes",
    classes=CITYSCAPES_CLASSES,
    end="_labelTrainIds.png",
)
WILDPASS = Panoramas(
    "wildpass",
    "leftImg8bit/val/ and gtFine/val/ with names of their own (and perhaps leftImg8bit/train/ without labels)",
    rule=_RULE,
    coding="classes",
    classes=WILDPASS_CLASSES,
    ids=_WILDPASS_IDS,
)
