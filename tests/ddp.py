"""Gradients of methods on one or several ranks, in processes of their own (gloo)."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from batches import as_in_training, make_batch, make_method
from torch.nn.parallel import DistributedDataParallel

from methods.base import Batch
from orchestrator.data.order import epoch_part, rank_batches
from orchestrator.engine import Engine
from orchestrator.job import Job, run_job
from orchestrator.ranks import Ranks


def gradients(name: str, images: int, rank: int, world: int, options: dict[str, object] | None = None) -> dict:
    """The gradient of the total loss of a global batch, as this rank holds it after the backward pass."""
    method = make_method(name, options).train()
    model = (
        DistributedDataParallel(method, broadcast_buffers=False, gradient_as_bucket_view=True) if world > 1 else method
    )
    whole = as_in_training(make_batch(images), method)
    ((indices, weights),) = rank_batches(np.arange(images), images, rank, world)
    part = whole.map(lambda tensor: tensor[torch.from_numpy(indices)])
    part = dataclasses.replace(part, weight=torch.from_numpy(weights))
    losses = method.loss(model(part), part)
    method.total(losses).backward()
    return {n: p.grad for n, p in method.named_parameters() if p.requires_grad}


def run_ranks(rank: int, world: int, port: int, cases: list, out: Path) -> None:
    """Entry of a spawned rank; the first one writes every case's gradients under ``out``."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    for key, (name, images, options) in enumerate(cases):
        found = gradients(name, images, rank, world, options)
        if rank == 0:
            torch.save(found, out / f"{key}.pt")
    dist.destroy_process_group()
    sys.stdout.flush()


def go_on(rank: int, world: int, port: int, job: Job, out: Path) -> None:
    """Entry of a spawned rank: the rest of a job; the first one writes what it saw and what was to be seen."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    ranks, records, mine = Ranks(rank, world), [], []
    step = Engine._step

    def watched(self: Engine, batch: Batch, epoch: int, number: int) -> dict:
        mine.append((epoch, number, batch.index[batch.weight > 0].tolist()))
        return step(self, batch, epoch, number)

    Engine._step = watched  # type: ignore[method-assign]
    run_job(job, ranks, torch.device("cpu"), lambda r: not records.append(r))
    parts = ranks.gather(mine)
    if rank == 0:
        t = job.full_settings().train
        seen = {
            f"{e}/{n}": [i for part in parts for x, y, rows in part if (x, y) == (e, n) for i in rows]
            for e, n, _ in mine
        }
        wanted = {}
        for epoch in (1, 2):
            for n, (rows, _) in enumerate(rank_batches(epoch_part(9, t.seed, epoch, 0), t.batch, 0, 1)):
                if (epoch, n) >= (1, t.keep_every):
                    wanted[f"{epoch}/{n}"] = rows.tolist()
        out.write_text(json.dumps({"seen": seen, "wanted": wanted, "records": records}))
    dist.destroy_process_group()
