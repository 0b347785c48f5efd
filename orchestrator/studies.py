"""All sweeps' studies under STORAGE as one Optuna storage that only reads, for whoever shows them while they grow."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from typing import Any, NoReturn

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import UserError
from orchestrator.storage import Storage

FILE = "study.journal"  #: as ``study.FILE``, which comes with Ray
IDS = 2**20  #: of studies that one journal may have; journals are numbered
HERE_SECONDS, AWAY_SECONDS = 2.0, 10.0  #: between two looks at a folder, or at a store


class ReadOnly(RuntimeError):
    """Somebody wanted to change a study."""


class Journal(BaseJournalBackend):
    """A sweep's journal, read as far as it is whole. ``read``: its bytes from a place on; nothing is ever written."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read
        self._at, self._number = 0, 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from a number on: those that came since, as Optuna asks."""
        assert log_number_from == self._number, "one storage reads it, from the beginning"
        data = self.read(self._at)
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            self._at, self._number = self._at + len(line), self._number + 1
            try:
                yield json.loads(line)
            except ValueError:  # what a killed process left: no record, but Optuna counts what it was given
                self._number -= 1

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise ReadOnly("a sweep's study is only shown")


class _Run:
    """One sweep's journal, and what it says."""

    def __init__(self, folder: Storage, number: int) -> None:
        self.folder, self.number = folder, number
        self._data = b""  # of a store's journal, as it was when it was looked at last
        self._head = b""
        self.look()

    def look(self) -> None:
        """Fetch what is new; a run that was begun anew under the old name is read anew."""
        if not self.folder.is_local and self.folder.size(FILE) != len(self._data):
            self._data = self.folder.read(FILE)
        head = self._read(0, 1024).split(b"\n")[0]  # has the name of the process that began it
        if not self._head or head != self._head:
            self._head, self.storage = head, JournalStorage(Journal(self._read))

    def _read(self, at: int, most: int = -1) -> bytes:
        if not self.folder.is_local:
            return self._data[at : at + most] if most >= 0 else self._data[at:]
        with self.folder.local(FILE).open("rb") as file:
            file.seek(at)
            return file.read(most)


class Studies(BaseStorage):
    """The studies of all sweeps under STORAGE, looked at again and again in a thread; a context manager around it."""

    def __init__(self, root: Storage) -> None:
        self.root = root
        self._runs: dict[str, _Run] = {}
        self._numbers: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Studies:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def look(self) -> None:
        """See what is new under STORAGE. Raises UserError where it cannot be listed."""
        runs = {}
        for name in self.root.names():
            with suppress(UserError, OSError):  # it may just be on its way in or out
                run = self._runs.get(name)
                if run:
                    run.look()
                elif (self.root / name).exists(FILE):
                    run = _Run(self.root / name, self._numbers.setdefault(name, len(self._numbers)))
                if run:
                    runs[name] = run
        self._runs = runs

    def _go_on(self) -> None:
        while not self._over.wait(HERE_SECONDS if self.root.is_local else AWAY_SECONDS):
            with suppress(Exception):  # a store that is away for a while
                self.look()

    def get_all_studies(self) -> list[FrozenStudy]:
        found = []
        for run in self._runs.values():
            for study in run.storage.get_all_studies():
                found.append(copy.copy(study))
                found[-1]._study_id = run.number * IDS + study._study_id
        return found

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        storage, own = self._at(study_id)
        return storage.get_all_trials(own, deepcopy, states)

    def get_study_id_from_name(self, study_name: str) -> int:
        for study in self.get_all_studies():
            if study.study_name == study_name:
                return study._study_id
        raise KeyError(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        storage, own = self._at(study_id)
        return storage.get_study_name_from_id(own)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        storage, own = self._at(study_id)
        return storage.get_study_directions(own)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        storage, own = self._at(study_id)
        return storage.get_study_user_attrs(own)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        storage, own = self._at(study_id)
        return storage.get_study_system_attrs(own)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        raise KeyError(f"trial {trial_id}: only whole studies are read")

    def _at(self, study_id: int) -> tuple[JournalStorage, int]:
        """The journal that a study is in, and its number there. Raises KeyError."""
        for run in self._runs.values():
            if run.number == study_id // IDS:
                return run.storage, study_id % IDS
        raise KeyError(study_id)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise ReadOnly("a sweep's study is only shown")

    create_new_study = delete_study = set_study_user_attr = set_study_system_attr = _refuse
    create_new_trial = set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse
