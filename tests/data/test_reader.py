import dataclasses
import hashlib
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data_samples import check_samples, encode, ground, picture

from orchestrator.data.codings import encode_labels
from orchestrator.data.reader import holdout, open_dataset
from orchestrator.data.schema import Manifest, Object, Row, View, fingerprint
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.storage import Storage

Write = Callable[..., Manifest]


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "data"))


def test_rows_over_several_shards(local: Storage, write: Write) -> None:
    manifest = write(local, "own", {"train": 12, "test": 3}, shard_bytes=5000)
    assert len(manifest.splits["train"]) > 3
    split = open_dataset(local, "own").split("train")
    check_samples(split, list(range(12)))
    with pytest.raises(IndexError):
        split.read(12)
    with pytest.raises(IndexError):
        split.read(-1)


def test_views_renumber_but_keep_ids(local: Storage, write: Write) -> None:
    write(local, "own", {"train": 12}, shard_bytes=5000)
    view = open_dataset(local, "own").split("train").subset([9, 2, 5, 0])
    check_samples(view, [9, 2, 5, 0])
    check_samples(view.subset([3, 1]), [0, 2])


def test_pickled_without_open_files(local: Storage, write: Write) -> None:
    write(local, "own", {"train": 6}, shard_bytes=5000)
    view = open_dataset(local, "own").split("train").subset([5, 3])
    check_samples(view, [5, 3])
    data = pickle.dumps(view)
    assert len(data) < 5000
    check_samples(pickle.loads(data), [5, 3])
    check_samples(view, [5, 3])


def test_read_by_several_threads(local: Storage, write: Write) -> None:
    write(local, "own", {"train": 12}, shard_bytes=5000)
    split = pickle.loads(pickle.dumps(open_dataset(local, "own").split("train")))
    errors: list[BaseException] = []

    def read() -> None:
        try:
            check_samples(split, list(range(12)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_not_ingested(local: Storage, write: Write) -> None:
    with pytest.raises(UserError, match=r"no dataset 'own' .*but nothing.*samsweep ingest own"):
        open_dataset(local, "own")
    write(local, "other", {"train": 1})
    with pytest.raises(UserError, match="but other"):
        open_dataset(local, "own")
    with pytest.raises(UserError, match=r"unknown split of 'other' 'tes' .*train"):
        open_dataset(local, "other").split("tes")


def first_shard(root: Storage, manifest: Manifest) -> Path:
    return root.local("own") / manifest.splits["train"][0].file


def test_missing_and_short_shards(local: Storage, write: Write) -> None:
    path = first_shard(local, write(local, "own", {"train": 3}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(UserError, match=rf"{path.name}: the shard has {len(whole) - 10} bytes.*--replace"):
        open_dataset(local, "own")
    path.unlink()
    with pytest.raises(UserError, match=rf"{path.name}: the shard is missing; .*--replace"):
        open_dataset(local, "own")


@pytest.mark.parametrize("at", [0, -4, -40])
def test_unreadable_shards_of_the_right_size(local: Storage, write: Write, at: int) -> None:
    path = first_shard(local, write(local, "own", {"train": 3}))
    data = bytearray(path.read_bytes())
    data[at or 0 : (at or 0) + 4 or None] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{path.name}: .*--replace") as caught:
        open_dataset(local, "own").split("train")
        open_dataset(local, "own").verify()
    assert "\n" not in str(caught.value)


def test_an_altered_pixel_is_found_by_verify(local: Storage, write: Write) -> None:
    path = first_shard(local, write(local, "own", {"train": 3, "test": 1}))
    seen: list[str] = []
    dataset = open_dataset(local, "own")
    dataset.verify(lambda done, total, file: seen.append(f"{done}/{total}"))
    assert seen == ["1/2", "2/2"]
    data = bytearray(path.read_bytes())
    at = data.index(encode(picture(1))) + 200
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{path.name}: the shard was altered .*sha256.*--replace"):
        dataset.verify()
    with pytest.raises(UserError, match=rf"{path.name}: the row of 'train1' cannot be decoded"):
        dataset.split("train").read(1)


def store(root: Storage, manifest: Manifest, data: bytes, rows: int) -> None:
    """Replace the only shard by ``data``, manifest and all."""
    shard = dataclasses.replace(
        manifest.splits["train"][0], rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    splits = {"train": (shard,)}
    changed = dataclasses.replace(manifest, splits=splits, fingerprint=fingerprint(manifest.task, splits))
    root.write(f"own/{shard.file}", data)
    root.write("own/manifest.json", changed.to_json().encode())


def test_row_count_and_schema_are_checked(local: Storage, write: Write) -> None:
    manifest = write(local, "own", {"train": 3})
    data = first_shard(local, manifest).read_bytes()
    store(local, manifest, data, rows=4)
    with pytest.raises(UserError, match="has 3 rows, but the manifest says 4"):
        open_dataset(local, "own").split("train")
    table = pa.table({"id": ["a"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    store(local, manifest, sink.getvalue().to_pybytes(), rows=1)
    with pytest.raises(UserError, match="another schema"):
        open_dataset(local, "own").split("train")


def test_holdout(local: Storage, write: Write) -> None:
    write(local, "own", {"train": 100})
    split = open_dataset(local, "own").split("train")
    train, val = holdout(split, 0.1, seed=7)
    assert (len(train), len(val)) == (90, 10)
    assert sorted(train.ids() + val.ids()) == sorted(split.ids())
    assert holdout(split, 0.1, seed=7)[1].ids() == val.ids()
    assert holdout(split, 0.1, seed=8)[1].ids() != val.ids()
    assert len(holdout(split, 0.01, seed=7)[1]) == 8
    assert len(holdout(split.subset(range(12)), 0.1, seed=7)[1]) == 3
    with pytest.raises(UserError, match="too little to hold out"):
        holdout(split.subset([0]), 0.1, seed=7)


def test_holdout_keeps_groups_whole(local: Storage, write: Write) -> None:
    write(local, "own", {"train": 40}, groups=8)
    train, val = holdout(open_dataset(local, "own").split("train"), 0.25, seed=1)
    assert len(val) == 10
    assert not set(train.groups()) & set(val.groups())


def test_writer_refuses_to_reopen_a_split(local: Storage) -> None:
    row = Row("a", "", encode(picture()), encode(ground()), 24, 32, 127, "a.png")
    with pytest.raises(ValueError, match="finished before"), DatasetWriter(local, "own") as writer:
        for name in ("train", "test", "train"):
            writer.add(name, row)
    assert not local.exists()


def test_the_files_themselves(local: Storage, write: Write) -> None:
    write(local, "own", {"train": 3})
    split = open_dataset(local, "own").split("train").subset([2, 0])
    assert split.encoded(0) == (encode(picture(2)), encode(ground()))
    assert split.encoded(1) == (encode(picture(0)), encode(ground()))


def test_everything_that_a_row_may_carry(local: Storage) -> None:
    labels = np.repeat(np.arange(24, dtype=np.uint16)[:, None] * 100, 32, axis=1)
    objects = (
        Object(100, 3, box=(1, 2, 3.5, 4), points=(5, 6, 1), texts=("a cat", "the small one")),
        Object(200, crowd=True),
    )
    views = (View("low", encode(picture(9, 12, 16)), encode(ground(12, 16))), View("lower", encode(picture(8, 6, 8))))
    with DatasetWriter(local, "own") as writer:
        writer.add("train", Row("a/1", "a", encode(picture(1)), b"", 24, 32, 0, "a/1.png", frame=1, coding="none"))
        writer.add(
            "train",
            Row("a/2", "a", encode(picture(2)), encode_labels(labels), 24, 32, 0, "a/2.png", 0, 2, "instances",
                objects, views),
        )  # fmt: skip
        made = writer.commit(task="instances", layout="folders", split_rule="as told", classes=("x", "y", "z", "cat"))
    split = open_dataset(local, "own").split("train")
    bare, full = split.read(0), split.read(1)
    assert (bare.coding, bare.labels, bare.objects, bare.frame, bare.mask.any()) == ("none", None, (), 1, False)
    assert (full.labels == labels).all() and (full.mask == (labels > 0)).all() and full.frame == 2
    assert full.objects == objects and made.classes[full.objects[0].category] == "cat"
    assert split.views(1) == {view.name: view for view in views} and split.views(0) == {}
    assert (split.mask(1) == full.mask).all() and split.mask(0).shape == (24, 32)
    renamed = dataclasses.replace(made, classes=("x", "y", "z", "dog"))
    with pytest.raises(UserError, match="its fingerprint does not fit"):
        Manifest.from_json(renamed.to_json(), "m")
