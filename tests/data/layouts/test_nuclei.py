"""The nuclei of DSB2018: a mask file each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import encode, picture
from layout_samples import HIGH, WIDE, labels, put, samples, taken

from orchestrator.data.ingest import ingest
from orchestrator.data.reader import open_dataset
from orchestrator.storage import Storage


@pytest.mark.parametrize("top", ["stage1_train/", ""])
def test_dsb2018(source: Path, top: str) -> None:
    keys = [c * 64 for c in "abcde"]
    for key in keys:
        put(source / f"{top}{key}/images/{key}.png", np.dstack([picture(), np.full((HIGH, WIDE), 255, np.uint8)]))
        put(source / f"{top}{key}/masks/1f.png", labels(255, 0, 0))
        put(source / f"{top}{key}/masks/2e.png", labels(0, 255, 0))
    dataset = taken(source, "dsb2018")
    assert (dataset.manifest.rows("train"), dataset.manifest.rows("test")) == (4, 1)
    (one,) = samples(dataset, "test").values()
    assert np.array_equal(one.labels, labels(1, 2, 0)) and [o.value for o in one.objects] == [1, 2]
    assert dataset.manifest.classes == ("nucleus",) and one.objects[0].category == 0


def test_masks_that_changed_are_not_gone_on_from(source: Path) -> None:
    """The folder of an image's masks keeps its time where one of them is written over."""
    for key in ("a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64):
        put(source / f"{key}/images/{key}.png", picture())
        put(source / f"{key}/masks/1.png", labels(255, 0))
    out, how = Storage(str(source.parent / "out")), ("dsb2018", "instances")

    def stop(done: int, total: int, item: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest("own", source, out, *how, shard_bytes=1, progress=stop)
    for path in source.glob("*/masks/1.png"):
        path.write_bytes(encode(labels(0, 255)))
    ingest("own", source, out, *how, shard_bytes=1)
    for split in ("train", "test"):
        for sample in samples(open_dataset(out, "own"), split).values():
            assert np.array_equal(sample.mask, labels(0, 1))
