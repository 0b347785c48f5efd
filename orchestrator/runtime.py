"""Ray itself: start or join a cluster quietly, and say beforehand whether a trial fits on it."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.config import TrainSettings
from orchestrator.errors import UserError

#: Read by Ray when it starts or when a trial does; what the user has set wins.
ENVIRONMENT = {
    # every report() and shutdown waits for the controller's poll, 2 s by default
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # the dashboard's Train page
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what the user typed
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
#: Ray's object store holds nothing of ours; its default of 30 % of memory would be locked away.
OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Capacity:
    """What the cluster has."""

    cpus: float
    gpus: float
    dashboard: str | None  #: URL

    def concurrent(self, train: TrainSettings) -> int:
        """How many trials fit at once.

        Raises:
            UserError: not even one; says what is missing.
        """
        cpus, gpus = train.workers * train.cpus_per_worker, train.workers * train.gpus_per_worker
        if cpus > self.cpus:
            raise UserError(
                f"WORKERS={train.workers}: a trial needs {cpus:g} CPU cores and the cluster has {self.cpus:g}; "
                f'lower WORKERS, or SET="train.cpus_per_worker={_share(self.cpus / train.workers)}"'
            )
        if gpus > self.gpus:
            raise UserError(
                f"WORKERS={train.workers}: a trial needs {gpus:g} GPUs and the cluster has {self.gpus:g}; "
                f"lower WORKERS or train.gpus_per_worker"
            )
        fits = math.floor(self.cpus / cpus + 1e-9)
        return min(fits, math.floor(self.gpus / gpus + 1e-9)) if gpus else fits


def check_here(train: TrainSettings) -> None:
    """Before Ray starts on this machine: whether one trial can ever fit on its cores."""
    if "RAY_ADDRESS" not in os.environ:
        Capacity(os.cpu_count() or 1, math.inf, None).concurrent(train)


@contextmanager
def ray_cluster(log: Path) -> Iterator[Capacity]:
    """A local Ray, or the cluster that RAY_ADDRESS names; its chatter goes to ``log``.

    Only what was started here is stopped.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    address = os.environ.get("RAY_ADDRESS")
    local = {} if address else {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": True}
    _log_to_file(log)
    try:
        context = ray.init(address=address or "local", log_to_driver=False, namespace="samsweep", **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"Ray did not start ({reason}); see {log}, or unset RAY_ADDRESS") from error
    try:
        resources = ray.cluster_resources()
        url = f"http://{context.dashboard_url}" if context.dashboard_url else None
        yield Capacity(resources.get("CPU", 0.0), resources.get("GPU", 0.0), url)
    finally:
        ray.shutdown()


@contextmanager
def quiet(log: Path) -> Iterator[IO[str]]:
    """Send everything written to stdout and stderr to ``log``; yields the terminal for our own display.

    At the level of file descriptors, because Ray's processes write there themselves.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal, saved = os.dup(2), (os.dup(1), os.dup(2))
    with log.open("ab") as file, os.fdopen(terminal, "w", buffering=1) as screen:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield screen
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def _share(cpus: float) -> float:
    return math.floor(cpus * 100) / 100


def _log_to_file(log: Path) -> None:
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    for name in ("ray", "ray.tune", "ray.train", "optuna"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
