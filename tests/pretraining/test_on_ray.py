"""`samsweep pretrain` under Ray Train: killed with SIGKILL in the middle, and gone on with by other workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.results import read_rows
from orchestrator.storage import Storage

EPOCHS = 4
COMMAND = [
    sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))",
    "pretrain", "--scenes", "16", "--epochs", str(EPOCHS),
    "--set", "train.samples=16 train.batch=4 train.precision=fp32 train.warmup=2 train.keep_every=2",
]  # fmt: skip


@pytest.mark.slow
def test_it_goes_on_after_a_kill_with_other_workers(tmp_path: Path) -> None:
    run = Storage(str(tmp_path / "results")) / "pretrain-vit_t"
    log = tmp_path / "first.log"
    with log.open("wb") as out:
        first = subprocess.Popen([*COMMAND, "--workers", "2"], cwd=tmp_path, stderr=out, start_new_session=True)
    deadline = time.monotonic() + 240
    while "epoch 2/" not in log.read_text():
        assert first.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = subprocess.run([*COMMAND, "--workers", "1"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    assert "going on with" in second.stderr and "epoch 1/" not in second.stderr
    (row,) = read_rows(Storage(str(tmp_path / "results")))
    assert [e["epoch"] for e in row["epochs"]] == list(range(1, EPOCHS + 1))
    assert len({e["order"] for e in row["epochs"]}) == EPOCHS
    assert run.exists("vit_t.safetensors") and run.exists("vit_t.md")
    assert not run.exists("trials/single/ray"), "Ray's folder goes with the end of the run"
