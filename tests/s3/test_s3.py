"""The main job with data and results in a real S3 store: make test-s3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ceph import Gateway
from commands import begin, samsweep

from orchestrator.data import standin
from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = pytest.mark.s3


def test_the_main_job_on_s3(store: Gateway, tmp_path: Path) -> None:
    standin.write_folders("polyp", tmp_path / "raw", train=16, test=4, seed=1)
    data, results = "s3://bucket/data", "s3://bucket/results"
    samsweep("ingest", "drawn", "--source", "raw", "--out", data, "--task", "polyp", cwd=tmp_path)
    assert "drawn" in samsweep("datasets", "--data", data, cwd=tmp_path).stdout
    words = ("sweep", "decoder", "drawn", "--trials", "2", "--epochs", "1", "--name", "far", "--json")
    done = samsweep(*words, "--data", data, "--storage", results, "--set", "train.batch=4", cwd=tmp_path)
    summary = json.loads(done.stdout)
    assert [t["status"] for t in summary["trials"]] == ["completed"] * 2

    run = Storage(results) / "far"
    assert {r["status"] for r in read_rows(Storage(results))} == {"completed"}
    assert run.exists("study.journal") and run.exists("overlays/sheet.png")
    assert all(run.names(f"trials/{t['trial']}") == ["best.safetensors", "record.arrow"] for t in summary["trials"])
    secret = store.environment["AWS_SECRET_ACCESS_KEY"]
    everything = b"".join(run.read(f"trials/{t['trial']}/record.arrow") for t in summary["trials"])
    assert secret.encode() not in everything and secret not in done.stdout + done.stderr

    shown = samsweep("leaderboard", "--storage", results, cwd=tmp_path).stdout
    assert "drawn" in shown and "decoder" in shown
    words = ("predict", "--run", "far", "--images", "raw/test/images", "--out", "out", "--storage", results)
    samsweep(*words, cwd=tmp_path)
    assert len(list((tmp_path / "out/masks").iterdir())) == 4
    assert not (tmp_path / "results").exists() and not (tmp_path / "data").exists()


def test_wrong_credentials_are_one_line(store: Gateway, tmp_path: Path) -> None:
    words = ("train", "decoder", "cod10k", "--local", "--data", "s3://bucket/data", "--storage", "s3://bucket/r")
    done = samsweep(*words, cwd=tmp_path, code=2, AWS_SECRET_ACCESS_KEY="wrong")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: s3://bucket") and "Traceback" not in done.stderr


def test_a_bucket_that_is_not_there_is_one_line(store: Gateway, tmp_path: Path) -> None:
    standin.write_folders("polyp", tmp_path / "raw", train=2, test=1, seed=1)
    done = samsweep("ingest", "x", "--source", "raw", "--out", "s3://nowhere/data", cwd=tmp_path, code=2)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "nowhere" in last and "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_ingest_that_is_killed_goes_on(store: Gateway, tmp_path: Path) -> None:
    standin.write_folders("polyp", tmp_path / "raw", train=40, test=4, seed=1)
    code = """
import sys, time
from orchestrator.data.ingest import ingest
from orchestrator.storage import Storage
pause = lambda done, total, item: time.sleep(float(sys.argv[2]))
made = ingest("cut", "raw", Storage(sys.argv[1]), "folders", "polyp", shard_bytes=100_000, progress=pause)
print(made.fingerprint)
"""
    command = [sys.executable, "-c", code, "s3://bucket/killed"]
    child = subprocess.Popen([*command, "0.05"], cwd=tmp_path, env=dict(os.environ))
    folder = Storage("s3://bucket/killed/cut")
    while len(folder.names()) < 4:
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    kept = {name for name in folder.names() if name.endswith(".arrow")}
    done = subprocess.run([*command, "0"], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole = subprocess.run([*command[:3], str(tmp_path / "whole"), "0"], cwd=tmp_path, capture_output=True, text=True)
    assert whole.stdout == done.stdout, "the fingerprint of an undisturbed one"
    assert kept < set(folder.names()) and "ingest.json" not in folder.names()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_from_its_checkpoint(store: Gateway, tmp_path: Path) -> None:
    words = [
        "pretrain",
        "--scenes",
        "16",
        "--epochs",
        "3",
        "--data",
        "s3://bucket/data",
        "--storage",
        "s3://bucket/pre",
    ]
    words += ["--set", "train.samples=16 train.batch=4 train.precision=fp32 train.warmup=2 train.keep_every=2"]
    child = begin([*words, "--workers", "2"], tmp_path, "epoch 2/3")
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    done = samsweep(*words, "--workers", "1", cwd=tmp_path)
    assert "going on with" in done.stderr and "epoch 1/" not in done.stderr
    (row,) = read_rows(Storage("s3://bucket/pre"))
    assert row["status"] == "completed" and [e["epoch"] for e in row["epochs"]] == [1, 2, 3]
    assert len({e["order"] for e in row["epochs"]}) == 3
    run = Storage("s3://bucket/pre") / "pretrain-vit_t"
    assert run.names("trials/single") == ["best.safetensors", "record.arrow"]
