"""The same on Ray: the teacher in one task, the images in as many as the cluster has room for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from orchestrator.build import pick_device
from orchestrator.config import Settings, from_flat
from orchestrator.cores import rank_threads
from orchestrator.data.schema import first_line
from orchestrator.errors import UserError
from orchestrator.mailbox import open_mailbox
from orchestrator.offline.prepare import STAGE, TEACHER, Told, fill_stages, needs_something, open_stages, teach
from orchestrator.plan import Plan
from orchestrator.storage import Storage
from orchestrator.teacher import lesson_of

LETTER_SECONDS = 1.0  #: between two words of a task about how far it is
RETRIES = 3  #: of a task whose node is lost; what it had stored stays


def prepare_on_ray(plan: Plan, room: int, told: Told) -> None:
    """Come back when a plan's teacher and offline stage are there; ``room``: tasks that fit side by side.

    Raises:
        UserError: they cannot be made or stored, or Ray's workers died.
    """
    if not needs_something(plan.settings):
        return
    train = plan.settings.train
    task = ray.remote(
        num_cpus=train.cpus_per_worker, num_gpus=train.gpus_per_worker, max_retries=RETRIES,
        scheduling_strategy="SPREAD",
    )  # fmt: skip
    about = plan.settings.flat(), plan.data.uri, plan.storage.uri
    mailbox, at_work = open_mailbox(), []
    try:
        lesson = lesson_of(plan.settings, plan.data, plan.storage)
        if lesson and not lesson.done():
            at_work.append(task(_teach).remote(*about, mailbox))
        missing, units = _got(task(_missing).remote(*about))
        fillers = min(room, units) if missing else 0  # the last one waits until the teacher has made room
        at_work += [task(_fill).remote(*about, f"{STAGE} {number}", mailbox) for number in range(fillers)]
        for what, done, of in _followed(at_work, mailbox):
            told(what, done, of)
    finally:
        for reference in at_work:
            ray.cancel(reference, force=True)
        ray.kill(mailbox)


def _followed(at_work: list[Any], mailbox: Any) -> Iterator[tuple[str, int, int]]:
    """How far the tasks are, until all have come to an end; raises what one of them raised."""
    while at_work:
        ready, _ = ray.wait(at_work, timeout=LETTER_SECONDS)
        for reference in ready:
            at_work.remove(reference)
            _got(reference)
        for what, (_, done, of) in ray.get(mailbox.steps.remote()).items():
            yield TEACHER if what == TEACHER else STAGE, done, of


def _teach(flat: dict[str, Any], data: str, storage: str, mailbox: Any) -> None:
    settings = _begun(flat)
    lesson = lesson_of(settings, Storage(data), Storage(storage))
    assert lesson
    teach(lesson, pick_device(), _Letters(mailbox, TEACHER))


def _missing(flat: dict[str, Any], data: str, storage: str) -> tuple[int, int]:
    """Images that the offline stages still lack, and the shards that they have in all."""
    stages = open_stages(_begun(flat), Storage(data))
    return sum(stage.missing() for stage in stages), sum(len(stage.parts.units) for stage in stages)


def _fill(flat: dict[str, Any], data: str, storage: str, name: str, mailbox: Any) -> None:
    settings, letters = _begun(flat), _Letters(mailbox, name)
    told = partial(letters, name)
    fill_stages(open_stages(settings, Storage(data)), pick_device(), settings.data.threads, told)


def _begun(flat: dict[str, Any]) -> Settings:
    torch.set_num_threads(rank_threads(flat["train.cpus_per_worker"]))
    return from_flat(flat)


class _Letters:
    """Tells the driver now and then how far a task is."""

    def __init__(self, mailbox: Any, name: str) -> None:
        self._mailbox, self._name, self._last = mailbox, name, 0.0

    def __call__(self, what: str, done: int, of: int) -> None:
        if done == of or time.monotonic() - self._last > LETTER_SECONDS:
            self._last = time.monotonic()
            self._mailbox.put.remote(self._name, "steps", (0, done, of))


def _got(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from error
        raise
    except RayError as error:
        raise UserError(f"a worker of Ray died ({first_line(error)}); the same command goes on") from error
