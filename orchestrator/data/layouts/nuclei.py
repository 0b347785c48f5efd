"""DSB 2018: a folder an image, with one mask a nucleus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.data.check import BadMask, open_image
from orchestrator.data.codings import encode_labels
from orchestrator.data.layouts.base import Found, Item, Layout, Made, files, subfolders
from orchestrator.data.schema import Object, Skipped

STAGE = "stage1_train"


@dataclass(frozen=True)
class Nuclei(Layout):
    """ID/images/ID.png and ID/masks/*.png become one label map. Where two masks overlap, the later one wins."""

    def find(self, source: Path) -> Found:
        root, folder = self.locate(source, _holds)

        def told() -> Iterator[Item | Skipped]:
            for sub in subfolders(root / folder):
                key, at = sub.name, f"{folder}{sub.name}"
                image = f"{at}/images/{key}.png"
                if not (root / image).exists():
                    yield Skipped(at, f"it has no image (looked for images/{key}.png)")
                elif not (sub / "masks").is_dir():
                    yield Skipped(image, f"it has no mask (looked for {at}/masks/*.png)")
                else:
                    yield Item(key, "", image, f"{at}/masks")

        return self.found(root, told())

    def sources(self, root: Path, item: Item) -> list[str]:
        return [item.image, *(f"{item.mask}/{name}" for name in files(root / item.mask) if name.endswith(".png"))]

    def make(self, root: Path, item: Item) -> Made:
        labels: np.ndarray | None = None
        for value, name in enumerate(self.sources(root, item)[1:], 1):
            plane = np.asarray(open_image((root / name).read_bytes()).convert("L"))
            if labels is None:
                labels = np.zeros(plane.shape, np.uint16)
            if plane.shape != labels.shape:
                raise BadMask(f"{name} has another size than the masks before it")
            labels[plane > 127] = value
        if labels is None:
            raise BadMask("no mask of a nucleus lies there")
        shown = np.unique(labels)
        objects = tuple(Object(int(value), 0) for value in shown[shown > 0])
        return Made(encode_labels(labels), objects, listed=True)


def _holds(root: Path) -> str | None:
    """Where the images' folders lie below ``root``: the zip unpacks flat where it is taken alone."""
    if (root / STAGE).is_dir():
        return f"{STAGE}/"
    first = next(iter(subfolders(root)), None)
    return "" if first and (first / "images" / f"{first.name}.png").exists() else None


DSB2018 = Nuclei(
    "dsb2018",
    f"{STAGE}/ with ID/images/ID.png and ID/masks/*.png",
    coding="instances",
    classes=("nucleus",),
)
