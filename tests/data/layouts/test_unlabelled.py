"""Folders of images without labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_samples import picture
from layout_samples import put

from orchestrator.data.ingest import ingest
from orchestrator.data.reader import open_dataset
from orchestrator.storage import Storage


@pytest.mark.parametrize("split", [False, True])
def test_unlabelled(source: Path, tmp_path: Path, split: bool) -> None:
    for k in range(5):
        put(source / ("test" if k == 4 else "train") / f"{k}.png" if split else source / f"deep/{k}.png", picture(k))
    out = Storage(str(tmp_path / "out"))
    ingest("own", source, out, layout="unlabelled", task="panorama")
    dataset = open_dataset(out, "own")
    assert {name: dataset.manifest.rows(name) for name in dataset.manifest.splits} == {"train": 4, "test": 1}
    if split:
        assert dataset.split("test").ids() == ["4"]
    sample = dataset.split("train").read(0)
    assert sample.labels is None and sample.coding == "none" and not sample.mask.any()
