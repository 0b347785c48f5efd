from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.data.catalogue import CATALOGUE, find, resolve
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.published import PUBLISHED, published
from orchestrator.data.tasks import TASKS
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def test_entries_and_tasks_fit_together() -> None:
    for entry in CATALOGUE.values():
        assert entry.task in TASKS
        assert entry.layout in LAYOUTS
        assert entry.epochs > 0
        assert entry.home.startswith("http") and entry.licence and entry.metrics
        assert LAYOUTS[entry.layout].coding in ("", TASKS[entry.task].coding)
        assert entry.class_names or entry.task in ("panoptic", "referring"), "those that their files name"
    for task in TASKS.values():
        assert task.objective in task.metrics
        assert task.mode in ("min", "max")
        assert task.loss in ("bce_iou", "bbce")
    assert (TASKS["shadow"].mode, TASKS["shadow"].loss) == ("min", "bbce")


def test_published_numbers_are_of_known_datasets_and_metrics() -> None:
    for row in PUBLISHED:
        task = TASKS[find(row.dataset).task]
        assert row.metric in task.metrics or not task.solved or row.note
        assert row.source
        assert row.metric == "ber" or 0 < row.value < 1
    keys = [(row.method, row.dataset, row.metric) for row in PUBLISHED]
    assert len(keys) == len(set(keys)) > 43


def test_implied_numbers_say_so() -> None:
    mca = [row for row in PUBLISHED if row.method == "mca"]
    assert {(row.dataset, row.value) for row in mca} == {
        ("cod10k", 0.020),
        ("cod4040", 0.020),
        ("istd", 1.21),
        ("kvasir", 0.917),
        ("camo", 0.066),
    }
    assert all("implied" in row.note for row in mca)
    assert "uncertain" in published("camo", "mca")[0].note


def test_published_by_dataset() -> None:
    assert {row.method for row in published("istd")} == {"sam", "sam_adapter", "mca"}
    assert [row.value for row in published("istd", "sam")] == [40.51]


def test_find_names_the_nearest() -> None:
    assert (find("cod10k").train, find("cod10k").test) == (3040, 2026)
    with pytest.raises(UserError, match=r"unknown dataset 'cod10' .*cod10k"):
        find("cod10")


def test_resolve(tmp_path: Path, write: Callable[..., object]) -> None:
    root = Storage(str(tmp_path))
    assert resolve("istd", root) == CATALOGUE["istd"]
    write(root, "polyps", {"train": 5, "test": 2})
    own = resolve("polyps", root)
    assert own.val is None
    assert (own.name, own.task, own.train, own.test) == ("polyps", "binary", 5, 2)
    write(root, "kvasir", {"train": 3, "test": 1})
    mine = resolve("kvasir", root)
    assert (mine.title, mine.task, mine.train, mine.epochs) == ("Kvasir-SEG", "binary", 3, 120)
    write(root, "camvid", {"train": 3, "val": 2, "test": 1})
    assert resolve("camvid", root).val == 2
    with pytest.raises(UserError, match=r"unknown dataset 'polyp' .*polyps"):
        resolve("polyp", root)
