"""A trial in this process: metrics, resume, faults, and the same result for any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import checkpoint
from orchestrator.config import Settings, make_settings
from orchestrator.data.reader import open_dataset
from orchestrator.engine import NotFinite
from orchestrator.errors import UserError
from orchestrator.job import STATE_FILE, Job, run_job, selection_splits
from orchestrator.metrics import METRICS
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage


def tiny(epochs: int = 2, **changes: Any) -> Settings:
    fixed = {"train.epochs": epochs, "train.batch": 4, "train.precision": "fp32", "train.lr": 1e-3}
    return make_settings("decoder", "tiny", fixed | changes)


def run(settings: Settings, data: Path, out: Path, resume: Path | None = None) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []

    def report(record: dict[str, Any], folder: Path | None) -> None:
        records.append(record)
        assert folder is not None
        kept = out / f"epoch{record['epoch']}"
        kept.mkdir(parents=True)
        (kept / STATE_FILE).write_bytes((folder / STATE_FILE).read_bytes())

    run_job(Job(settings.flat(), str(data), str(out)), Ranks(), torch.device("cpu"), report, resume)
    return records


def test_a_trial_trains_and_tests_its_best_epoch(tiny_data: Path, tmp_path: Path) -> None:
    records = run(tiny(3), tiny_data, tmp_path)
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert records[-1]["losses"]["bce"] < records[0]["losses"]["bce"]
    assert all(r["samples"] == 9 and r["chosen_on"] == "val" for r in records)
    assert "test" not in records[0] and set(records[-1]["test"]) == set(METRICS)
    best = max(records, key=lambda r: r["val"]["mdice"])
    kept, _ = checkpoint.read(Storage(str(tmp_path)))
    assert kept.epoch == records[-1]["best_epoch"] == best["epoch"]
    assert kept.metrics == best["val"]
    assert len({r["order"] for r in records}) == 3, "every epoch has an order of its own"


def test_a_continued_trial_is_the_uninterrupted_one(tiny_data: Path, tmp_path: Path) -> None:
    whole = run(tiny(3), tiny_data, tmp_path / "whole")
    run(tiny(3), tiny_data, tmp_path / "part")
    # the best checkpoint lies in the trial's folder, so the continued part runs there
    (tmp_path / "part" / "epoch3" / STATE_FILE).unlink()
    (tmp_path / "part" / "epoch3").rmdir()
    rest = run(tiny(3), tiny_data, tmp_path / "part", resume=tmp_path / "part" / "epoch2")
    assert [r["epoch"] for r in rest] == [3]
    for key in ("losses", "val", "test", "order", "lr", "best_epoch"):
        assert rest[0][key] == whole[2][key], key


def test_choosing_on_the_test_split_is_said(tiny_data: Path, tmp_path: Path) -> None:
    records = run(tiny(1, **{"data.val_fraction": 0}), tiny_data, tmp_path)
    assert records[0]["chosen_on"] == "test" and records[0]["samples"] == 12
    assert records[0]["val"]["mdice"] == records[0]["test"]["mdice"]


def test_a_loss_that_is_not_finite_is_said_with_its_place(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match="not finite in epoch 1, step .*bce nan.*lower train.lr"):
        run(tiny(1, **{"train.lr": 1e30}), tiny_data, tmp_path)


def test_a_data_set_without_a_test_split_is_refused(tiny_data: Path) -> None:
    dataset = open_dataset(Storage(str(tiny_data)), "tiny")
    del dataset.manifest.splits["test"]
    with pytest.raises(UserError, match="has no test split"):
        selection_splits(dataset, tiny())


def test_validation_is_held_out_of_training(tiny_data: Path) -> None:
    dataset = open_dataset(Storage(str(tiny_data)), "tiny")
    train, val, name = selection_splits(dataset, tiny())
    assert name == "val" and not set(train.ids()) & set(val.ids())
    assert len(train) + len(val) == len(dataset.split("train"))


def test_evaluation_does_not_depend_on_the_batch_size(tiny_data: Path, tmp_path: Path) -> None:
    """Nor, with it, on how images are dealt to ranks."""
    torch.manual_seed(0)
    values = []
    for batch in (1, 4):
        settings = tiny(1, **{"train.lr": 1e-12, "train.lr_min": 0, "train.batch": batch})
        values.append(run(settings, tiny_data, tmp_path / str(batch))[0]["test"])
    for name in METRICS:
        assert values[0][name] == pytest.approx(values[1][name], rel=2e-3, abs=2e-3)
