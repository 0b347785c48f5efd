"""A trial in this process: metrics, resume, faults, and the same result for any number of ranks."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ddp
import numpy as np
import pytest
import torch
from data_samples import encode, ground, picture
from ports import free_port

from orchestrator import checkpoint
from orchestrator.build import build_method
from orchestrator.config import Settings, make_settings
from orchestrator.data.reader import open_dataset
from orchestrator.data.schema import Row
from orchestrator.data.writer import DatasetWriter
from orchestrator.engine import Engine, NotFinite
from orchestrator.errors import UserError
from orchestrator.job import CHANGED, STATE_FILE, Job, run_job, selection_splits
from orchestrator.metrics import MASK_METRICS as METRICS
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage


def tiny(epochs: int = 2, **changes: Any) -> Settings:
    fixed = {"train.epochs": epochs, "train.batch": 4, "train.precision": "fp32", "train.lr": 1e-3}
    return make_settings("decoder", "tiny", fixed | changes)


def job_of(settings: Settings, data: Path, out: Path) -> Job:
    return Job(settings.flat(), str(data), str(out), open_dataset(Storage(str(data)), "tiny").manifest.fingerprint)


def run(settings: Settings, data: Path, out: Path, epochs: int = 100) -> list[dict[str, Any]]:
    """The records of a trial in ``out``, which is told to stop after so many of them."""
    records: list[dict[str, Any]] = []

    def report(record: dict[str, Any]) -> bool:
        records.append(record)
        return len(records) < epochs

    run_job(job_of(settings, data, out), Ranks(), torch.device("cpu"), report)
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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_continued_trial_is_the_uninterrupted_one(optimizer: str, tiny_data: Path, tmp_path: Path) -> None:
    settings = tiny(3, **{"train.optimizer": optimizer})
    whole = run(settings, tiny_data, tmp_path / "whole")
    begun = run(settings, tiny_data, tmp_path / "part", epochs=2)
    assert [r["epoch"] for r in begun] == [1, 2], "it stops where it is told to"
    rest = run(settings, tiny_data, tmp_path / "part")
    assert [r["epoch"] for r in rest] == [3] and rest[0]["earlier"] == begun
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


def test_the_rate_rises_and_falls_by_steps(tiny_data: Path) -> None:
    changes = {"train.schedule": "steps", "train.warmup": 4, "train.lr": 1.0, "train.lr_min": 0.0}
    split = open_dataset(Storage(str(tiny_data)), "tiny").split("train")
    settings = tiny(3, **changes)
    engine = Engine(settings, build_method(settings), split, torch.device("cpu"), Ranks())
    rates = [engine._set_rate(epoch, step, 10) for epoch in (1, 2, 3) for step in range(10)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert all(a >= b for a, b in itertools.pairwise(rates[3:])) and rates[-1] < 0.02


def test_it_stops_at_a_plateau(tiny_data: Path, tmp_path: Path) -> None:
    settings = tiny(9, **{"train.lr": 1e-12, "train.lr_min": 0, "train.patience": 2})
    records = run(settings, tiny_data, tmp_path)
    assert [r["epoch"] for r in records] == [1, 2, 3] and "test" in records[-1]


def test_an_epoch_may_be_part_of_the_split(tiny_data: Path, tmp_path: Path) -> None:
    records = run(tiny(3, **{"train.samples": 6}), tiny_data, tmp_path)
    assert [r["samples"] for r in records] == [6, 6, 6]


def test_a_trial_killed_before_its_end_is_finished(tiny_data: Path, tmp_path: Path) -> None:
    whole = run(tiny(2), tiny_data, tmp_path)
    records = run(tiny(2), tiny_data, tmp_path)
    assert [r["epoch"] for r in records] == [2] and [r["epoch"] for r in records[0]["earlier"]] == [1]
    assert records[0]["test"] == whole[-1]["test"]


class Killed(BaseException):
    """As sudden as a signal."""


class Lives:
    """A job that is killed at given steps, over and over, and goes on from what it kept last."""

    def __init__(self, settings: Settings, data: Path, out: Path) -> None:
        self.settings, self.data, self.out = settings, data, out
        self.records: dict[int, dict[str, Any]] = {}
        self.places: list[tuple[int, bool]] = []  # epochs done at each state that was kept, and whether within one

    def live(self, steps: int | None = None) -> bool:
        """Until the end (True), or for some steps."""
        left = itertools.count(1)

        def on_step(epoch: int, step: int, of: int) -> None:
            if steps is not None and next(left) > steps:
                raise Killed

        def report(record: dict[str, Any]) -> bool:
            self.records[record["epoch"]] = record
            return True

        write = Storage.write

        def watched(storage: Storage, name: str, data: bytes, *more: Any) -> None:
            write(storage, name, data, *more)
            if name == STATE_FILE:
                state = torch.load(io.BytesIO(data), weights_only=True)
                self.places.append((len(json.loads(state["history"])), state["position"] != "null"))

        try:
            with patch.object(Storage, "write", watched):
                job = job_of(self.settings, self.data, self.out)
                run_job(job, Ranks(), torch.device("cpu"), report, on_step)
        except Killed:
            return False
        return True


def test_twenty_kills_within_epochs_change_nothing(tiny_data: Path, tmp_path: Path) -> None:
    settings = tiny(7, **{"train.batch": 1, "train.keep_every": 2, "train.lr": 1e-4})
    whole, killed = (Lives(settings, tiny_data, tmp_path / name) for name in ("whole", "killed"))
    assert whole.live()
    assert whole.places[:5] == [(0, True)] * 4 + [(1, False)], "9 steps: kept after 2, 4, 6, 8 and the epoch"
    random = np.random.default_rng(0)
    kills = 0
    while not killed.live(int(random.integers(2, 5)) if kills < 20 else None):
        kills += 1
    assert kills == 20
    assert sorted(killed.records) == sorted(whole.records) == [1, 2, 3, 4, 5, 6, 7]
    for epoch, record in whole.records.items():
        for key in ("losses", "val", "order", "samples", "lr", "best_epoch"):
            assert killed.records[epoch][key] == record[key], (epoch, key)
    assert killed.records[7]["test"] == whole.records[7]["test"]


def test_a_kill_within_an_epoch_and_another_number_of_ranks(tiny_data: Path, tmp_path: Path) -> None:
    settings = tiny(2, **{"train.batch": 2, "train.keep_every": 2, "train.lr": 1e-4})
    whole, killed = (Lives(settings, tiny_data, tmp_path / name) for name in ("whole", "killed"))
    assert whole.live()
    assert not killed.live(3) and killed.places == [(0, True)]
    port = free_port()
    job = job_of(settings, tiny_data, tmp_path / "killed")
    torch.multiprocessing.spawn(ddp.go_on, (2, port, job, tmp_path / "told.json"), nprocs=2)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["seen"] == told["wanted"], "the rows of each global batch after the position, over both ranks"
    for record in told["records"]:
        expected = whole.records[record["epoch"]]
        assert record["order"] == expected["order"] and record["samples"] == 9
        for name, value in expected["losses"].items():
            assert record["losses"][name] == pytest.approx(value, rel=1e-3)


def test_a_state_of_an_older_position_is_the_epochs_beginning(tiny_data: Path, tmp_path: Path) -> None:
    """keep_every=0: after a kill within an epoch, it begins again, with the same samples."""
    settings = tiny(2, **{"train.batch": 1, "train.keep_every": 0, "train.lr": 1e-4})
    whole, killed = (Lives(settings, tiny_data, tmp_path / name) for name in ("whole", "killed"))
    assert whole.live() and whole.places == [(1, False), (2, False)]
    assert not killed.live(13) and killed.live()
    assert killed.records[2]["order"] == whole.records[2]["order"]
    assert killed.records[2]["losses"] == whole.records[2]["losses"]


def test_data_that_changed_since_the_sweep_began_stops_it(tiny_data: Path, tmp_path: Path) -> None:
    job = dataclasses.replace(job_of(tiny(1), tiny_data, tmp_path), fingerprint="0123456789abcdef")
    with pytest.raises(UserError, match=f"dataset 'tiny' {CHANGED} .*was 0123456789ab.*another NAME"):
        run_job(job, Ranks(), torch.device("cpu"), lambda record: True)


def test_data_that_change_within_a_trial_stop_it(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data, tmp_path / "data")
    job = job_of(tiny(3), tmp_path / "data", tmp_path / "out")

    def report(record: dict[str, Any]) -> bool:
        with DatasetWriter(Storage(str(tmp_path / "data")), "tiny", replace=True) as writer:
            for split in ("train", "test"):
                writer.add(split, Row(split, "", encode(picture()), encode(ground()), 24, 32, 127, "a.png"))
            writer.commit(task="polyp", layout="folders", split_rule="as told")
        return True

    with pytest.raises(UserError, match=CHANGED):
        run_job(job, Ranks(), torch.device("cpu"), report)


def test_a_notice_keeps_the_state_at_once(tiny_data: Path, tmp_path: Path) -> None:
    """A node that is about to be taken away: the step after the word is the one to go on from."""
    settings = tiny(1, **{"train.batch": 1, "train.keep_every": 0, "train.lr": 1e-4})
    whole = run(settings, tiny_data, tmp_path / "whole")
    told, steps = iter([False] * 4 + [True] + [False] * 9), []

    def on_step(epoch: int, step: int, of: int) -> None:
        steps.append(step)
        if len(steps) == 7:
            raise Killed

    job = job_of(settings, tiny_data, tmp_path / "cut")
    with pytest.raises(Killed):
        run_job(job, Ranks(), torch.device("cpu"), lambda record: True, on_step, lambda: next(told))
    rest: list[dict[str, Any]] = []
    run_job(job, Ranks(), torch.device("cpu"), lambda r: bool(rest.append(r)), lambda e, step, of: steps.append(step))
    assert steps == [1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9]
    assert rest[0]["order"] == whole[0]["order"] and rest[0]["val"] == whole[0]["val"]
    assert rest[0]["losses"] == pytest.approx(whole[0]["losses"]), "summed in two parts"


def test_a_second_job_in_a_process_is_the_first(tiny_data: Path, tmp_path: Path) -> None:
    """Workers stay for many trials: nothing of one may reach the next."""
    first, _, again = (
        run(tiny(2, **changes), tiny_data, tmp_path / name)
        for name, changes in (("a", {}), ("b", {"train.seed": 7, "train.lr": 1e-2}), ("c", {}))
    )
    for one, other in zip(first, again, strict=True):
        for key in ("losses", "val", "order"):
            assert one[key] == other[key]
    assert first[-1]["test"] == again[-1]["test"]
