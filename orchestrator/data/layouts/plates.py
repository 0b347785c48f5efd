"""Car licence plates (Kaggle): boxes only, in Pascal VOC's XML; a mask is the filled box."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.data.check import BadMask
from orchestrator.data.codings import encode_labels
from orchestrator.data.layouts.base import ANY, Found, Item, Layout, Made, files, stem, suffix
from orchestrator.data.schema import Object, Skipped


@dataclass(frozen=True)
class Plates(Layout):
    """Each plate is an instance. That its mask is the whole box is our reading: the set has no masks."""

    def find(self, source: Path) -> Found:
        root = self.locate_paths(source, "images", "annotations")
        annotated = {stem(name) for name in files(root / "annotations") if name.endswith(".xml")}

        def told() -> Iterator[Item | Skipped]:
            for name in files(root / "images"):
                key, image = stem(name), f"images/{name}"
                if suffix(name).lower() not in ANY:
                    continue
                if key in annotated:
                    yield Item(key, "", image, f"annotations/{key}.xml")
                else:
                    yield Skipped(image, f"it has no annotation (looked for annotations/{key}.xml)")

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        try:
            # the parser of Python's library expands no external entities; a file of its own is no threat
            tree = ElementTree.fromstring((root / item.mask).read_bytes())
            width, height = (int(_text(tree, f"size/{side}")) for side in ("width", "height"))
            boxes = [
                tuple(float(_text(node, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
                for node in tree.findall("object")
            ]
            if not 0 < width * height <= 2**28:
                raise ValueError(f"a size of {width}x{height}")
        except (ElementTree.ParseError, ValueError) as error:
            raise BadMask(f"not an annotation of Pascal VOC ({error})") from error
        labels = np.zeros((height, width), np.uint16)
        objects = []
        for value, (x0, y0, x1, y1) in enumerate(boxes, 1):
            labels[max(0, round(y0)) : round(y1) + 1, max(0, round(x0)) : round(x1) + 1] = value
            objects.append(Object(value, 0, box=(x0, y0, x1, y1)))
        return Made(encode_labels(labels), tuple(objects), listed=True)


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
