import gc
import multiprocessing
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import tensors_of
from data_samples import encode, ground, picture
from PIL import Image

from methods.base import Batch
from orchestrator.data.ahead import map_ahead
from orchestrator.data.loader import Loader, fit, flips, valid_size
from orchestrator.data.order import epoch_order, eval_batches, rank_batches, sample_seed
from orchestrator.data.reader import DataSplit, open_dataset
from orchestrator.data.schema import Row
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def ours() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("samsweep-ahead")]


@pytest.fixture
def split(tmp_path: Path, write: Callable[..., object]) -> DataSplit:
    root = Storage(str(tmp_path))
    write(root, "own", {"train": 11})
    return open_dataset(root, "own").split("train")


def load(split: DataSplit, batches: list, train: bool = False, **options: object) -> list[Batch]:
    settings = {"image_size": 64, "resize": "stretch", "seed": 3, "epoch": 1, **options}
    return list(Loader(split, batches=batches, train=train, **settings))  # type: ignore[arg-type]


def test_batches_are_what_the_methods_expect(split: DataSplit) -> None:
    batches = eval_batches(11, 4, 0, 1)
    loader = Loader(split, 64, "pad", batches, seed=3, epoch=1, train=False)
    got = list(loader)
    assert len(loader) == len(got) == 3
    assert [batch.index.tolist() for batch in got] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    batch = got[0]
    assert (batch.image.shape, batch.image.dtype) == ((4, 3, 64, 64), torch.uint8)
    assert (batch.mask.shape, batch.mask.dtype) == ((4, 1, 64, 64), torch.uint8)
    assert batch.valid.tolist() == [[48, 64]] * 4
    assert batch.size.tolist() == [[24, 32]] * 4
    for name in ("valid", "size", "index", "seed"):
        assert getattr(batch, name).dtype == torch.int64
    assert batch.seed.tolist() == [sample_seed(3, 1, i) for i in range(4)]
    assert batch.weight.dtype == torch.float32
    assert batch.weight.tolist() == [1.0] * 4


def test_stretch_is_pils_resize(split: DataSplit) -> None:
    batch = load(split, eval_batches(11, 11, 0, 1))[0]
    for i in (0, 7):
        wanted = np.asarray(Image.fromarray(picture(i)).resize((64, 64), Image.Resampling.BILINEAR))
        assert np.abs(batch.image[i].permute(1, 2, 0).numpy() - wanted.astype(int)).max() <= 1
        mask = Image.fromarray((ground() > 0).astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
        assert (batch.mask[i, 0].numpy() == np.asarray(mask)).all()
    assert batch.valid.tolist() == [[64, 64]] * 11


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [(24, 32, (48, 64)), (32, 24, (64, 48)), (30, 30, (64, 64)), (33, 47, (45, 64)), (1, 1000, (1, 64))],
)
def test_pad_is_sams_longest_side(height: int, width: int, wanted: tuple[int, int]) -> None:
    assert valid_size(height, width, 64, "pad") == wanted
    assert valid_size(height, width, 64, "stretch") == (64, 64)


def test_pad_agrees_with_segment_anything() -> None:
    from segment_anything.utils.transforms import ResizeLongestSide

    for height, width in np.random.default_rng(0).integers(20, 2000, (200, 2)).tolist():
        wanted = ResizeLongestSide.get_preprocess_shape(height, width, 1024)
        assert valid_size(height, width, 1024, "pad") == wanted


def test_padding_is_at_the_right_and_bottom_also_when_flipped(split: DataSplit) -> None:
    for flip in (False, True):
        image, mask = fit(picture() | 1, (ground() > 0).astype(np.uint8), 64, (48, 64), flip)
        assert image[:, :48].all()
        assert not image[:, 48:].any()
        assert not mask[:, 48:].any()
    image, mask = fit(picture(0, 32, 24) | 1, np.ones((32, 24), np.uint8), 64, (64, 48), True)
    assert image[:, :, :48].all()
    assert not image[:, :, 48:].any()
    assert mask.sum() == 64 * 48


def test_flip_mirrors_image_and_mask_by_seed(split: DataSplit) -> None:
    batches = rank_batches(epoch_order(11, 3, 1), 4, 0, 1)
    plain = {int(b.index[k]): b for b in load(split, batches) for k in range(len(b))}
    flipped = 0
    for batch, still in zip(load(split, batches, train=True), load(split, batches), strict=True):
        for k in range(len(batch)):
            mirrored = flips(int(batch.seed[k]))
            flipped += mirrored
            for got, base in ((batch.image[k], still.image[k]), (batch.mask[k], still.mask[k])):
                assert torch.equal(got, base.flip(-1) if mirrored else base)
    assert sorted(plain) == list(range(11))
    assert 0 < flipped < 11


def test_half_of_all_samples_are_flipped() -> None:
    share = np.mean([flips(sample_seed(0, e, i)) for e in range(20) for i in range(100)])
    assert 0.46 < share < 0.54


def test_ranks_see_the_same_samples_as_one(split: DataSplit) -> None:
    order = epoch_order(11, 3, 1)
    alone = load(split, rank_batches(order, 4, 0, 1), train=True)
    ranks = [load(split, rank_batches(order, 4, rank, 3), train=True) for rank in range(3)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        for name in ("image", "mask", "index", "seed"):
            kept = torch.cat([getattr(p, name)[p.weight > 0] for p in parts])
            assert torch.equal(kept, getattr(whole, name))
    assert [b.weight.tolist() for b in ranks[2]] == [[0.0, 0.0], [0.0, 0.0], [1.0]]


def test_the_number_of_threads_changes_nothing(split: DataSplit) -> None:
    batches = rank_batches(epoch_order(11, 3, 1), 3, 0, 1)
    for one, four in zip(load(split, batches, threads=1), load(split, batches, threads=4), strict=True):
        assert torch.equal(one.image, four.image)
        assert torch.equal(one.index, four.index)


def test_errors_come_up_in_the_consumer_at_their_turn(split: DataSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    read = DataSplit.read

    def fail(self: DataSplit, i: int) -> object:
        if i == 6:
            raise RuntimeError("row 6")
        return read(self, i)

    monkeypatch.setattr(DataSplit, "read", fail)
    got = []
    with pytest.raises(RuntimeError, match="row 6"):
        for batch in Loader(split, 64, "stretch", eval_batches(11, 4, 0, 1), 0, 0, False):
            got.append(batch)
    assert len(got) == 1
    assert not ours()


def test_stopping_early_leaves_no_thread(split: DataSplit) -> None:
    iterator = iter(Loader(split, 64, "stretch", eval_batches(11, 2, 0, 1), 0, 0, False, threads=3))
    next(iterator)
    assert ours()
    del iterator
    gc.collect()
    assert not ours()


def test_no_batches_at_all(split: DataSplit) -> None:
    assert load(split, []) == []


def test_unknown_resize(split: DataSplit) -> None:
    with pytest.raises(ValueError, match="stretch or pad"):
        Loader(split, 64, "crop", [], 0, 0, False)


def test_work_ahead_is_bounded_and_in_order() -> None:
    begun: list[int] = []

    def slow(i: int) -> int:
        begun.append(i)
        time.sleep(0.002 * (i % 3))
        return i

    seen = []
    for value in map_ahead(slow, range(40), threads=4, window=6):
        seen.append(value)
        assert len(begun) <= len(seen) + 6
    assert seen == list(range(40))


def test_rows_of_many_sizes(tmp_path: Path) -> None:
    from orchestrator.data.schema import Row
    from orchestrator.data.writer import DatasetWriter

    root = Storage(str(tmp_path))
    with DatasetWriter(root, "own") as writer:
        for height, width in ((10, 50), (50, 10), (200, 300)):
            image, mask = encode(picture(0, height, width)), encode(ground(height, width))
            writer.add("train", Row(f"{height}", "", image, mask, height, width, 127, ""))
        writer.commit(task="binary", layout="folders", split_rule="")
    split = open_dataset(root, "own").split("train")
    batch = load(split, eval_batches(3, 3, 0, 1), resize="pad")[0]
    assert batch.size.tolist() == [[10, 50], [50, 10], [200, 300]]
    assert batch.valid.tolist() == [[13, 64], [64, 13], [43, 64]]


def test_processes_make_the_same_batches(split: DataSplit) -> None:
    batches = rank_batches(epoch_order(11, 3, 1), 4, 0, 1)
    views = {"train": True, "augment": "scene", "masks": 11}
    for options in ({}, {"train": True}, views):
        here = load(split, batches, **options)
        there = [batch.to("cpu") for batch in load(split, batches, processes=2, **options)]
        assert len(here) == len(there) == 3
        for a, b in zip(here, there, strict=True):
            assert all(map(torch.equal, tensors_of(a), tensors_of(b)))
    assert load(split, [], processes=2) == []


def test_a_damaged_row_stops_the_processes_with_its_own_words(tmp_path: Path, write: Callable[..., object]) -> None:
    with DatasetWriter(Storage(str(tmp_path)), "own") as writer:
        writer.add("train", Row("a", "", b"no picture", encode(ground()), 24, 32, 127, "a.png"))
        writer.commit(task="binary", layout="folders", split_rule="as told")
    broken = open_dataset(Storage(str(tmp_path)), "own").split("train")
    with pytest.raises(UserError) as error:
        load(broken, eval_batches(1, 2, 0, 1), processes=1)
    assert not multiprocessing.active_children(), "though the error's traceback still holds the loader"
    assert "cannot be decoded" in str(error.value) and "\n" not in str(error.value)


def test_stopping_early_leaves_no_process(split: DataSplit) -> None:
    with closing(iter(Loader(split, 64, "stretch", eval_batches(11, 2, 0, 1), 0, 0, False, processes=2))) as iterator:
        next(iterator)
        assert len(multiprocessing.active_children()) == 2
    assert not multiprocessing.active_children()
