"""Stanford2D3D (2D-3D-S): indoor panoramas whose pixels point into a list of object names."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.check import BadMask
from orchestrator.data.codings import VOID, encode_labels, panoptic_map
from orchestrator.data.layouts.base import Found, Item, Layout, Made, files, orphans, read_json, subfolders
from orchestrator.data.schema import Skipped

CLASSES = (
    "beam", "board", "bookcase", "ceiling", "chair", "clutter", "column", "door", "floor", "sofa", "table", "wall",
    "window",
)  # fmt: skip
NAMES = ("assets/semantic_labels.json", "semantic_labels.json")
TEST_AREAS = ("5a", "5b")


@dataclass(frozen=True)
class Stanford2D3D(Layout):
    """area_N/pano/rgb and area_N/pano/semantic. A pixel is 65536 R + 256 G + B into semantic_labels.json."""

    def find(self, source: Path) -> Found:
        root, (areas, labels) = self.locate(source, _holds)

        def told() -> Iterator[Item | Skipped]:
            for area in areas:
                seen: set[str] = set()
                number = area.removeprefix("area_")
                split = "test" if number in TEST_AREAS else "train"
                for name in files(root / area / "pano/rgb"):
                    key = name.removesuffix("_rgb.png")
                    image, mask = f"{area}/pano/rgb/{name}", f"{area}/pano/semantic/{key}_semantic.png"
                    if key == name:
                        continue
                    seen.add(key)
                    if (root / mask).exists():
                        yield Item(f"{area}/{key}", split, image, mask, f"area_{number.rstrip('ab')}", extra=labels)
                    else:
                        yield Skipped(image, f"it has no mask (looked for {mask})")

                masks = [n for n in files(root / area / "pano/semantic") if n.endswith("_semantic.png")]
                yield from orphans({n.removesuffix("_semantic.png"): f"{area}/pano/semantic/{n}" for n in masks}, seen)

        _classes_of(root / labels)  # said at once where it cannot be read
        return self.found(root, told())

    def sources(self, root: Path, item: Item) -> list[str]:
        return [item.image, item.mask, item.extra]

    def make(self, root: Path, item: Item) -> Made:
        classes = _classes_of(root / item.extra)
        numbers = panoptic_map((root / item.mask).read_bytes())
        # that map is R + 256 G + 65536 B; here red is the highest byte. Missing pixels are 0x0D0D0D.
        index = (numbers & 255) << 16 | numbers & 0xFF00 | numbers >> 16
        if ((index < 0x0D0D0D) & (index >= len(classes) - 1)).any():
            raise BadMask(f"points beyond the {len(classes) - 1} names of {item.extra}")
        return Made(encode_labels(classes[np.minimum(index, len(classes) - 1)]))


def _holds(root: Path) -> tuple[list[str], str] | None:
    """The areas below ``root`` and where the list of names lies."""
    areas = [sub.name for sub in subfolders(root) if sub.name.startswith("area_") and (sub / "pano/rgb").is_dir()]
    labels = next((name for name in NAMES if (root / name).exists()), None)
    return (areas, labels) if areas and labels else None


@functools.cache  # asked for at every item
def _classes_of(path: Path) -> NDArray[np.uint8]:
    """The class of each name of the list (``chair_3_office_2_1``), and void behind its end."""
    words = [str(name).partition("_")[0] for name in read_json(path, list)]
    known = {name: number for number, name in enumerate(CLASSES)}
    return np.array([*(known.get(word, VOID) for word in words), VOID], np.uint8)


STANFORD2D3D = Stanford2D3D(
    "stanford2d3d",
    "area_1/ to area_6/ with pano/rgb/ and pano/semantic/, and semantic_labels.json (or in assets/)",
    rule="official fold 1: area 5 tests, the others train",
    coding="classes",
    classes=CLASSES,
)
