"""samsweep's commands in processes of their own, as a user starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SAMSWEEP = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main())"]


def samsweep(*words: str, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*SAMSWEEP, *words]
    env = {**os.environ, "SAMSWEEP_CACHE": str(cwd / "cache"), **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def begin(words: list[str], cwd: Path, until: str) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own and wait until it has said something."""
    log = cwd / "begun.log"
    with log.open("wb") as out:
        env = {**os.environ, "SAMSWEEP_CACHE": str(cwd / "cache")}
        child = subprocess.Popen([*SAMSWEEP, *words], cwd=cwd, env=env, stderr=out, start_new_session=True)
    deadline = time.monotonic() + 150
    while until not in log.read_text():
        if child.poll() is not None or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            pytest.fail(log.read_text())
        time.sleep(0.1)
    return child
