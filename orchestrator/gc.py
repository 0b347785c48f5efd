"""What nobody needs any more under STORAGE: found, told with its size and why, and removed on request.

What can still be gone on with is never touched, nor what somebody may be using now, nor what is not ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator import alive, checkpoint, runfile
from orchestrator.embeddings.key import ROOT as EMBEDDINGS
from orchestrator.embeddings.room import about, entries
from orchestrator.errors import UserError, unknown
from orchestrator.job import STATE_FILE
from orchestrator.pretraining.run import SETTINGS_FILE
from orchestrator.results import FILE as ROW
from orchestrator.results import TRIALS, read_rows
from orchestrator.status import Status, read_status
from orchestrator.storage import BESIDE, PROBE, Entry, Storage
from orchestrator.study import FILE as JOURNAL

STATES = (STATE_FILE, "ray")  #: what a trial that is not over goes on from: our file, or Ray Train's folder
WHILE_RUNNING = ("slots", "tune")  #: folders of Ray's own in a run, of use while it runs
#: Seconds of silence after which a driver, or who wrote what has no name yet, counts as gone: longer than a
#: store that is away is waited for.
GRACE = 600.0
#: All that may lie in a run's folder before it has a row; a folder with anything else in it is not ours.
OURS = {TRIALS, alive.FILE, "ray.log", *WHILE_RUNNING}
#: Some of these must be there, so that an empty folder is nobody's.
MARKS = {TRIALS, alive.FILE, "ray.log"}


@dataclass(frozen=True)
class Orphan:
    """Something to remove."""

    path: str  #: relative to STORAGE
    bytes: int
    why: str


@dataclass(frozen=True)
class Kept:
    """A run of which something, or all, is left alone."""

    run: str
    why: str


@dataclass(frozen=True)
class Found:
    """What a look under STORAGE brought."""

    orphans: list[Orphan]
    kept: list[Kept]

    @property
    def bytes(self) -> int:
        """Of all orphans together."""
        return sum(orphan.bytes for orphan in self.orphans)


def find_orphans(storage: Storage, names: Sequence[str] = (), pruned: bool = False) -> Found:
    """Look through the runs of STORAGE, or those of these names.

    Args:
        pruned: take the weights of pruned and failed trials for orphans, too.

    Raises:
        UserError: a name that is not there, or a store that does not answer.
    """
    there = storage.names()
    for name in names:
        if name not in there:
            raise unknown(f"run under {storage.uri}", name, there)
    found = Found([] if names else [*_probes(storage, there), *_embeddings(storage, there)], [])
    for name in names or (name for name in there if name != EMBEDDINGS):
        one = _look(storage, name, pruned)
        found.orphans.extend(one.orphans)
        found.kept.extend(one.kept)
    return found


def remove(storage: Storage, found: Found, pruned: bool = False) -> list[Orphan]:
    """Remove orphans that were found, but for those that no longer are: somebody may have gone on with their run.

    Returns those that were removed. Raises UserError where one cannot be.
    """
    removed: list[Orphan] = []
    runs = dict.fromkeys(orphan.path.split("/")[0] for orphan in found.orphans)
    beside = {orphan.path for orphan in _probes(storage, list(runs))}
    if EMBEDDINGS in runs:
        beside |= {orphan.path for orphan in _embeddings(storage, storage.names())}
    for run in runs:
        still = beside if run in beside | {EMBEDDINGS} else {o.path for o in _look(storage, run, pruned).orphans}
        for orphan in found.orphans:
            if orphan.path.split("/")[0] == run and orphan.path in still:
                storage.remove(orphan.path)
                removed.append(orphan)
    return removed


def _look(storage: Storage, name: str, pruned: bool) -> Found:
    """Into one run; a damaged one is left alone and does not hide the others."""
    try:
        return _Run(storage, name).find(pruned)
    except UserError as error:
        return Found([], [Kept(name, f"left alone: {error}")])


def _probes(storage: Storage, names: Sequence[str]) -> Iterator[Orphan]:
    """Files by which it was tried whether STORAGE can be written, left by a kill."""
    for name in names:
        if name.startswith(PROBE):
            yield Orphan(name, storage.size(name), "left by a check of STORAGE that was killed")


def _embeddings(storage: Storage, there: Sequence[str]) -> Iterator[Orphan]:
    """Stored embeddings that nobody uses now: none while anybody runs anything, who may want them in a minute."""
    if EMBEDDINGS not in there:
        return
    drivers = (alive.driver_of(storage / name) for name in there if name != EMBEDDINGS)
    if any(driver is not None and driver.within(GRACE) for driver in drivers):
        return
    for entry in entries(storage):
        if entry.idle(GRACE):
            key = about(storage, entry)
            of = f"{key.get('dataset', 'a data set')} by {key.get('backbone', 'a frozen encoder')}"
            when = f"{datetime.fromtimestamp(entry.used):%Y-%m-%d}"
            yield Orphan(entry.path, entry.bytes, f"embeddings of {of}, computed again when needed; last used {when}")


class _Run:
    """One run's folder: what lies in it, and what its rows and its study say. Raises UserError where it is damaged."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage, self.name = storage, name
        self.driver = alive.driver_of(storage / name)  # before the rest: who begins later is noticed by ``remove``
        self.tree = (storage / name).tree()
        self.trials = sorted({path.split("/")[1] for path in self.tree if path.startswith(f"{TRIALS}/")})

    def find(self, pruned: bool) -> Found:
        """Its orphans."""
        if self.driver is not None and self.driver.within(GRACE):
            silent = time.time() - self.driver.time
            says = "runs it" if self.driver.alive else f"may still run it (silent for {silent / 60:.0f} min)"
            return self._left(f"left alone: process {self.driver.pid} on {self.driver.host} {says}")
        if not any(path.rpartition("/")[2] in (runfile.FILE, SETTINGS_FILE, ROW) for path in self.tree):
            return self._without_a_sign()
        rows = {row["trial"]: row["status"] for row in read_rows(self.storage, self.name)}
        sweep = read_status(self.storage, self.name) if runfile.FILE in self.tree else None
        # what was stopped goes on, and so does a pretraining that failed
        going_on = {"stopped", "failed"} if SETTINGS_FILE in self.tree else {"stopped"}
        over = {trial: status for trial, status in rows.items() if status not in going_on}
        orphans = [*self._of_run(), *self._of_trials(over, pruned), *self._without_a_row(rows, sweep)]
        whole = {orphan.path for orphan in orphans}
        inside = [o for o in orphans if any(o.path.startswith(f"{path}/") for path in whole)]
        return Found([o for o in orphans if o not in inside], self._needed(over, whole))

    def _without_a_sign(self) -> Found:
        """A folder that no sweep and no row tells of."""
        top = {path.split("/")[0] for path in self.tree}
        if not top & MARKS or not all(part in OURS or part.startswith(JOURNAL) or BESIDE.search(part) for part in top):
            return Found([], [])  # not ours
        newest = max(entry.modified for entry in self.tree.values())
        if time.time() - newest < GRACE:
            return self._left("left alone: has no result yet, and was written to in the last minutes")
        return Found([self._orphan("", "has no result, and no sweep to go on with")], [])

    def _of_run(self) -> Iterator[Orphan]:
        for folder in WHILE_RUNNING:
            if self._has(folder):
                yield self._orphan(folder, "Ray's own files, of use only while it ran")
        if alive.FILE in self.tree:
            yield self._orphan(alive.FILE, "says that somebody runs it, who has gone")
        for path, entry in self.tree.items():
            if not entry.is_folder and BESIDE.search(path):
                yield self._orphan(path, "half written when its writer was killed")

    def _of_trials(self, over: Mapping[str, str], pruned: bool) -> Iterator[Orphan]:
        for trial, status in over.items():
            for state in STATES:
                if self._has(f"{TRIALS}/{trial}/{state}"):
                    yield self._orphan(f"{TRIALS}/{trial}/{state}", f"to go on from, but the trial is {status}")
            weights = f"{TRIALS}/{trial}/{checkpoint.FILE}"
            if pruned and status in ("pruned", "failed") and weights in self.tree:
                yield self._orphan(weights, f"weights of a trial that is {status} (--pruned)")

    def _without_a_row(self, rows: Mapping[str, str], sweep: Status | None) -> Iterator[Orphan]:
        """Folders of trials that will never have a row."""
        if sweep is None:
            return
        known = {*sweep.over, *(trial.trial for trial in sweep.begun)} if JOURNAL in self.tree else {*self.trials}
        for trial in self.trials:
            if trial in rows:
                continue
            if len(sweep.over) >= sweep.trials:
                yield self._orphan(f"{TRIALS}/{trial}", "has no result, and the sweep is finished")
            elif trial not in known:
                yield self._orphan(f"{TRIALS}/{trial}", "has no result, and the study does not know it")

    def _needed(self, over: Mapping[str, str], orphans: set[str]) -> list[Kept]:
        """What is kept to be gone on with."""
        needed = [
            trial
            for trial in self.trials
            if trial not in over
            and f"{self.name}/{TRIALS}/{trial}" not in orphans
            and any(self._has(f"{TRIALS}/{trial}/{state}") for state in STATES)
        ]
        if not needed:
            return []
        return self._left(f"can be gone on with: the state of trial {', '.join(needed)} stays").kept

    def _has(self, path: str) -> bool:
        """Whether there is a file or folder; not every store lists folders by themselves."""
        return path in self.tree or any(name.startswith(f"{path}/") for name in self.tree)

    def _left(self, why: str) -> Found:
        return Found([], [Kept(self.name, why)])

    def _orphan(self, path: str, why: str) -> Orphan:
        parts = [entry for name, entry in self.tree.items() if not path or name == path or name.startswith(f"{path}/")]
        return Orphan(f"{self.name}/{path}".rstrip("/"), _bytes(parts), why)


def _bytes(entries: Sequence[Entry]) -> int:
    return sum(entry.bytes for entry in entries)
