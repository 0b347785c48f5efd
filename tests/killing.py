"""A real sweep in a process of its own, and its parts to be killed: only what lies below that process."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

WORKER, RAYLET = "ray::RayTrainWorker", "/raylet/raylet "
#: Processes that write results: none of a killed driver's may live on.
WRITERS = (WORKER, "ray::TrainController", "ray::ImplicitFunc", "ray::Mailbox")


class Driver:
    """``samsweep`` with some words, the first process of a session of its own."""

    def __init__(self, words: Sequence[str], cwd: Path) -> None:
        command = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main())", *words]
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        with (cwd / "said.txt").open("wb") as said:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        self.said_file = cwd / "said.txt"

    @property
    def said(self) -> str:
        return self.said_file.read_text()

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return not self.runs

    def below(self) -> dict[int, str]:
        """The processes below it: their command lines."""
        table = {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
        found, size = {self.process.pid}, 0
        while len(found) != size:
            size = len(found)
            found |= {pid for pid, parent in table.items() if parent in found}
        return {pid: command_line(pid) for pid in found - {self.process.pid}}

    def kill(self, what: str, draw: random.Random) -> bool:
        """Kill one of 'driver', 'session', 'worker', 'raylet'; False where there is none such now."""
        if what in ("driver", "session"):
            (os.killpg if what == "session" else os.kill)(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return True
        part = WORKER if what == "worker" else RAYLET
        victims = sorted(pid for pid, line in self.below().items() if part in line)
        if not victims:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(victims), signal.SIGKILL)
            return True
        return False

    def writers(self) -> list[int]:
        return [pid for pid, line in self.below().items() if line.startswith(WRITERS)]

    def end(self) -> None:
        """Whatever a failed test leaves: the driver goes, and with it its Ray."""
        if self.runs:
            self.process.kill()
            self.process.wait()


def still_writing(pids: Sequence[int], seconds: float = 30) -> list[str]:
    """What of these processes is left after a while."""
    end = time.monotonic() + seconds
    while left := [line for pid in pids if (line := command_line(pid)).startswith(WRITERS)]:
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    return left


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
