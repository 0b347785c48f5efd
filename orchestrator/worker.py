"""What each DDP rank does under Ray Train: run the job, hand every epoch to ``ray.train.report``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from orchestrator.cores import rank_threads
from orchestrator.engine import OnStep
from orchestrator.job import Job, run_job
from orchestrator.ranks import Ranks
from orchestrator.ray_storage import upload

STEP_LETTERS = 2.0  #: seconds between two words about how far an epoch is


def train_loop(config: dict[str, Any]) -> None:
    """Ray Train's loop per worker. ``config``: ``job`` (a ``Job``'s fields), ``mailbox`` and ``trial``."""
    context = ray.train.get_context()
    job = Job(**config["job"])
    torch.set_num_threads(rank_threads(job.settings["train.cpus_per_worker"]))

    def report(record: dict[str, Any] | None, folder: Path | None) -> None:
        # a barrier: every rank reports whenever one does, only the first with a folder
        kept = ray.train.Checkpoint.from_directory(str(folder)) if folder else None
        ray.train.report(record or {}, checkpoint=kept, checkpoint_upload_fn=upload)

    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device()
    on_step = _post_steps(config["mailbox"], config["trial"]) if ranks.first else _silent
    earlier = ray.train.get_checkpoint()
    if earlier is None:
        run_job(job, ranks, device, report, on_step=on_step)
    else:
        with earlier.as_directory() as folder:
            run_job(job, ranks, device, report, Path(folder), on_step)


def _silent(epoch: int, step: int, steps: int) -> None:
    pass


def _post_steps(mailbox: Any, trial: str) -> OnStep:
    """Puts a letter about the epoch's steps into the mailbox now and then; nobody waits for it."""
    last = time.monotonic()

    def post(epoch: int, step: int, steps: int) -> None:
        nonlocal last
        if time.monotonic() - last >= STEP_LETTERS:
            last = time.monotonic()
            mailbox.put.remote(trial, "steps", (epoch, step, steps))

    return post
