"""CelebAMask-HQ: one PNG a facial part, half the image's size, and a split by way of CelebA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.data.check import BadMask, open_image
from orchestrator.data.codings import encode_labels
from orchestrator.data.layouts.base import Found, Item, Layout, Made, files, is_number, read_text
from orchestrator.data.schema import Skipped
from orchestrator.errors import UserError

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
A_FOLDER = 2000  #: faces whose parts lie in one folder
VAL_FROM, TEST_FROM = 162_771, 182_638  #: CelebA's numbers, as the data set's g_partition.py has them

#: In the order of the data set's g_mask.py: where parts overlap, the later one wins.
PARTS = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip",
    "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip


@dataclass(frozen=True)
class CelebAMask(Layout):
    """A face's parts become one class map: 0 is background, k the k-th of ``PARTS``.

    On disk skin has no holes where eyes, nose and mouth are, and neither have glasses; a class map cannot say so, and
    ``wholes`` does.
    """

    def find(self, source: Path) -> Found:
        root = self.locate_paths(source, IMAGES, MASKS, MAPPING)
        return self.found(root, _faces(root))

    def sources(self, root: Path, item: Item) -> list[str]:
        return [item.image, *(f"{item.mask}_{part}.png" for _, part in _shown(item))]

    def make(self, root: Path, item: Item) -> Made:
        labels: np.ndarray | None = None
        for value, part in _shown(item):
            plane = np.asarray(open_image((root / f"{item.mask}_{part}.png").read_bytes()).convert("L"))
            if labels is None:
                labels = np.zeros(plane.shape, np.uint8)
            if plane.shape != labels.shape:
                raise BadMask(f"part '{part}' has another size than those before it")
            labels[plane > 0] = value
        assert labels is not None
        return Made(encode_labels(labels))


def _faces(root: Path) -> Iterator[Item | Skipped]:
    splits, with_parts = _splits(root / MAPPING), _with_parts(root)
    seen: set[int] = set()
    for name in files(root / IMAGES):
        number = name.rpartition(".")[0]
        if not is_number(number) or not name.lower().endswith(".jpg"):
            continue
        key, image = int(number), f"{IMAGES}/{name}"
        parts = f"{MASKS}/{key // A_FOLDER}/{key:05d}"
        seen.add(key)
        if key not in splits:
            yield Skipped(image, f"is not in {MAPPING}")
        elif key not in with_parts:
            yield Skipped(image, f"it has no mask (looked for {parts}_*.png)")
        else:
            yield Item(f"{key:05d}", splits[key], image, parts, extra=with_parts[key])
    for key in sorted(with_parts.keys() - seen):
        yield Skipped(
            f"{MASKS}/{key // A_FOLDER}/{key:05d}_*.png", f"masks without their image (looked for {IMAGES}/{key}.jpg)"
        )


def _shown(item: Item) -> list[tuple[int, str]]:
    """The values and names of a face's parts; one that cannot be seen has no file."""
    return [(value, part) for value, part in enumerate(PARTS, 1) if item.extra >> value & 1]


def _with_parts(root: Path) -> dict[int, int]:
    """The parts that each face has files of, as bits."""
    values = {part: value for value, part in enumerate(PARTS, 1)}
    found: dict[int, int] = {}
    for name in files(root / MASKS, nested=True):
        number, _, part = name.rpartition("/")[2].removesuffix(".png").partition("_")
        if is_number(number) and part in values:
            found[int(number)] = found.get(int(number), 0) | 1 << values[part]
    return found


def _splits(path: Path) -> dict[int, str]:
    """The split of each face by its number in CelebA: the second column of three, below a header."""
    splits = {}
    for number, line in enumerate(read_text(path).split("\n")[1:], 2):
        if not line.strip():
            continue
        try:
            key, original = (int(word) for word in line.split()[:2])
        except ValueError:
            raise UserError(f"{path}: line {number} is not 'idx orig_idx orig_file'; download it again") from None
        splits[key] = "train" if original < VAL_FROM else "val" if original < TEST_FROM else "test"
    return splits


CELEBAMASK = CelebAMask(
    "celebamask",
    f"{IMAGES}/, {MASKS}/ and {MAPPING}",
    rule="CelebA's own split through the mapping file, as g_partition.py draws it",
    coding="classes",
    classes=("background", *PARTS),
    wholes={
        "skin": ("nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip"),
        "eye_g": ("l_eye", "r_eye"),
    },
    mask_scale=0.5,
)
