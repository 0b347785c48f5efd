"""MVTec's anomalies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import ground, picture
from layout_samples import HIGH, WIDE, put, samples, taken, wrong

from orchestrator.data.ingest import ingest
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def test_mvtec(source: Path) -> None:
    grey = picture()[..., 0]
    for category in ("bottle", "grid"):
        for at in ("train/good/000", "test/good/000", "test/broken_large/000"):
            put(source / f"{category}/{at}.png", grey if category == "grid" else picture())
        put(source / f"{category}/ground_truth/broken_large/000_mask.png", ground())
        (source / f"{category}/license.txt").write_text("CC BY-NC-SA 4.0")
    dataset = taken(source, "mvtec")
    assert sorted(samples(dataset, "train")) == ["bottle/train/good/000", "grid/train/good/000"]
    test = samples(dataset, "test")
    assert not test["grid/test/good/000"].mask.any() and test["grid/test/good/000"].image.shape == (HIGH, WIDE, 3)
    assert np.array_equal(test["bottle/test/broken_large/000"].mask, ground() > 0)


def test_a_mask_without_its_image(source: Path) -> None:
    for at in ("train/good/000", "test/bent/000"):
        put(source / f"bottle/{at}.png", picture())
    for name in ("000", "001"):
        put(source / f"bottle/ground_truth/bent/{name}_mask.png", ground())
    assert "ground_truth/bent/001_mask.png: a mask without its image" in wrong(source, "mvtec")


def test_names_that_no_row_can_hold(source: Path) -> None:
    put(source / "bottle/train/good/000.png", picture())
    put(source / "bottle/test/good/caf\udce9.png", picture())
    assert "caf\\udce9.png: its name is not UTF-8" in wrong(source, "mvtec")


def test_a_task_that_does_not_fit_the_layout(source: Path) -> None:
    put(source / "bottle/train/good/000.png", picture())
    put(source / "bottle/test/good/000.png", picture())
    with pytest.raises(UserError, match=r"--task semantic: its masks are classes, this layout's are binary; --task"):
        ingest("own", source, Storage(str(source.parent / "out")), "mvtec", "semantic")
