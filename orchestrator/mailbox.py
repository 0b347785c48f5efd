"""One actor between the sweep, Ray Train's workers and Tune's trial drivers: jobs go out, letters come back.

Ray's own TuneReportCallback may lose a trial's last result and hang when the Tune loop is slow: its end
marker and the last metric share a queue of one place. Here every trial has an unbounded queue of its own,
and the end marker is one more letter in it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class Mailbox:
    """Jobs for slots, letters (kind, content) from trials, and the word whether a trial may go on.

    Kinds of letters are ``steps``, ``epoch``, ``done`` and ``failed``. A slot's job stays until it is finished, so
    that workers which are started anew find it again.
    """

    def __init__(self) -> None:
        self._queues: dict[str, asyncio.Queue[tuple[str, Any]]] = defaultdict(asyncio.Queue)
        self._causes: dict[str, str] = {}
        self._may_pass: dict[str, int] = defaultdict(int)  # the epoch beyond which a trial may go
        self._closed: set[str] = set()
        self._steps: dict[str, tuple[int, int, int]] = {}  # by trial: epoch, steps done in it, its steps
        self._jobs: dict[str, tuple[int, Any]] = {}  # by slot; None: there will be no more
        self._changed = asyncio.Condition()

    async def put(self, trial: str, kind: str, content: Any = None) -> None:
        if kind == "failed":
            self._causes.setdefault(trial, content)  # the first is the reason, others follow from it
        if trial in self._closed:
            return
        if kind == "steps":
            self._steps[trial] = content
        await self._queues[trial].put((kind, content))

    async def take(self, trial: str) -> tuple[str, Any]:
        return await self._queues[trial].get()

    async def steps(self) -> dict[str, tuple[int, int, int]]:
        """How far each trial is that has told: the epoch (0 while images are embedded), steps done in it, its steps."""
        return dict(self._steps)

    async def go_on(self, trial: str, epoch: int) -> None:
        """Let a trial go on after that epoch."""
        await self._change(self._may_pass, trial, max(epoch, self._may_pass[trial]))

    async def may_go_on(self, trial: str, epoch: int) -> bool:
        """Whether a trial shall go on after that epoch; waits until somebody knows."""
        async with self._changed:
            await self._changed.wait_for(lambda: trial in self._closed or self._may_pass[trial] >= epoch)
        return trial not in self._closed

    async def close(self, trial: str) -> str | None:
        """A trial has ended, and shall not go on where it has not; returns why it failed, if it did."""
        self._queues.pop(trial, None)
        self._steps.pop(trial, None)
        self._closed.add(trial)
        async with self._changed:
            self._changed.notify_all()
        return self._causes.pop(trial, None)

    async def is_closed(self, trial: str) -> bool:
        """Whether a trial is over, whatever its workers think."""
        return trial in self._closed

    async def assign(self, slot: str, number: int, job: Any) -> None:
        """Give a slot its next job; None sends its workers home."""
        await self._change(self._jobs, slot, (number, job))

    async def job(self, slot: str, after: int) -> tuple[int, Any]:
        """A slot's job with a number above ``after``; waits until there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: slot in self._jobs and self._jobs[slot][0] > after)
        return self._jobs[slot]

    async def finish(self, slot: str, number: int) -> None:
        """A slot's workers are through with that job."""
        if self._jobs.get(slot, (0, None))[0] == number:
            await self._change(self._jobs, slot, (-1, None))

    async def finished(self, slot: str, number: int) -> None:
        """Waits until a slot's workers are through with that job."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._jobs[slot][0] != number)

    async def _change(self, table: dict[str, Any], key: str, value: Any) -> None:
        async with self._changed:
            table[key] = value
            self._changed.notify_all()


def open_mailbox() -> Any:
    """A new mailbox actor, on the node of who opens it (others may go away); who opens it kills it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_concurrency=1000, scheduling_strategy=here)(Mailbox).remote()
