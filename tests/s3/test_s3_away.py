"""A store that is away while a sweep runs. In a file of its own: it waits for a minute, in which others run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ceph import Gateway
from commands import begin, samsweep

from orchestrator.data import standin
from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = [pytest.mark.s3, pytest.mark.slow]


def test_a_store_that_is_away_for_a_minute_fails_no_trial(store: Gateway, tmp_path: Path) -> None:
    standin.write_folders("polyp", tmp_path / "raw", train=16, test=4, seed=2)
    samsweep("ingest", "away", "--source", "raw", "--out", "s3://bucket/data", "--task", "polyp", cwd=tmp_path)
    words = ["sweep", "decoder", "away", "--trials", "1", "--epochs", "3", "--name", "away", "--set", "train.batch=4"]
    child = begin([*words, "--data", "s3://bucket/data", "--storage", "s3://bucket/away"], tmp_path, "epoch 1/3")
    store.stop()
    time.sleep(60)
    assert child.poll() is None, "it waits"
    store.start()
    assert child.wait(200) == 0, (tmp_path / "begun.log").read_text()
    (row,) = read_rows(Storage("s3://bucket/away"))
    assert row["status"] == "completed" and len(row["epochs"]) == 3
