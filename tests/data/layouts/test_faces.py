"""CelebAMask-HQ's parts of faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import picture
from layout_samples import labels, put, samples, taken

from orchestrator.errors import UserError


def test_celebamask(source: Path) -> None:
    root = source / "CelebAMask-HQ"
    numbers = {0: 119613, 1: 162771, 2: 182638, 2001: 0}
    for k in numbers:
        put(root / f"CelebA-HQ-img/{k}.jpg", picture(k, 64, 64))
        parts = root / f"CelebAMask-HQ-mask-anno/{k // 2000}"
        put(parts / f"{k:05d}_skin.png", np.repeat(labels(255, 255, high=32)[..., None], 3, axis=2))
        put(parts / f"{k:05d}_nose.png", np.repeat(labels(0, 255, high=32)[..., None], 3, axis=2))
        if k == 0:
            put(parts / f"{k:05d}_hair.png", labels(255, 0, 0, 0, high=32))
    lines = [f"{k}          {orig}     {orig + 1:06d}.jpg" for k, orig in numbers.items()]
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(["idx  orig_idx  orig_file", *lines]) + "\n")
    dataset = taken(source, "celebamask_hq")
    assert {s: sorted(samples(dataset, s)) for s in ("train", "val", "test")} == {
        "train": ["00000", "02001"],
        "val": ["00001"],
        "test": ["00002"],
    }
    assert len(dataset.manifest.classes) == 19 and dataset.manifest.classes[13] == "hair"
    face = samples(dataset, "train")["00000"]
    assert face.image.shape == (64, 64, 3) and face.labels is not None and face.labels.shape == (32, 32)
    assert np.array_equal(face.labels, labels(13, 1, 2, 2, high=32)), "the later part of g_mask.py's order wins"


def test_celebamask_whose_mask_is_not_half(source: Path) -> None:
    put(source / "CelebA-HQ-img/0.jpg", picture(0, 64, 64))
    put(source / "CelebAMask-HQ-mask-anno/0/00000_skin.png", labels(255, high=64, wide=64))
    (source / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 5 000006.jpg\n")
    with pytest.raises(UserError, match=r"00000: the mask has 64x64 pixels, its image 64x64; it should have 32x32"):
        taken(source, "celebamask_hq")
