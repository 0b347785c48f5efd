"""The driver of one trial: a Tune function that runs Ray Train and passes its epochs on to Tune."""

from __future__ import annotations

import re
import threading
from dataclasses import asdict
from typing import Any

import ray
import ray.train
import ray.tune
from ray.exceptions import RayActorError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError

from orchestrator.config import from_flat
from orchestrator.errors import UserError
from orchestrator.job import Job
from orchestrator.mailbox import PostEpochs
from orchestrator.ray_storage import mend_snapshot, ray_storage
from orchestrator.results import TRIALS
from orchestrator.space import TRIAL, chosen_settings
from orchestrator.storage import Storage
from orchestrator.worker import train_loop

#: Ray Train's own folder inside a trial's.
RAY_FOLDER = "ray"
#: What Tune and Optuna optimise: the best epoch so far, which is the checkpoint that is kept.
METRIC = "best"


class TrialFailed(RuntimeError):
    """A trial ended with an error; the message is its cause in one line."""


def run_trial(
    choices: dict[str, Any], base: dict[str, Any], data: str, fingerprint: str, run: str, mailbox: Any
) -> None:
    """Tune's trainable. ``choices``: what Optuna chose, by dotted key; ``base``: ``Settings.flat()``."""
    trial = choices[TRIAL]
    settings = from_flat(base).replace(chosen_settings(choices))
    job = Job(settings.flat(), data, f"{run}/{TRIALS}/{trial}", fingerprint)
    threading.Thread(target=fit, args=(job, trial, mailbox), daemon=True).start()
    seen = 0
    while (letter := opened(ray.get(mailbox.take.remote(trial)))) is not None:
        kind, content = letter
        if kind == "steps":
            continue
        # a trial that goes on tells the epochs before it again, of which this driver may have seen some or none
        for record in (*content.pop("earlier", ()), content):
            if record["epoch"] > seen:
                seen = record["epoch"]
                ray.tune.report({"epoch": seen, METRIC: record["best"], "record": record})


def name_of(trial: Any) -> str:
    """What we call one of Tune's trials."""
    return str(trial.config[TRIAL])


def opened(letter: tuple[str, Any]) -> tuple[str, Any] | None:
    """A letter that tells of an epoch (``epoch`` and its record) or its ``steps``; None for the last one.

    Raises:
        TrialFailed: it tells of a failure; with the cause.
    """
    kind, content = letter
    if kind == "failed":
        raise TrialFailed(content)
    return None if kind == "done" else letter


def fit(job: Job, trial: str, mailbox: Any) -> None:
    """Run a job under Ray Train to its end, whatever that is; its letters tell.

    A worker that died without a word is restarted once, from the last checkpoint: the run keeps its name, by
    which Ray Train finds it. What our own code raised would be raised again. Ray Train's own restarts are
    off, because a controller that is ended in the middle of one leaves its placement group, and with it the
    trial's cores, taken for ever.
    """
    for last in (False, True):
        try:
            mend_snapshot(Storage(job.trial) / RAY_FOLDER)
            _trainer(job, trial, mailbox).fit()
        except Exception as error:
            if _died(error) and not last:
                continue
            letter: tuple[str, Any] = ("failed", cause(error))
        else:
            letter = ("done", None)
        break
    ray.get(mailbox.put.remote(trial, *letter))


def _died(error: Exception) -> bool:
    """Whether a run failed because processes died, not because code raised."""
    failures = list(getattr(error, "worker_failures", {}).values())
    dead = (RayActorError, WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError)
    return bool(failures) and any(isinstance(f, dead) for f in failures)


def _trainer(job: Job, trial: str, mailbox: Any) -> TorchTrainer:
    """The Ray Train run of a job; its own files lie in the trial's folder and go when the trial ends."""
    t = job.full_settings().train
    resources = {"CPU": t.cpus_per_worker} | ({"GPU": t.gpus_per_worker} if t.gpus_per_worker else {})
    path, filesystem = ray_storage(Storage(job.trial))
    return TorchTrainer(
        train_loop,
        train_loop_config={"job": asdict(job), "mailbox": mailbox, "trial": trial},
        scaling_config=ray.train.ScalingConfig(
            num_workers=t.workers, use_gpu=t.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=RAY_FOLDER,
            storage_path=path,
            storage_filesystem=filesystem,
            callbacks=[PostEpochs(mailbox, trial, Storage(job.trial) / RAY_FOLDER)],
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=3),
        ),
    )


def cause(error: BaseException) -> str:
    """The reason of a failed run in one line: that of the rank which failed first, not of those it left."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [error]
    lines = [_last_line(failure) for failure in failures]
    told = [line for line in lines if not re.search(r"gloo|nccl|connection closed", line, re.IGNORECASE)]
    return (told or lines)[0][:400]


def _last_line(error: BaseException) -> str:
    error = getattr(error, "_base_exc", error)  # as Ray Train hands on what our code raised
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return kind + (lines[-1] if lines else "no message")
