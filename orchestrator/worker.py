"""What each DDP rank does under Ray Train: run the job, hand every epoch to ``ray.train.report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from orchestrator.job import Job, run_job
from orchestrator.ranks import Ranks


def train_loop(config: dict[str, Any]) -> None:
    """Ray Train's loop per worker. ``config``: the fields of a ``Job``."""
    context = ray.train.get_context()
    job = Job(**config)
    torch.set_num_threads(max(1, int(job.settings["train.cpus_per_worker"])))

    def report(record: dict[str, Any], folder: Path | None) -> None:
        # a barrier: every rank reports every epoch, only the first with a folder
        kept = ray.train.Checkpoint.from_directory(str(folder)) if folder else None
        ray.train.report(record, checkpoint=kept)

    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device()
    earlier = ray.train.get_checkpoint()
    if earlier is None:
        run_job(job, ranks, device, report)
    else:
        with earlier.as_directory() as folder:
            run_job(job, ranks, device, report, Path(folder))
