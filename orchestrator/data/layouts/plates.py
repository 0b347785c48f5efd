"""Car licence plates (Kaggle): boxes only, in Pascal VOC's XML; a mask is the filled box."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.data.check import BadMask, image_size
from orchestrator.data.codings import encode_labels
from orchestrator.data.layouts.base import ANY, Found, Item, Layout, Made, files, orphans, stem, suffix
from orchestrator.data.schema import Object, Skipped


@dataclass(frozen=True)
class Plates(Layout):
    """Each plate is an instance. That its mask is the whole box is our reading: the set has no masks.

    Coordinates are taken as pixels counted from 0, both ends inside; the set does not say.
    """

    def find(self, source: Path) -> Found:
        root = self.locate_paths(source, "images", "annotations")
        annotated = {stem(name) for name in files(root / "annotations") if name.endswith(".xml")}

        def told() -> Iterator[Item | Skipped]:
            seen: set[str] = set()
            for name in files(root / "images"):
                key, image = stem(name), f"images/{name}"
                if suffix(name).lower() not in ANY:
                    continue
                if key in annotated:
                    seen.add(key)
                    yield Item(key, "", image, f"annotations/{key}.xml")
                else:
                    yield Skipped(image, f"it has no annotation (looked for annotations/{key}.xml)")

            yield from orphans({key: f"annotations/{key}.xml" for key in annotated}, seen)

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        width, height = image_size(root / item.image)
        try:
            # the parser of Python's library expands no external entities; a file of its own is no threat
            tree = ElementTree.fromstring((root / item.mask).read_bytes())
            told = int(_text(tree, "size/width")), int(_text(tree, "size/height"))
            boxes = [_box(node, width, height) for node in tree.findall("object")]
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise BadMask(f"not an annotation of Pascal VOC ({error})") from error
        if told != (width, height):
            raise BadMask(f"tells of {told[0]}x{told[1]} pixels, but its image has {width}x{height}")
        labels = np.zeros((height, width), np.uint16)
        objects = []
        for value, (x0, y0, x1, y1) in enumerate(boxes, 1):
            labels[round(y0) : round(y1) + 1, round(x0) : round(x1) + 1] = value
            objects.append(Object(value, 0, box=(x0, y0, x1, y1)))
        return Made(encode_labels(labels), tuple(objects), listed=True)


def _box(node: ElementTree.Element, width: int, height: int) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of an object. Raises ValueError for one that is empty or leaves the image."""
    x0, y0, x1, y1 = (float(_text(node, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"a box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})")
    return x0, y0, x1, y1


def _text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ValueError(f"no {path}")
    return text


PLATES = Plates(
    "plates",
    "images/ and annotations/ with an XML file of Pascal VOC for each image",
    coding="instances",
    classes=("licence",),
)
