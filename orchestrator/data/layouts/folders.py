"""Layouts of images and masks that share their names: each told as data, one entry a layout."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

from orchestrator.data.layouts.base import ANY, Found, Item, Layout, files, read_text, stem, subfolders, suffix
from orchestrator.data.schema import Skipped
from orchestrator.errors import UserError

CLASSES_FILE = "classes.txt"  #: of a user's own class maps: a name a line, the first of class 0


@dataclass(frozen=True)
class Part:
    """Where the images and masks of one split lie: alternative folders, of which one must be there."""

    split: str  #: '' where the layout has no split of its own
    images: tuple[str, ...]
    masks: tuple[str, ...]
    optional: bool = False
    prefix: str = ""  #: before its ids, where several parts of a split might use the same ones


@dataclass(frozen=True)
class Place:
    """A part that was found on disk."""

    part: Part
    images: Path
    masks: Path


@dataclass(frozen=True)
class Pairs(Layout):
    """Each image has a mask of the same name in another folder (or of another suffix in the same one)."""

    forms: tuple[tuple[Part, ...], ...] = ()  #: alternative forms, the most particular first
    prefix: str = ""  #: only images of this name take part
    scenes: bool = False  #: the group is what stands before the first '-' of the name
    nested: bool = False  #: sub-folders of the image folder are groups (videos, patients)
    image_suffixes: frozenset[str] = ANY
    mask_suffixes: frozenset[str] = ANY

    def find(self, source: Path) -> Found:
        """Pair every image with its mask. Raises UserError where there is nothing to pair."""
        root, places = self.locate(source, self._places)
        classes = self.classes if self.coding else _own_classes(root)
        splits = frozenset(place.part.split for place in places) - {""}
        found = Found(root, split_rule=self.rule, coding=self.coding, classes=classes, splits=splits)
        masks = {place.masks: self._by_id(place.masks) for place in places}
        used: dict[Path, set[str]] = {place.masks: set() for place in places}
        left_out: Counter[str] = Counter()
        for place in places:
            before = len(used[place.masks])
            self._pair(place, masks[place.masks], used[place.masks], found)
            if self.prefix:
                taken = len(used[place.masks]) - before
                others = sum(1 for name in self._names(place.images, self.image_suffixes, "")) - taken
                left_out[f"images not named {self.prefix}* left out"] += others
        self._report_orphans(places, masks, used, found)
        _count_others(places, left_out)
        if not found.items and not found.problems:
            where = ", ".join(found.name(place.images) + "/" for place in places)
            wanted = f" named {self.prefix}*" if self.prefix else ""
            raise UserError(f"{root}: no images{wanted} in {where}; look whether the download is complete")
        found.notes = [f"{count} {what}" for what, count in left_out.items() if count]
        return found

    def _places(self, root: Path) -> list[Place] | None:
        """The places of the first form that ``root`` holds; None where it holds none."""
        for form in self.forms:
            places = [place for part in form if (place := self._place(part, root))]
            if places and {p.part for p in places} >= {part for part in form if not part.optional}:
                return places
        return None

    def _place(self, part: Part, root: Path) -> Place | None:
        images = _one_of(root, part.images)
        masks = _one_of(root, part.masks)
        if images is None or masks is None:
            return None
        if images == masks:
            suffixes = {suffix(name).lower() for name in files(images)}
            if not (suffixes & self.image_suffixes and suffixes & self.mask_suffixes):
                return None
        return Place(part, images, masks)

    def _names(self, folder: Path, suffixes: frozenset[str], prefix: str) -> Iterator[str]:
        """The files that take part, as paths below ``folder``."""
        for name in files(folder, self.nested):
            if suffix(name).lower() in suffixes and name.rpartition("/")[2].startswith(prefix):
                yield name

    def _by_id(self, folder: Path) -> dict[str, list[str] | str]:
        """Masks by id; a list where several share one. (A list each would double what a large folder takes.)"""
        named: dict[str, list[str] | str] = {}
        for name in self._names(folder, self.mask_suffixes, self.prefix):
            key = _id(name)
            there = named.get(key)
            named[key] = name if there is None else [*_listed(there), name]
        return named

    def _pair(self, place: Place, masks: dict[str, list[str] | str], used: set[str], found: Found) -> None:
        """Add the items and problems of one place, and the ids of its images to ``used``."""
        names = sorted(self._names(place.images, self.image_suffixes, self.prefix), key=_id)
        image_folder, mask_folder = found.name(place.images), found.name(place.masks)
        for key, alike in groupby(names, key=_id):
            pictures = [_joined(image_folder, name) for name in alike]
            grounds = [_joined(mask_folder, name) for name in _listed(masks.get(key, []))]
            if problem := _problem(pictures, grounds, f"{mask_folder}/{key}.*"):
                found.problems.append(problem)
            else:
                part, group = place.part, self.group_of(key, place.part)
                found.items.append(Item(part.prefix + key, part.split, pictures[0], grounds[0], group))
            used.add(key)

    def group_of(self, key: str, part: Part) -> str:
        """The group of one of a part's images."""
        if self.scenes:
            return key.split("-")[0] if "-" in key else ""
        return key.rpartition("/")[0] if self.nested else ""

    def _report_orphans(
        self,
        places: list[Place],
        masks: dict[Path, dict[str, list[str] | str]],
        used: dict[Path, set[str]],
        found: Found,
    ) -> None:
        """Masks without an image are a problem: one of the two was lost or misnamed."""
        for folder, named in masks.items():
            looked = " or ".join(found.name(p.images) for p in places if p.masks == folder)
            for key in sorted(named.keys() - used[folder]):
                reason = f"a mask without its image (looked for {looked}/{key}.*)"
                found.problems.append(Skipped(_joined(found.name(folder), _listed(named[key])[0]), reason))


def _id(name: str) -> str:
    """A file's path without its suffix, in one Unicode form."""
    return unicodedata.normalize("NFC", stem(name))


def _listed(names: list[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else names


def _own_classes(root: Path) -> tuple[str, ...]:
    """The names in a user's own ``classes.txt``; none where there is no such file."""
    path = root / CLASSES_FILE
    lines = read_text(path, "utf-8-sig").splitlines() if path.exists() else []
    names = tuple(line.strip() for line in lines if line.strip())
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{path}: '{name}' stands there {count} times; name every class once")
    return names


def _joined(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _problem(images: list[str], masks: list[str], looked: str) -> Skipped | None:
    for paths in (images, masks):
        if len(paths) > 1:
            return Skipped(paths[0], f"two files of one name (the other: {', '.join(paths[1:])})")
    if not masks:
        return Skipped(images[0], f"it has no mask (looked for {looked})")
    return None


def _count_others(places: list[Place], left_out: Counter[str]) -> None:
    for folder in {path for place in places for path in (place.images, place.masks)}:
        others = sum(suffix(name).lower() not in ANY for name in files(folder))
        left_out["files that are no images ignored"] += others


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


def under(folders: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Every name below every folder."""
    return tuple(f"{folder}/{name}" for folder, name in product(folders, names))


IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "gt", "gts")
VAL = ("val", "valid", "validation")
_OF_SPLITS = (("train", ("train",), False), ("val", VAL, True), ("test", ("test",), False))

FOLDERS = Pairs(
    "folders",
    "images/ and masks/, or train/ and test/ (and perhaps val/) each with images/ and masks/",
    rule="the folders train/, test/ (and val/ where it is there)",
    forms=(
        tuple(Part(s, under(f, IMAGES), under(f, MASKS), opt) for s, f, opt in _OF_SPLITS),
        tuple(Part(s, under(IMAGES, f), under(MASKS, f), opt) for s, f, opt in _OF_SPLITS),
        (Part("", IMAGES, MASKS),),
    ),
    nested=True,
)
