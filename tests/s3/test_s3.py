"""The main job with data and results in a real S3 store: make test-s3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ceph import Gateway, gateway, missing

from orchestrator.data import standin
from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a fresh bucket, and the environment that reaches it."""
    if missing():
        pytest.fail(f"not installed: {', '.join(missing())}; make test-s3 installs them")
    with gateway(tmp_path_factory.mktemp("ceph")) as s3:
        before = dict(os.environ)
        os.environ.update(s3.environment)
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield s3
        os.environ.clear()
        os.environ.update(before)


SAMSWEEP = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main())"]


def samsweep(*words: str, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*SAMSWEEP, *words]
    env = {**os.environ, "SAMSWEEP_CACHE": str(cwd / "cache"), **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


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


def begin(words: list[str], cwd: Path, until: str) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own and wait until it has said something."""
    log = cwd / "begun.log"
    with log.open("wb") as out:
        env = {**os.environ, "SAMSWEEP_CACHE": str(cwd / "cache")}
        child = subprocess.Popen([*SAMSWEEP, *words], cwd=cwd, env=env, stderr=out, start_new_session=True)
    deadline = time.monotonic() + 150
    while until not in log.read_text():
        assert child.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return child


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
