"""clusters/slurm.sbatch on a real Slurm of one node: a sweep near its time limit, and one that is queued again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm import Slurm, missing, slurm

from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if missing():
        pytest.fail(f"not installed: {', '.join(missing())}; make test-cluster installs them")
    with slurm(tmp_path_factory.mktemp("slurm")) as found:
        yield found


def submit(cluster: Slurm, folder: Path, *words: str) -> str:
    """Queue a command as a user does, from ``folder``; the job's number."""
    script = "import sys; from orchestrator.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "slurm", "--nodes", "1", "--options=--gres=none", *words]
    environment = {**cluster.environment, "SAMSWEEP_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is queued on 1 node(s)" in done.stdout and "scancel" in done.stdout
    return done.stdout.split()[2]


def until(text: str, log: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < end, f"no '{text}' in:\n{log.read_text()[-3000:] if log.exists() else ''}"
        time.sleep(0.5)


def test_a_sweep_goes_on_after_its_time_limit_and_after_a_requeue(
    cluster: Slurm, tmp_path: Path, tiny_data: Path
) -> None:
    words = ["sweep", "decoder", "tiny", "--trials", "2", "--at-once", "1", "--epochs", "60", "--name", "long"]
    words += ["--set", "train.batch=4 train.precision=fp32", "--data", str(tiny_data), "--storage", "results"]
    job = submit(cluster, tmp_path, *words)
    log, run = tmp_path / f"samsweep-{job}.log", tmp_path / "results" / "long"
    until("epoch ", log, 180)
    # as Slurm does five minutes before the time limit
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    until("the time limit is near", log, 20)
    end = time.monotonic() + 120
    while cluster.job(job)["Restarts"] != "1":
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(1)
    states = list(run.glob("trials/*/state.pt"))
    assert states, "no checkpoint was left"
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    until("going on with sweep 'long'", log, 240)
    until("epoch ", log, 120)
    cluster.run("scontrol", "requeue", job)
    cluster.wait_for(job, ["PENDING"], 120)
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    ended = cluster.wait_for(job, ["COMPLETED", "FAILED", "TIMEOUT"], 500)
    assert ended["JobState"] == "COMPLETED" and ended["Restarts"] == "2", log.read_text()[-3000:]
    rows = read_rows(Storage(str(tmp_path / "results")), "long")
    assert {row["status"] for row in rows} <= {"completed", "pruned"} and len(rows) == 2, rows
    first = next(row for row in rows if row["trial"] == "000")
    assert [record["epoch"] for record in first["epochs"]] == list(range(1, 61))
    assert log.read_text().count("leaderboard of this run") >= 1


def test_nothing_of_a_job_is_left(cluster: Slurm, tmp_path: Path, tiny_data: Path) -> None:
    """A mistake ends the job with the command's code; the job's Ray goes with it."""
    job = submit(cluster, tmp_path, "train", "decoder", "nosuchset", "--data", str(tiny_data), "--storage", "results")
    ended = cluster.wait_for(job, ["COMPLETED", "FAILED"], 240)
    assert ended["JobState"] == "FAILED" and ended["ExitCode"] == "2:0"
    assert "error: unknown dataset 'nosuchset'" in (tmp_path / f"samsweep-{job}.log").read_text()
    end = time.monotonic() + 60
    while left := subprocess.run(["pgrep", "-f", f"samsweep-{job}-0"], capture_output=True, text=True).stdout.split():
        assert time.monotonic() < end, left
        time.sleep(1)
