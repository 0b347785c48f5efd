import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.data import opened
from orchestrator.data.fetch import local_shard
from orchestrator.data.loader import Loader
from orchestrator.data.order import rank_batches
from orchestrator.data.prefetch import FETCHERS, fetched_ahead
from orchestrator.data.reader import DataSplit, open_dataset
from orchestrator.data.schema import Manifest
from orchestrator.errors import UserError
from orchestrator.storage import Storage

Write = Callable[..., Manifest]


@pytest.fixture
def split(remote: Storage, write: Write) -> DataSplit:
    write(remote, "own", {"train": 12}, shard_bytes=2000)
    return open_dataset(remote, "own").split("train")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Each fetch takes its time; what was fetched, and how many were then under way."""
    fetched: list[tuple[str, int]] = []
    at_work, lock = [0], threading.Lock()

    def slowly(folder: Storage, shard: object) -> object:
        with lock:
            at_work[0] += 1
            fetched.append((shard.file, at_work[0]))  # type: ignore[attr-defined]
        time.sleep(0.1)
        with lock:
            at_work[0] -= 1
        return local_shard(folder, shard)  # type: ignore[arg-type]

    monkeypatch.setattr(opened, "local_shard", slowly)
    return fetched


def test_shards_come_together_and_in_the_order_of_their_use(split: DataSplit, slow: list[tuple[str, int]]) -> None:
    shards = split.shards_to_fetch(range(12))
    assert len(shards) > FETCHERS and shards == sorted(shards)
    assert split.shards_to_fetch([11, 0, 11])[0] == shards[-1]
    order = [11, *range(11)]
    with fetched_ahead(split, order):
        began = time.perf_counter()
        assert [split.read(i).id for i in order] == [f"train{i}" for i in order]
        assert time.perf_counter() - began < 0.1 * len(shards)
    assert max(together for _, together in slow) == FETCHERS
    assert slow[0][0].startswith("train-00011"), "what is used first"
    assert len(slow) == len({file for file, _ in slow}) == len(shards)


def test_an_epoch_fetches_each_shard_once(split: DataSplit, slow: list[tuple[str, int]]) -> None:
    order = np.random.default_rng(1).permutation(12)
    for epoch in (1, 2):
        batches = list(Loader(split, 32, "pad", rank_batches(order, 4, 0, 1), 0, epoch, True))
        assert [int(i) for b in batches for i in b.index] == order.tolist()
    assert len(slow) == len({file for file, _ in slow}) == 12 and not split.shards_to_fetch(range(12))
    assert not [t for t in threading.enumerate() if t.name.startswith("samsweep-fetch")]


def test_processes_do_not_inherit_a_lock_that_is_held(split: DataSplit, slow: list[tuple[str, int]]) -> None:
    order = np.random.default_rng(1).permutation(12)
    loader = Loader(split, 32, "pad", rank_batches(order, 4, 0, 1), 0, 1, True, processes=2)
    assert [int(i) for batch in loader for i in batch.index] == order.tolist()


def test_leaving_early_leaves_no_thread(split: DataSplit, slow: list[tuple[str, int]]) -> None:
    with fetched_ahead(split, range(12)):
        pass
    assert len(slow) <= FETCHERS
    assert not [t for t in threading.enumerate() if t.name.startswith("samsweep-fetch")]


def test_what_goes_wrong_is_said_where_the_row_is_read(split: DataSplit, remote: Storage) -> None:
    files = sorted(name for name in remote.names("own") if name.endswith(".arrow"))
    remote.fs.pipe_file(remote.path(f"own/{files[2]}"), b"altered")
    with fetched_ahead(split, range(12)):
        assert split.read(0).id == "train0"
        with pytest.raises(UserError, match=rf"{files[2]}: .*--replace"):
            for i in range(12):
                split.read(i)


def test_a_folder_of_this_machine_needs_none_of_it(tmp_path: object, write: Write) -> None:
    root = Storage(str(tmp_path))
    write(root, "own", {"train": 3})
    assert open_dataset(root, "own").split("train").shards_to_fetch([0, 1, 2]) == []
