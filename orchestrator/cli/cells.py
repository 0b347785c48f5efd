"""A grid's cells side by side: each a `samsweep sweep` in a process of its own, all of them on one Ray."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from orchestrator.errors import UserError
from orchestrator.grid import Cell

MOST = 8  #: cells at once: each has a driver of a gigabyte on this machine
PROGRESS = re.compile(r"\[\d+:\d\d")  #: how a sweep's lines of progress begin
ENTRY = "import sys; from orchestrator.cli import main; sys.exit(main())"
OPTIONS = ("epochs", "backbone", "workers", "seed", "seeds", "set", "data", "storage", "warm_start", "objectives")
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: not between a fork and its exec


@dataclass
class Outcome:
    """What came of a grid's cells."""

    failed: list[tuple[Cell, str]] = field(default_factory=list)  #: with the reason
    runs: list[Any] = field(default_factory=list)  #: what each sweep told by --json
    interrupted: bool = False


class Lanes:
    """Cells side by side on the Ray at ``address``, as many as ``shares`` of the trials that fit there at once.

    ``prepare`` sees to it that a cell's data are there, before it starts: two must not draw them at once.
    """

    def __init__(self, address: str, shares: Sequence[int], screen: IO[str], prepare: Callable[[Cell], object]) -> None:
        self.address, self.lanes, self.prepare = address, len(shares), prepare
        self._one_prepares = threading.Lock()
        self._shares: queue.SimpleQueue[int] = queue.SimpleQueue()
        for share in shares:
            self._shares.put(share)
        self.console = Console(file=screen, markup=False, highlight=False, soft_wrap=True)
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = threading.Event()

    def run(self, a: argparse.Namespace, heads: Sequence[tuple[Cell, str, str]], trials: int) -> Outcome:
        """All cells (with their line's head and their run's name); one that fails leaves the others alone.

        An interrupt ends them all, as it ends a sweep.
        """
        outcome = Outcome()
        with ThreadPoolExecutor(self.lanes) as pool:
            jobs = [pool.submit(self._cell, a, *head, trials, outcome) for head in heads]
            try:
                for job in jobs:
                    job.result()
            except KeyboardInterrupt:
                outcome.interrupted = True
                self._stop()
        return outcome

    def _cell(self, a: argparse.Namespace, cell: Cell, head: str, name: str, trials: int, outcome: Outcome) -> None:
        if self._stopped.is_set():
            return
        self.console.print(head, style="bold")
        began, share = time.monotonic(), self._shares.get()
        try:
            with self._one_prepares:
                self.prepare(cell)
            code, told, said = self._sweep(cell, words_of(a, cell, name, share, trials))
            if told.strip():
                outcome.runs.append(json.loads(told))
        except UserError as error:
            code, told, said = 2, "", str(error)
        except (OSError, ValueError) as error:
            code, said = 2, f"{type(error).__name__}: {error}"
        finally:
            self._shares.put(share)
        if self._stopped.is_set():
            outcome.interrupted = True
        elif code == 130:
            outcome.failed.append((cell, "some of its trials were stopped; the same command goes on with them"))
        elif code in (0, 1):  # 1: of its seeds, one failed
            self.console.print(f"{head}: done in {time.monotonic() - began:.0f} s")
        else:
            why = said.removeprefix("error: ") or f"its process ended with {code}; see the log in its run's folder"
            outcome.failed.append((cell, why))
            self.console.print(f"{head} failed: {why}", style="red")

    def _sweep(self, cell: Cell, words: Sequence[str]) -> tuple[int, str, str]:
        """Run one sweep; returns its exit code, its JSON and its last error."""
        said = ""
        # a file, since a pipe that nobody reads meanwhile would stop the sweep at its end
        with (
            tempfile.TemporaryFile("w+") as told,
            subprocess.Popen(
                [sys.executable, "-c", ENTRY, *words],
                env={**os.environ, "RAY_ADDRESS": self.address},
                stdout=told,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C reaches this process alone, which hands it on once
                preexec_fn=_as_a_child,
            ) as process,
        ):
            self._running.add(process)
            if self._stopped.is_set():
                self._interrupt(process)
            assert process.stderr is not None
            for line in process.stderr:
                said = line.strip() if line.startswith("error: ") else said
                if PROGRESS.match(line):
                    self.console.print(f"{cell.method} on {cell.dataset} {line.rstrip()}")
            code = process.wait()
            self._running.discard(process)
            told.seek(0)
            return code, told.read(), said

    def _stop(self) -> None:
        """Let every sweep that runs end as Ctrl-C would, and begin no other."""
        self._stopped.set()
        for process in list(self._running):
            self._interrupt(process)

    def _interrupt(self, process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)


def words_of(a: argparse.Namespace, cell: Cell, name: str, share: int, trials: int) -> list[str]:
    """The command of one cell's sweep; ``a``: the grid's."""
    words = ["sweep", cell.method, cell.dataset, "--name", name, "--trials", str(trials)]
    words += ["--at-once", str(share), "--json"]
    given = {option: getattr(a, option) for option in OPTIONS}
    return words + [
        w for option, value in given.items() if value for w in (f"--{option.replace('_', '-')}", str(value))
    ]


@contextmanager
def side_by_side(a: argparse.Namespace, cells: Sequence[Cell], grid: str) -> Iterator[Lanes]:
    """One Ray for a grid, shared evenly among the cells that run at once; what Ray writes goes to a log.

    Raises:
        UserError: Ray does not start, or no trial fits.
    """
    from orchestrator.cli.common import notes
    from orchestrator.cli.run import changes_of
    from orchestrator.config import make_settings
    from orchestrator.plan import find_data, find_teacher
    from orchestrator.runtime import Watchdog, quiet, ray_cluster
    from orchestrator.storage import Storage

    changes = {key: value for key, value in changes_of(a).items() if key.startswith("train.")}
    train = make_settings(cells[0].method, cells[0].dataset, changes).train
    storage = Storage(a.storage)
    folder = storage.local() if storage.is_local else Path(tempfile.mkdtemp(prefix="samsweep-"))
    log = folder / f"{grid}.ray.log"
    notes().print(f"starting Ray; its log is {log}", style="dim", soft_wrap=True)
    with quiet(log) as screen, contextlib.ExitStack() as stack:
        dog = Watchdog(screen, f"Ray's own processes died; see {log}; the same command with NAME={grid} goes on")
        stack.callback(dog.stop)
        capacity, dashboard = stack.enter_context(ray_cluster(log))
        stack.callback(dog.stop)  # before Ray is shut down
        if capacity.gpus and "train.gpus_per_worker" not in changes:
            train = dataclasses.replace(train, gpus_per_worker=1.0)
        fit = min(capacity.concurrent(train), a.at_once or sys.maxsize)
        lanes = min(len(cells), fit, os.cpu_count() or 1, MOST)
        if dashboard:
            print(f"dashboard: {dashboard}", file=screen)

        def prepare(cell: Cell) -> None:
            root, _ = find_data(cell.dataset, Storage(a.data), say)
            find_teacher(make_settings(cell.method, cell.dataset, changes_of(a)), root, storage, say)

        def say(text: str) -> None:
            print(text, file=screen)

        yield Lanes(_address(), [fit // lanes + (lane < fit % lanes) for lane in range(lanes)], screen, prepare)


def _address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _as_a_child() -> None:
    """A grid that is killed takes its cells along; elsewhere than on Linux they end with their Ray."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a script starts in the background
    if LIBC:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
