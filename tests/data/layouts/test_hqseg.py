"""HQSeg-44K's thin objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data_samples import ground, picture
from layout_samples import labels, put, samples, taken


def test_hqseg(source: Path) -> None:
    for folder, masks in (
        ("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
        ("cascade_psp/DUTS-TR", "cascade_psp/DUTS-TR"),
        ("thin_object_detection/HRSOD/images", "thin_object_detection/HRSOD/masks_max255"),
        ("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
    ):
        put(source / folder / "one.jpg", picture())
        put(source / masks / "one.png", np.repeat(ground()[..., None], 3, axis=2))
    (source / "thin_object_detection/HRSOD/masks").mkdir()
    dataset = taken(source, "hqseg")
    assert sorted(samples(dataset, "train")) == ["DIS-TR/one", "DUTS-TR/one"]
    assert sorted(samples(dataset, "test")) == ["DIS-VD/one", "HRSOD/one"]


def test_soft_masks_of_thin_objects(source: Path) -> None:
    soft = labels(*range(0, 256, 16))
    for at in ("cascade_psp/DUTS-TR", "thin_object_detection/COIFT"):
        images, masks = (at, at) if "DUTS" in at else (f"{at}/images", f"{at}/masks")
        put(source / images / "a.jpg", picture())
        put(source / masks / "a.png", soft)
    (one,) = samples(taken(source, "hqseg"), "test").values()
    assert np.array_equal(one.mask, soft > 127)
