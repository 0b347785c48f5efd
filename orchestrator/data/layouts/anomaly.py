"""MVTec-AD: a folder a category; good images have no mask file, which means an empty mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.data.check import image_size
from orchestrator.data.codings import encode_labels
from orchestrator.data.layouts.base import ANY, Found, Item, Layout, Made, files, orphans, stem, subfolders, suffix
from orchestrator.data.schema import Skipped

GOOD = "good"


@dataclass(frozen=True)
class MVTec(Layout):
    """CATEGORY/train/good, CATEGORY/test/DEFECT and CATEGORY/ground_truth/DEFECT."""

    def find(self, source: Path) -> Found:
        root, categories = self.locate(source, _categories)

        def told() -> Iterator[Item | Skipped]:
            seen: set[str] = set()
            masks: dict[str, str] = {}
            for category in categories:
                below = category + "/ground_truth"
                masks |= {f"{below}/{name}": f"{below}/{name}" for name in _masks(root / below)}
                for split in ("train", "test"):
                    for folder in subfolders(root / category / split):
                        for name in files(folder):
                            if suffix(name).lower() not in ANY:
                                continue
                            key = f"{category}/{split}/{folder.name}/{stem(name)}"
                            image = f"{category}/{split}/{folder.name}/{name}"
                            mask = f"{category}/ground_truth/{folder.name}/{stem(name)}_mask.png"
                            seen.add(mask)
                            if folder.name == GOOD:
                                yield Item(key, split, image)
                            elif (root / mask).exists():
                                yield Item(key, split, image, mask)
                            else:
                                yield Skipped(image, f"it has no mask (looked for {mask})")

            yield from orphans(masks, seen)

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        if item.mask:
            return super().make(root, item)
        width, height = image_size(root / item.image)
        return Made(encode_labels(np.zeros((height, width), np.uint8)))


def _masks(folder: Path) -> list[str]:
    return [name for name in files(folder, nested=True) if name.endswith("_mask.png")] if folder.is_dir() else []


def _categories(root: Path) -> list[str] | None:
    found = [sub.name for sub in subfolders(root) if (sub / "train" / GOOD).is_dir() and (sub / "test").is_dir()]
    return found or None


MVTEC = MVTec(
    "mvtec",
    "a folder a category, each with train/good/, test/ and ground_truth/",
    rule="the official split (train holds good images only, test both)",
    coding="binary",
)
