"""What each DDP rank does under Ray Train: one job after another, every epoch told to the mailbox."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from orchestrator.cores import rank_threads
from orchestrator.engine import OnStep
from orchestrator.job import Job, Report
from orchestrator.ranks import Ranks

STEP_LETTERS = 2.0  #: seconds between two words about how far an epoch is
ASK_SECONDS = 2.0  #: between two looks at whether a node is about to be taken away

#: What a rank does for a job: ``job.run_job``.
Work = Callable[..., None]


def train_loop(config: dict[str, Any]) -> None:
    """Ray Train's loop per worker: the jobs of ``slot`` until there are no more; an error ends the worker.

    ``config``: ``mailbox``, ``slot`` and ``work`` (a ``Work``).
    """
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device()
    mailbox, slot = config["mailbox"], config["slot"]
    number = 0
    while True:
        number, job = ray.get(mailbox.job.remote(slot, number))
        if job is None:
            return
        # workers that died with their trial told are started once more: it must not be trained again, over its result
        if not ranks.gather(ranks.first and ray.get(mailbox.is_closed.remote(job.name)))[0]:
            _do(job, config["work"], mailbox, ranks, device)
        ranks.gather(None)  # nobody is still at it
        if ranks.first:
            ray.get(mailbox.finish.remote(slot, number))


def _do(job: Job, work: Work, mailbox: Any, ranks: Ranks, device: torch.device) -> None:
    """One job, in a process that has done others: nothing of them may be left."""
    torch.set_num_threads(rank_threads(job.settings["train.cpus_per_worker"]))
    on_step = _post_steps(mailbox, job.name) if ranks.first else _silent
    work(job, ranks, device, _reporter(mailbox, job.name, ranks), on_step, Notice(ranks, device))
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _reporter(mailbox: Any, trial: str, ranks: Ranks) -> Report:
    """Tells an epoch and waits for the word whether to go on; the same for every rank."""

    def report(record: dict[str, Any]) -> bool:
        go_on = True
        if ranks.first:
            ray.get(mailbox.put.remote(trial, "epoch", record))
            go_on = "test" in record or ray.get(mailbox.may_go_on.remote(trial, record["epoch"]))
        return bool(ranks.gather(go_on)[0])

    return report


class Notice:
    """Whether Ray has told since the last call that a node of ours is about to be taken away.

    Asked after every step, on every rank at once; the answer is the same for all of them.
    """

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        self.ranks, self.device = ranks, device
        self._asked, self._told = time.monotonic(), ""

    def __call__(self) -> bool:
        # the ranks' clocks differ, and Ray's answer is a meeting of all
        if not self.ranks.any(time.monotonic() - self._asked > ASK_SECONDS, self.device):
            return False
        info = ray.train.get_preemption_info()
        self._asked = time.monotonic()
        told = "" if info is None else ",".join(info.preempted_node_ids)
        new, self._told = told not in ("", self._told), told or self._told
        return new


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
