"""The main job with data and results in a real S3 store: make test-s3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ceph import gateway, missing

from orchestrator.data import standin
from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that reaches a fresh bucket."""
    if missing():
        pytest.fail(f"not installed: {', '.join(missing())}; make test-s3 installs them")
    with gateway(tmp_path_factory.mktemp("ceph")) as environment:
        before = dict(os.environ)
        os.environ.update(environment)
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield environment
        os.environ.clear()
        os.environ.update(before)


def samsweep(*words: str, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main())", *words]
    env = {**os.environ, "SAMSWEEP_CACHE": str(cwd / "cache"), **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_the_main_job_on_s3(store: dict[str, str], tmp_path: Path) -> None:
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
    secret = store["AWS_SECRET_ACCESS_KEY"]
    everything = b"".join(run.read(f"trials/{t['trial']}/record.arrow") for t in summary["trials"])
    assert secret.encode() not in everything and secret not in done.stdout + done.stderr

    shown = samsweep("leaderboard", "--storage", results, cwd=tmp_path).stdout
    assert "drawn" in shown and "decoder" in shown
    words = ("predict", "--run", "far", "--images", "raw/test/images", "--out", "out", "--storage", results)
    samsweep(*words, cwd=tmp_path)
    assert len(list((tmp_path / "out/masks").iterdir())) == 4
    assert not (tmp_path / "results").exists() and not (tmp_path / "data").exists()


def test_wrong_credentials_are_one_line(store: dict[str, str], tmp_path: Path) -> None:
    words = ("train", "decoder", "cod10k", "--local", "--data", "s3://bucket/data", "--storage", "s3://bucket/r")
    done = samsweep(*words, cwd=tmp_path, code=2, AWS_SECRET_ACCESS_KEY="wrong")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: s3://bucket") and "Traceback" not in done.stderr


def test_a_bucket_that_is_not_there_is_one_line(store: dict[str, str], tmp_path: Path) -> None:
    standin.write_folders("polyp", tmp_path / "raw", train=2, test=1, seed=1)
    done = samsweep("ingest", "x", "--source", "raw", "--out", "s3://nowhere/data", cwd=tmp_path, code=2)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "nowhere" in last and "Traceback" not in done.stderr
