"""From a source folder to the ordered items of it, each with its split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.data.grouping import held_out
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.layouts.base import SPLITS, Found, Item, visible
from orchestrator.data.schema import Skipped
from orchestrator.errors import UserError, unknown

TEST_FRACTION = 0.2


def find_items(layout: str, source: Path, seed: int = 42, coding: str = "binary") -> Found:
    """What a layout finds under ``source``, with the split drawn where it has none.

    ``coding`` is that of the masks where the layout does not say. Raises UserError for an unknown or wrong
    layout, a missing or empty folder, or where no image is left.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    try:
        _check_source(source)
        found = LAYOUTS[layout].find(source)
    except OSError as error:
        where = error.filename or source
        advice = (
            "look whether the download is complete" if isinstance(error, FileNotFoundError) else "mend its permissions"
        )
        raise UserError(f"{where}: cannot be read ({error.strerror}); {advice}") from error
    found.coding = found.coding or coding
    _drop_unusable(found)
    if any(not item.split for item in found.items):
        found.items, found.split_rule = _drawn(found, seed)
    found.split_rule = "; ".join([found.split_rule, *found.notes, *_cut_groups(found.items)])
    rank = {split: number for number, split in enumerate(SPLITS)}
    found.items.sort(key=lambda item: (rank[item.split], item.id))
    return found


def _drop_unusable(found: Found) -> None:
    """Make problems of items whose id is taken in their split, or whose name no row can hold."""
    taken: dict[tuple[str, str], str] = {}
    usable = []
    for item in found.items:
        other = taken.setdefault((item.split, item.id), item.image)
        if not _is_utf8(item.image + item.mask):
            readable = item.image.encode("utf-8", "backslashreplace").decode()
            found.problems.append(Skipped(readable, "its name is not UTF-8"))
        elif other is not item.image:
            found.problems.append(Skipped(item.image, f"two files of one name (the other: {other})"))
        else:
            usable.append(item)
    found.items = usable


def _is_utf8(name: str) -> bool:
    try:
        os.fsencode(name).decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_source(source: Path) -> None:
    if not source.exists():
        raise UserError(f"{source}: no such folder; give the folder of the dataset with --source")
    if not source.is_dir():
        raise UserError(f"{source}: not a folder; unpack it and give the folder with --source")
    if not visible(source):
        raise UserError(f"{source}: the folder is empty; give the folder of the dataset with --source")


def _drawn(found: Found, seed: int) -> tuple[list[Item], str]:
    """The items, each in train or test, whole groups together; and the rule in words."""
    items = found.items
    count = round(TEST_FRACTION * len(items))
    test = held_out([i.id for i in items], [i.group for i in items], count, seed)
    if not test:
        raise UserError(
            f"{found.root}: too little to split into train and test (images: {len(items)}, all of one "
            "group); give more, or folders train/ and test/"
        )
    kind = "groups" if any(item.group for item in items) else "names"
    rule = f"80/20 train/test by a permutation of the sorted {kind} with seed {seed}"
    return [replace(item, split="test" if i in test else "train") for i, item in enumerate(items)], rule


def _cut_groups(items: Sequence[Item]) -> list[str]:
    """What to say of groups that the source's own folders put into several splits."""
    splits: dict[str, set[str]] = {}
    for item in items:
        if item.group:
            splits.setdefault(item.group, set()).add(item.split)
    cut = sorted(group for group, where in splits.items() if len(where) > 1)
    return [f"its own folders put {len(cut)} groups into several splits ({', '.join(cut[:3])})"] if cut else []
