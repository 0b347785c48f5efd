"""A sweep has one driver at a time; one that was killed does not count."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.alive import FILE, Heartbeat, check_alone, driver_of
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def note(run: Storage, **changes: Any) -> None:
    content = {"host": platform.node(), "pid": os.getpid(), "time": time.time()}
    run.write(FILE, json.dumps(content | changes).encode())


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path)) / "run"


def test_the_note_is_renewed_and_goes(run: Storage) -> None:
    with Heartbeat(run, beat=0.05):
        first = driver_of(run)
        assert first and first.alive and first.pid == os.getpid()
        time.sleep(0.3)
        second = driver_of(run)
        assert second and second.time > first.time
        check_alone(run, "run")  # oneself does not count
    assert driver_of(run) is None


def test_another_driver_is_named(run: Storage) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        note(run, pid=other.pid)
        with pytest.raises(UserError, match=f"NAME=run: process {other.pid} on .* runs that sweep; wait for it"):
            check_alone(run, "run")
        other.kill()
        for _ in range(100):  # dead, though nobody has asked for its exit code yet
            if not driver_of(run).alive:  # type: ignore[union-attr]
                break
            time.sleep(0.05)
        check_alone(run, "run")


def test_a_driver_elsewhere_counts_until_it_is_silent(run: Storage) -> None:
    note(run, host="elsewhere", pid=1)
    with pytest.raises(UserError, match="process 1 on elsewhere"):
        check_alone(run, "run")
    note(run, host="elsewhere", pid=1, time=time.time() - 100)
    check_alone(run, "run")


def test_a_note_that_says_nothing_stops_nobody(run: Storage) -> None:
    run.write(FILE, b"{")
    assert driver_of(run) is None
