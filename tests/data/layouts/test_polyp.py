"""Kvasir's polyps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data_samples import ground, picture
from layout_samples import put, samples, taken


def test_kvasir_by_its_published_list(source: Path) -> None:
    held_out = ["cju0s690hkp960855tjuaqvv0", "cju0sr5ghl0nd08789uzf1raf"]
    for key in (*held_out, "cju0qkwl35piu0993l0dewei2"):
        put(source / f"Kvasir-SEG/images/{key}.jpg", picture())
        put(source / f"Kvasir-SEG/masks/{key}.jpg", np.repeat(ground()[..., None], 3, axis=2), quality=95)
    (source / "Kvasir-SEG/kavsir_bboxes.json").write_text("{}")
    dataset = taken(source, "kvasir")
    assert sorted(samples(dataset, "test")) == held_out
    assert (
        "880/120" in dataset.manifest.split_rule and "118 of its 120 names are not there" in dataset.manifest.split_rule
    )
