"""COCO's panoptic format: PNGs of segment ids, and a JSON that tells each segment's category."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ijson
import numpy as np

from orchestrator.data.layouts.base import Found, Item, Layout, Made
from orchestrator.data.schema import Object, Skipped
from orchestrator.errors import UserError


@dataclass(frozen=True)
class Split:
    """Where one split lies."""

    split: str
    json: str
    masks: tuple[str, ...]  #: alternatives
    images: str


@dataclass(frozen=True)
class Panoptic(Layout):
    """The JSON is read piece by piece: COCO's is hundreds of megabytes."""

    splits: tuple[Split, ...] = ()

    def find(self, source: Path) -> Found:
        root, held = self.locate(source, self._held)
        told: list[Item | Skipped] = []
        classes: tuple[str, ...] = ()
        for part in held:
            path = root / part.json
            masks = next((m for m in part.masks if (root / m).is_dir()), part.masks[0])
            try:
                positions, names = _categories(path)
                told += _items(root, path, part, masks, positions)
            except (ijson.JSONError, LookupError, TypeError, ValueError, ArithmeticError) as error:
                raise UserError(f"{path}: damaged ({type(error).__name__}: {error}); download it again") from error
            if classes and names != classes:
                raise UserError(f"{path}: lists other categories than the split before it; download both again")
            classes = names
        return self.found(root, told, classes=classes)

    def _held(self, root: Path) -> list[Split] | None:
        held = [part for part in self.splits if (root / part.json).exists() and (root / part.images).is_dir()]
        return held or None

    def make(self, root: Path, item: Item) -> Made:
        segments = np.frombuffer(item.extra, np.int32).reshape(-1, 3).tolist()
        objects = tuple(Object(value, category, bool(crowd)) for value, category, crowd in segments)
        return Made(super().make(root, item).mask, objects, listed=True)


def _categories(path: Path) -> tuple[dict[int, int], tuple[str, ...]]:
    """The position of each category's id, and their names in that order."""
    with path.open("rb") as file:
        found = sorted((int(c["id"]), str(c["name"]).strip()) for c in ijson.items(file, "categories.item"))
    if not found:
        raise ValueError("no categories")
    return {number: at for at, (number, _) in enumerate(found)}, tuple(name for _, name in found)


def _items(root: Path, path: Path, part: Split, masks: str, positions: dict[int, int]) -> Iterator[Item | Skipped]:
    """The items that a split's JSON lists, each with its segments as int32 (id, category, crowd)."""
    with path.open("rb") as file:
        for told in ijson.items(file, "annotations.item", use_float=True):
            name = str(told["file_name"])
            if Path(name).name != name:
                raise ValueError(f"file_name '{name}' is no plain name")
            key = name.removesuffix(".png")
            image, mask = f"{part.images}/{key}.jpg", f"{masks}/{name}"
            missing = next((p for p in (image, mask) if not (root / p).exists()), None)
            if missing:
                yield Skipped(missing, f"is not there, but {part.json} lists it")
            else:
                yield Item(key, part.split, image, mask, extra=_segments(told["segments_info"], positions))


def _segments(told: list[dict[str, Any]], positions: dict[int, int]) -> bytes:
    rows = [(int(s["id"]), positions[int(s["category_id"])], int(s.get("iscrowd", 0))) for s in told]
    return np.array(rows, np.int32).reshape(-1, 3).tobytes()


_RULE = "the official split; val, whose labels are public, is the test split"

COCO_PANOPTIC = Panoptic(
    "coco_panoptic",
    "train2017/, val2017/ and annotations/ with panoptic_train2017.json and panoptic_val2017.json, PNGs unpacked",
    rule=_RULE,
    coding="panoptic",
    splits=tuple(
        Split(
            split,
            f"annotations/panoptic_{name}.json",
            (f"annotations/panoptic_{name}", f"panoptic_{name}"),
            name,
        )
        for split, name in (("train", "train2017"), ("test", "val2017"))
    ),
)

ADE20K_PANOPTIC = Panoptic(
    "ade20k_panoptic",
    "ADEChallengeData2016: images/, and ade20k_panoptic_train/ and _val/ with their JSON (prepare_ade20k_pan_seg.py)",
    rule=_RULE,
    coding="panoptic",
    splits=tuple(
        Split(split, f"ade20k_panoptic_{name}.json", (f"ade20k_panoptic_{name}",), f"images/{folder}")
        for split, name, folder in (("train", "train", "training"), ("test", "val", "validation"))
    ),
)
