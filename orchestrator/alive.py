"""Who drives a sweep: a note beside its results that is renewed while the driver lives."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from orchestrator.errors import UserError
from orchestrator.storage import Storage

FILE = "alive.json"
BEAT = 10.0  #: seconds between two notes
SILENCE = 60.0  #: seconds after which a driver on another machine counts as gone


@dataclass(frozen=True)
class Driver:
    """The process that last drove a sweep."""

    host: str
    pid: int
    time: float  #: of its last note, in seconds since 1970

    @property
    def alive(self) -> bool:
        """Whether it still drives: its note is fresh, and on this machine there is such a process."""
        return self.within(SILENCE)

    def within(self, seconds: float) -> bool:
        """Whether it may still drive, though it was silent for nearly so many seconds."""
        if self.host == platform.node() and not is_running(self.pid):
            return False
        return time.time() - self.time < seconds


def driver_of(run: Storage) -> Driver | None:
    """The last driver of a run; None where it left in good order, or its note cannot be understood."""
    if not run.exists(FILE):
        return None
    try:
        return Driver(**json.loads(run.read(FILE)))
    except (ValueError, TypeError):
        return None


def check_alone(run: Storage, name: str) -> None:
    """Raise UserError while another process drives a run."""
    driver = driver_of(run)
    if driver is not None and driver.alive and driver.pid != os.getpid():
        raise UserError(
            f"NAME={name}: process {driver.pid} on {driver.host} runs that sweep; wait for it, or end it first"
        )


class Heartbeat:
    """Says that this process drives ``run``, as long as the block lasts."""

    def __init__(self, run: Storage, beat: float = BEAT) -> None:
        self.run, self.beat = run, beat
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(UserError):  # the store is away: the note grows old by itself
            self.run.remove(FILE)

    def _renew(self) -> None:
        while not self._over.wait(self.beat):
            try:
                self._write()
            except UserError:
                continue  # the store is away; who trains will say so

    def _write(self) -> None:
        note = {"host": platform.node(), "pid": os.getpid(), "time": time.time()}
        self.run.write(FILE, json.dumps(note).encode(), patience=0)


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"  # dead, but not yet buried
        except (OSError, IndexError):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
