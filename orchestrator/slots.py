"""Slots: Ray Train workers that stay and run one job after another, so that a trial starts no process.

A Ray Train run a trial costs more than many a training: a controller, its helpers and the workers are all new
processes that import torch. A slot is one such run, whose workers take jobs until there are no more.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray._common.constants import RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
from ray.exceptions import RayActorError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.exceptions import (
    InsufficientClusterResourcesError,
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.controller import TrainController

from orchestrator.cleaner import PatientCleanerCallback
from orchestrator.config import TrainSettings
from orchestrator.errors import NO_ROOM, UserError, last_line
from orchestrator.job import Job, run_job
from orchestrator.meeting import Meeting
from orchestrator.ray_storage import ray_storage
from orchestrator.storage import Storage
from orchestrator.worker import Work, train_loop

FOLDER = "slots"  #: Ray Train's own, in a run's
DEAD = (RayActorError, WorkerGroupStartupFailedError, WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError)
WITHOUT_ROOM = (WorkerGroupStartupTimeoutError, InsufficientClusterResourcesError)
LEAVING = 30.0  #: seconds for all threads to come out of Ray
#: How often a job goes on after its workers died: of themselves, because their node went, because one could no longer
#: reach another, or without room for them.
RESTARTS = {"process": 1, "node": 20, "peer": 3, "room": 3}
#: What a rank says that has lost another: as a rule the other's node is dead, and Ray does not know yet.
LOST_PEER = re.compile(r"gloo|nccl|connection closed", re.IGNORECASE)
NEWS_SECONDS = 60.0  #: for Ray to find out that a node is dead
NO_MEMORY = "out of memory: Ray ended a worker before its node had none left; lower train.batch or AT_ONCE"


@dataclass(frozen=True)
class Shape:
    """What a slot's workers are."""

    workers: int
    least: int  #: workers with which it goes on where there is no room for all
    cpus: float  #: of each
    gpus: float

    @classmethod
    def of(cls, train: TrainSettings) -> Shape:
        return cls(train.workers, train.least_workers, train.cpus_per_worker, train.gpus_per_worker)


class JobFailed(RuntimeError):
    """A job ended with an error; the message is its cause in one line."""


class Slot:
    """Workers of one Ray Train run. ``name``: what the dashboard's Train page calls it."""

    def __init__(
        self, name: str, folder: Storage, mailbox: Any, work: Work = run_job, over: threading.Event | None = None
    ) -> None:
        self.name, self.folder, self.mailbox, self.work = name, folder, mailbox, work
        self._over = over or threading.Event()
        self._fit: Future[None] | None = None
        self._shape: Shape | None = None
        self._key, self._runs, self._number = name, 0, 0
        self._trainer: _Trainer | None = None
        self._nodes: set[str] = set()

    def run(self, job: Job) -> None:
        """Run a job to its end, from its last state where its workers die. One at a time.

        Ray Train's own restarts are off: what our code raised would be raised again, and where processes died,
        the workers are started by ``open`` as they were the first time.

        Raises:
            JobFailed: with the cause; the workers are gone then, so that the next job meets a clean process.
        """
        shape = Shape.of(job.full_settings().train)
        if self._fit and (self._fit.done() or shape != self._shape):
            self.close()
        left = dict(RESTARTS)
        while True:
            fit = self._fit or self._open(shape)
            self._number += 1
            ray.get(self.mailbox.assign.remote(self._key, self._number, job))
            ended = self.mailbox.finished.remote(self._key, self._number).future()
            wait([fit, ended], return_when=FIRST_COMPLETED)
            if ended.done():
                ended.result()  # raises where Ray itself has gone
                return
            error = fit.exception()
            self._fit = None
            died = what_died(error) if error else "process"
            if died == "peer" and self._a_node_died():
                died = "node"
            if not died or not left[died] or self._over.is_set():
                raise JobFailed(cause(error) if error else "its workers ended without a word; see the log of Ray")
            left[died] -= 1

    def _a_node_died(self) -> bool:
        """Whether one of the nodes is dead that were there when the workers were started; waits for Ray to know."""
        end = time.monotonic() + NEWS_SECONDS
        while time.monotonic() < end and not self._over.is_set():
            if self._nodes - _alive():  # else new workers would be sent there
                return True
            time.sleep(0.5)
        return False

    def close(self, seconds: float = 30) -> None:
        """Send the workers home and wait for that."""
        if self._fit:
            ray.get(self.mailbox.assign.remote(self._key, self._number + 1, None))
            wait([self._fit], timeout=seconds)
            self.abort()
            self._fit = None

    def abort(self) -> None:
        """End the workers that are still there, whatever they do; they go with their controller."""
        fit, trainer = self._fit, self._trainer  # which another thread may be changing
        if fit and not fit.done() and trainer and trainer.controller:
            ray.kill(trainer.controller)
            wait([fit], timeout=10)

    def _open(self, shape: Shape) -> Future[None]:
        if self._over.is_set():
            raise JobFailed("the sweep is over")
        self._runs += 1
        self._nodes = _alive()
        self._key, self._shape = f"{self.name}.{self._runs}", shape  # a late word of dead workers concerns nobody
        self._trainer = trainer = _trainer(self._key, shape, self.folder, self.mailbox, self.work)
        self._fit = fit = Future[None]()

        def run() -> None:
            try:
                trainer.fit()
            except BaseException as error:
                fit.set_exception(error)
            else:
                fit.set_result(None)

        threading.Thread(target=run, name=self._key, daemon=True).start()
        return fit


class Slots:
    """As many slots as trials fit at once; each opens when it is first needed. Jobs end by a letter to their trial.

    A context manager: beyond it no thread speaks to Ray, which is about to go or to lose the mailbox.
    """

    def __init__(self, name: str, folder: Storage, mailbox: Any, most: int, work: Work = run_job) -> None:
        self.name, self.folder, self.mailbox, self.most, self.work = name, folder, mailbox, most, work
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._slots: list[Slot] = []
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Slots:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for _ in self._threads:
            self._jobs.put(None)
        end = time.monotonic() + LEAVING
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < end:
            for slot in self._slots:
                slot.abort()  # again and again: one may just have been starting
            time.sleep(0.1)
        for slot in self._slots:
            slot.abort()  # of those that had no job

    def start(self, job: Job) -> None:
        """Run a job as soon as a slot is free; comes back at once."""
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False) and len(self._threads) < self.most:
            name = f"{self.name}-slot{len(self._threads) + 1}"
            slot = Slot(name, self.folder, self.mailbox, self.work, self._over)
            self._slots.append(slot)
            self._threads.append(threading.Thread(target=self._serve, args=(slot,), daemon=True))
            self._threads[-1].start()

    def close(self, seconds: float = 10) -> None:
        """Send all workers home; those that have not gone by then are ended with the context."""
        for _ in self._threads:
            self._jobs.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _hand_over(self, job: Job, slot: Slot) -> bool:
        """Leave a job to the other slots; False where there are none."""
        with self._lock:
            if len(self._slots) == 1:
                return False
            self._slots.remove(slot)
            self.most = len(self._slots)
        self._jobs.put(job)
        return True

    def _serve(self, slot: Slot) -> None:
        while (job := self._jobs.get()) is not None:
            letter: tuple[str, Any] = ("done", None)
            try:
                slot.run(job)
            except Exception as error:
                letter = ("failed", cause(error))
            if self._over.is_set():
                return
            if letter[1] == NO_ROOM and self._hand_over(job, slot):
                return  # a node went for good: the other slots go on
            ray.get(self.mailbox.put.remote(job.name, *letter))
            self._idle.release()
        if not self._over.is_set():
            slot.close()


class _Trainer(TorchTrainer):
    """TorchTrainer whose controller can be killed, with a patient cleaner, without the helper for Ray Data's datasets.

    There are no such datasets; and Ray aborts a process that leaves it while a thread still waits in ``fit``.
    """

    controller: Any = None

    def _create_default_callbacks(self) -> list[Any]:
        not_these = (DatasetsCallback, PlacementGroupCleanerCallback)
        kept = [one for one in super()._create_default_callbacks() if not isinstance(one, not_these)]
        return [*kept, PatientCleanerCallback()]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        environment = {"env_vars": get_env_vars_to_propagate() | {RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR: "0"}}
        actor = ray.remote(num_cpus=0, label_selector=here, runtime_env=environment)(TrainController)
        self.controller = actor.remote(**arguments)
        ray.get(self.controller.run.remote())
        return ray.get(self.controller.get_result.remote())


def _trainer(name: str, shape: Shape, folder: Storage, mailbox: Any, work: Work) -> _Trainer:
    resources = {"CPU": shape.cpus} | ({"GPU": shape.gpus} if shape.gpus else {})
    workers = (shape.least, shape.workers) if shape.least < shape.workers else shape.workers
    path, filesystem = ray_storage(folder)
    return _Trainer(
        train_loop,
        train_loop_config={"mailbox": mailbox, "slot": name, "work": work},
        torch_config=Meeting(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=shape.gpus > 0, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )


def _alive() -> set[str]:
    """The nodes that Ray takes for alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def what_died(error: BaseException) -> str:
    """What a run failed of: 'node' or 'process' where one died, 'peer' where ranks only lost sight of each other,
    'room' where there was none; '' where code raised."""
    failures = _failures(error)
    if any(isinstance(failure, WITHOUT_ROOM) for failure in failures):
        return "room"
    dead = [failure for failure in failures if isinstance(failure, DEAD)]
    if not dead:
        return "peer" if all(LOST_PEER.search(str(failure)) for failure in failures) else ""
    return "node" if any("node has died" in str(failure) for failure in dead) else "process"


def cause(error: BaseException) -> str:
    """The reason of a failed run in one line: that of the rank which failed first, not of those it left."""
    if isinstance(error, JobFailed):
        return str(error)
    if what_died(error) == "room":
        return NO_ROOM
    failures = _failures(error)
    if any(re.search(r"low on memory|due to OOM", str(failure)) for failure in failures):
        return NO_MEMORY
    lines = [_last_line(failure) for failure in failures]
    told = [line for line in lines if not LOST_PEER.search(line)]
    return (told or lines)[0][:400]


def _failures(error: BaseException) -> list[BaseException]:
    """What failed in a Ray Train run: its controller, or some of its workers."""
    error = getattr(error, "controller_failure", error)
    return list(getattr(error, "worker_failures", {}).values()) or [error]


def _last_line(error: BaseException) -> str:
    error = getattr(error, "_base_exc", error)  # as Ray Train hands on what our code raised
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return kind + last_line(str(error), "no message")
