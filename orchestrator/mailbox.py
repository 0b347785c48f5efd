"""One actor that carries the epochs of all trials from Ray Train's controllers to Tune's trial drivers.

Ray's own TuneReportCallback may lose a trial's last result and hang when the Tune loop is slow: its end
marker and the last metric share a queue of one place. Here every trial has an unbounded queue of its own,
and the end marker is one more letter in it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import ray
from ray.train import UserCallback

from orchestrator.ray_storage import keep_snapshot
from orchestrator.storage import Storage


class Mailbox:
    """A queue of letters (kind, content) a trial; kinds are ``steps``, ``epoch``, ``done`` and ``failed``."""

    def __init__(self) -> None:
        self._queues: dict[str, asyncio.Queue[tuple[str, Any]]] = defaultdict(asyncio.Queue)
        self._causes: dict[str, str] = {}

    async def put(self, trial: str, kind: str, content: Any = None) -> None:
        if kind == "failed":
            self._causes.setdefault(trial, content)  # the first is the reason, others follow from it
        await self._queues[trial].put((kind, content))

    async def take(self, trial: str) -> tuple[str, Any]:
        return await self._queues[trial].get()

    async def close(self, trial: str) -> str | None:
        """Forget a trial that has ended; returns why it failed, if it did."""
        self._queues.pop(trial, None)
        return self._causes.pop(trial, None)


def open_mailbox() -> Any:
    """A new mailbox actor; whoever opens it kills it."""
    return ray.remote(num_cpus=0)(Mailbox).remote()


class PostEpochs(UserCallback):
    """Runs in the Train controller: posts the first rank's record of each epoch. ``folder``: Ray Train's own."""

    def __init__(self, mailbox: Any, trial: str, folder: Storage) -> None:
        self.mailbox, self.trial, self.folder = mailbox, trial, folder

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        keep_snapshot(self.folder)
        if metrics[0]:  # within an epoch there is a checkpoint alone
            ray.get(self.mailbox.put.remote(self.trial, "epoch", metrics[0]))
