"""Signs in the streets of Mapillary Vistas: what advertises or informs becomes an instance, all else background."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.check import BadMask
from orchestrator.data.codings import encode_labels, instance_map
from orchestrator.data.layouts.base import JPG, PNG, Found, Item, Layout, Made, files, orphans, read_json, stem, suffix
from orchestrator.data.schema import Object, Skipped
from orchestrator.errors import UserError

#: Vistas' names of what becomes an instance, and ours. Version 1.2 has banners and billboards only.
SIGNS = {
    "object--banner": "banner",
    "object--billboard": "billboard",
    "object--sign--advertisement": "advertisement",
    "object--sign--store": "store sign",
    "object--sign--information": "information sign",
    "object--sign--other": "other sign",
}
PER_LABEL = 256  #: a pixel of its instance masks is label * 256 + instance
#: Of each version, the newest first: its list of labels, and where the masks of a split lie.
VERSIONS = (
    ("config_v2.0.json", "{}/v2.0/instances"),
    ("config_v1.2.json", "{}/v1.2/instances"),
    ("config.json", "{}/instances"),
)
_SPLITS = (("train", "training"), ("test", "validation"))  # the labels of testing/ are not public


@dataclass(frozen=True)
class VistasSigns(Layout):
    """training/ and validation/; a picture without a sign stays, with an empty mask."""

    def find(self, source: Path) -> Found:
        root, (config, masks) = self.locate(source, _holds)
        signs = _signs(root / config)

        def told() -> Iterator[Item | Skipped]:
            for split, folder in _SPLITS:
                images, instances = root / folder / "images", masks.format(folder)
                if not images.is_dir() or not (root / instances).is_dir():
                    continue
                named = {stem(n): f"{instances}/{n}" for n in files(root / instances) if suffix(n).lower() in PNG}
                seen: set[str] = set()
                for name in files(images):
                    key, image = stem(name), f"{folder}/images/{name}"
                    if suffix(name).lower() not in JPG:
                        continue
                    seen.add(key)
                    if key in named:
                        yield Item(key, split, image, named[key], extra=signs)
                    else:
                        yield Skipped(image, f"it has no mask (looked for {instances}/{key}.png)")
                yield from orphans(named, seen)

        return self.found(root, told(), split_rule=f"{self.rule}; labels of {config}")

    def make(self, root: Path, item: Item) -> Made:
        found = instance_map((root / item.mask).read_bytes())
        values, places = np.unique(found, return_inverse=True)
        numbers = np.zeros(len(values), np.uint16)
        objects: list[Object] = []
        signs: dict[int, tuple[int, bool]] = item.extra
        for place, value in enumerate(values.tolist()):
            if value // PER_LABEL in signs:
                category, crowd = signs[value // PER_LABEL]
                objects.append(Object(len(objects) + 1, category, crowd))
                numbers[place] = len(objects)
        if int(values[-1]) < PER_LABEL and len(values) > 1:
            raise BadMask(f"not label * {PER_LABEL} + instance: no value above {int(values[-1])}; is it a class map?")
        return Made(encode_labels(numbers[places].reshape(found.shape)), tuple(objects), listed=True)


def _holds(root: Path) -> tuple[str, str] | None:
    for config, masks in VERSIONS:
        if (root / config).exists() and (root / masks.format("training")).is_dir():
            return config, masks
    return None


def _signs(path: Path) -> dict[int, tuple[int, bool]]:
    """The numbers of the labels that are signs: each one's class, and whether its instances were not told apart."""
    ours = list(SIGNS)
    try:
        labels: list[dict[str, Any]] = read_json(path, dict)["labels"]
        names = [str(label["name"]) for label in labels]
        found = {
            number: (ours.index(name), not labels[number].get("instances", True))
            for number, name in enumerate(names)
            if name in SIGNS
        }
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a list of labels ({type(error).__name__}: {error}); download it again") from error
    if not found:
        raise UserError(f"{path}: none of its {len(names)} labels is a sign; take the one that came with the masks")
    return found


MAPILLARY_SIGNS = VistasSigns(
    "mapillary_signs",
    "training/ and validation/ with images/ and (v2.0/)instances/, and config_v2.0.json (or that of version 1.2)",
    rule="the official split; validation, whose labels are public, is the test split",
    coding="instances",
    classes=tuple(SIGNS.values()),
)
