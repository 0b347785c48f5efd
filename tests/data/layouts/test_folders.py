"""A user's own folders of class maps and label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import picture
from layout_samples import labels, put, samples

from orchestrator.data.codings import VOID
from orchestrator.data.ingest import ingest
from orchestrator.data.reader import open_dataset
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def test_own_class_maps_and_label_maps(source: Path) -> None:
    for split in ("train", "test"):
        put(source / f"{split}/images/a.png", picture())
        put(source / f"{split}/masks/a.png", labels(0, 1, VOID))
    out = Storage(str(source.parent / "out"))
    with pytest.raises(UserError, match=r"classes.txt: 0 classes; write a class name a line"):
        ingest("own", source, out, "folders", "semantic")
    (source / "classes.txt").write_text("grass\n")
    with pytest.raises(UserError, match=r"masks/a.png: class 1, but there are 1 \(0 to 0; 255 = void\)"):
        ingest("own", source, out, "folders", "semantic")
    (source / "classes.txt").write_text("grass\nsky\n")
    assert ingest("own", source, out, "folders", "semantic").classes == ("grass", "sky")
    ingest("mine", source, out, "folders", "instances")
    (one,) = samples(open_dataset(out, "mine"), "train").values()
    assert one.coding == "instances" and np.array_equal(one.labels, labels(0, 1, VOID))


@pytest.mark.parametrize(("text", "reason"), [("grass\ngrass\n", "'grass' stands there 2 times"), ("", "0 classes")])
def test_class_lists_that_are_no_use(source: Path, text: str, reason: str) -> None:
    for name in ("a", "b"):
        put(source / f"images/{name}.png", picture())
        put(source / f"masks/{name}.png", labels(0))
    (source / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=rf"classes.txt: .*{reason}"):
        ingest("own", source, Storage(str(source.parent / "out")), "folders", "semantic")


def test_a_byte_order_mark_is_no_part_of_a_class(source: Path) -> None:
    for name in ("a", "b"):
        put(source / f"images/{name}.png", picture())
        put(source / f"masks/{name}.png", labels(0))
    (source / "classes.txt").write_bytes(b"\xef\xbb\xbfgrass\r\n")
    out = Storage(str(source.parent / "out"))
    assert ingest("own", source, out, "folders", "semantic").classes == ("grass",)
