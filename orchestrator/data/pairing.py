"""From a source folder to the ordered pairs of image and mask in it, and whatever cannot be paired."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.data.grouping import held_out
from orchestrator.data.layouts import ANY, LAYOUTS, Layout, Place, locate, visible
from orchestrator.data.schema import Skipped
from orchestrator.errors import UserError, unknown

TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Pair:
    """An image and its mask on disk."""

    id: str
    image: Path
    mask: Path
    split: str
    group: str


@dataclass
class Found:
    """What a source folder holds."""

    root: Path  #: the folder that holds the layout; all names below are relative to it
    pairs: list[Pair] = field(default_factory=list)  #: by split (train, val, test), then by id
    problems: list[Skipped] = field(default_factory=list)  #: missing masks and the like
    split_rule: str = ""

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def find_pairs(layout_name: str, source: Path, seed: int = 42) -> Found:
    """Pair every image of a layout with its mask, and draw the split where the layout has none.

    Raises UserError for an unknown or wrong layout, a missing or empty folder, or where no image is left.
    """
    if layout_name not in LAYOUTS:
        raise unknown("layout", layout_name, LAYOUTS)
    try:
        return _find(LAYOUTS[layout_name], source, seed)
    except OSError as error:
        where = error.filename or source
        raise UserError(f"{where}: cannot be read ({error.strerror}); mend its permissions") from error


def _find(layout: Layout, source: Path, seed: int) -> Found:
    _check_source(source)
    root, places = locate(layout, source)
    found = Found(root)
    used: dict[Path, set[str]] = {}
    left_out: Counter[str] = Counter()
    for place in places:
        used.setdefault(place.masks, set()).update(_pair_place(layout, place, found, left_out))
    _report_orphans(layout, places, used, found)
    _count_others(places, left_out)
    if not found.pairs and not found.problems:
        where = ", ".join(found.name(place.images) + "/" for place in places)
        wanted = f" named {layout.prefix}*" if layout.prefix else ""
        raise UserError(f"{root}: no images{wanted} in {where}; look whether the download is complete")
    _apply_split(layout, found, seed, left_out)
    return found


def _check_source(source: Path) -> None:
    if not source.exists():
        raise UserError(f"{source}: no such folder; give the folder of the dataset with --source")
    if not source.is_dir():
        raise UserError(f"{source}: not a folder; unpack it and give the folder with --source")
    if not visible(source):
        raise UserError(f"{source}: the folder is empty; give the folder of the dataset with --source")


def _files(folder: Path, nested: bool) -> list[Path]:
    """The visible files of a folder (and of those below it, where ``nested``), sorted."""
    files = []
    for path in visible(folder):
        if not path.is_dir():
            files.append(path)
        elif nested:
            files += _files(path, nested)
    return files


def _by_id(folder: Path, layout: Layout, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """Files by id: the path below ``folder`` without its suffix, in one Unicode form."""
    named: dict[str, list[Path]] = {}
    for path in _files(folder, layout.nested):
        if path.suffix.lower() in suffixes and path.name.startswith(layout.prefix):
            stem = path.relative_to(folder).with_suffix("").as_posix()
            named.setdefault(unicodedata.normalize("NFC", stem), []).append(path)
    return named


def _pair_place(layout: Layout, place: Place, found: Found, left_out: Counter[str]) -> set[str]:
    """Add the pairs and problems of one place; returns the ids of its images."""
    images = _by_id(place.images, layout, layout.image_suffixes)
    masks = _by_id(place.masks, layout, layout.mask_suffixes)
    for item, paths in sorted(images.items()):
        problem = _problem(item, paths, masks.get(item, []), place, found)
        if problem:
            found.problems.append(problem)
        else:
            group = _group(layout, item)
            found.pairs.append(Pair(item, paths[0], masks[item][0], place.split, group))
    if layout.prefix:
        everything = _by_id(place.images, replace(layout, prefix=""), layout.image_suffixes)
        left_out[f"images not named {layout.prefix}* left out"] += len(everything) - len(images)
    return set(images)


def _problem(item: str, images: list[Path], masks: list[Path], place: Place, found: Found) -> Skipped | None:
    name = found.name(images[0])
    for paths in (images, masks):
        if len(paths) > 1:
            others = ", ".join(found.name(path) for path in paths[1:])
            return Skipped(found.name(paths[0]), f"two files of one name (the other: {others})")
    try:
        os.fsencode(name).decode()
    except UnicodeDecodeError:
        readable = name.encode("utf-8", "backslashreplace").decode()
        return Skipped(readable, "its name is not UTF-8")
    if not masks:
        return Skipped(name, f"it has no mask (looked for {found.name(place.masks)}/{item}.*)")
    return None


def _group(layout: Layout, item: str) -> str:
    if layout.scenes:
        return item.split("-")[0] if "-" in item else ""
    return item.rpartition("/")[0] if layout.nested else ""


def _report_orphans(layout: Layout, places: list[Place], used: dict[Path, set[str]], found: Found) -> None:
    """Masks without an image are a problem: one of the two was lost or misnamed."""
    for folder, ids in used.items():
        looked = " or ".join(found.name(p.images) for p in places if p.masks == folder)
        for item, paths in sorted(_by_id(folder, layout, layout.mask_suffixes).items()):
            if item not in ids:
                reason = f"a mask without its image (looked for {looked}/{item}.*)"
                found.problems.append(Skipped(found.name(paths[0]), reason))


def _count_others(places: list[Place], left_out: Counter[str]) -> None:
    for folder in {path for place in places for path in (place.images, place.masks)}:
        others = [path for path in _files(folder, nested=False) if path.suffix.lower() not in ANY]
        left_out["files that are no images ignored"] += len(others)


def _apply_split(layout: Layout, found: Found, seed: int, left_out: Counter[str]) -> None:
    rule = layout.rule
    if any(not pair.split for pair in found.pairs):
        found.pairs = _drawn(found, seed)
        kind = "groups" if any(pair.group for pair in found.pairs) else "names"
        rule = f"80/20 train/test by a permutation of the sorted {kind} with seed {seed}"
    notes = [f"{count} {what}" for what, count in left_out.items() if count]
    found.split_rule = "; ".join([rule, *notes])
    rank = {"train": 0, "val": 1, "test": 2}
    found.pairs.sort(key=lambda pair: (rank[pair.split], pair.id))


def _drawn(found: Found, seed: int) -> list[Pair]:
    pairs = found.pairs
    count = round(TEST_FRACTION * len(pairs))
    test = held_out([p.id for p in pairs], [p.group for p in pairs], count, seed)
    if not test:
        raise UserError(
            f"{found.root}: too little to split into train and test (images: {len(pairs)}, all of one "
            "group); give more, or folders train/ and test/"
        )
    return [replace(p, split="test" if i in test else "train") for i, p in enumerate(pairs)]
