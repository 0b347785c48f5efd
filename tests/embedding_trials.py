"""Trials with stored embeddings, for tests."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.config import make_settings
from orchestrator.data.reader import open_dataset
from orchestrator.embeddings import encode, key
from orchestrator.job import Job, run_job
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage


def job_of(data: Path, out: Path, store: str, method: str = "decoder", **changes: Any) -> Job:
    fixed = {"train.epochs": 1, "train.batch": 4, "train.precision": "fp32", "train.lr": 1e-3}
    fingerprint = open_dataset(Storage(str(data)), "tiny").manifest.fingerprint
    settings = make_settings(method, "tiny", fixed | changes)
    return Job(settings.flat(), str(data), str(out), fingerprint, storage=store)


def run(job: Job, steps: list[tuple[int, int, int]] | None = None) -> list[dict[str, Any]]:
    """The records of a trial in this process."""
    records: list[dict[str, Any]] = []
    told = (lambda *step: None) if steps is None else (lambda *step: steps.append(step))
    run_job(job, Ranks(), torch.device("cpu"), lambda record: not records.append(record), told)
    return records


def run_apart(rank: int, world: int, port: int, jobs: list[Job], out: Path) -> None:
    """Entry of a spawned process: one of ``world`` ranks, or, with ``port`` 0, a trial of its own. Four images a shard.

    Writes its records and what its own encoder made of each image: (split, mirrored, rows) to ``out``/RANK.json.
    """
    faulthandler.enable()  # where torch aborts, its reader wants to know the place
    torch.set_num_threads(1)
    key.MOST_ROWS = 4
    if port:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=world)
    ranks = Ranks(rank, world) if port else Ranks()
    made: list[Any] = []
    loader = encode._loader

    def watched(method: Any, split: Any, unit: Any, *more: Any) -> Any:
        made.append((unit.split, unit.flipped, unit.rows))
        return loader(method, split, unit, *more)

    encode._loader = watched
    records: list[dict[str, Any]] = []
    run_job(jobs[rank], ranks, torch.device("cpu"), lambda record: not records.append(record))
    (out / f"{rank}.json").write_text(json.dumps({"made": made, "records": records}))
    ranks.gather(None)  # nobody still listens to who leaves
    if port:
        dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads and the end of the interpreter do not always agree


def die_filling(number: int, job: Job) -> None:
    """Entry of a spawned process that is killed while it holds a claim."""

    def killed(*words: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    encode._loader = killed
    run(job)
