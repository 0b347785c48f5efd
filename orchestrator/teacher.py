"""Where a method starts from another one's weights on other data: trained once, kept under STORAGE for all trials."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from methods import registry
from methods.base import Method
from methods.parts.distributed import alone
from methods.parts.labeller import Labeller, Teacher
from orchestrator import checkpoint
from orchestrator.config import Settings, make_settings
from orchestrator.data.schema import load_manifest
from orchestrator.embeddings.claims import SUFFIX, Watch, claimed
from orchestrator.errors import UserError
from orchestrator.patience import patiently
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage

if TYPE_CHECKING:
    from orchestrator.job import Job

ROOT = ".teachers"  #: under STORAGE; no run is called so
DONE = "teacher.json"  #: in a teacher's folder once it is trained
CLAIM = f"teacher{SUFFIX}"
TASK = "semantic"  #: the task whose images have a class at every pixel
PAUSE = 0.5  #: seconds between two looks at whether another one has finished it

OnStep = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Lesson:
    """A teacher that is to be: its settings, and where it is kept."""

    settings: Settings
    data: Storage
    folder: Storage
    fingerprint: str  #: of its data
    classes: tuple[str, ...]

    def done(self) -> bool:
        """Whether it is trained."""
        return bool(patiently(lambda: self.folder.exists(DONE)))

    def weights(self) -> dict[str, torch.Tensor]:
        """What it learned."""
        return checkpoint.read(self.folder)[1]


def teacher_of(settings: Settings) -> Teacher | None:
    """Whose weights a method starts from; None where it starts from none."""
    kind = registry.load(settings.method)
    return kind.teacher(settings.method_options) if issubclass(kind, Labeller) else None


def lesson_of(settings: Settings, data: Storage, storage: Storage) -> Lesson | None:
    """The teacher that a method wants; None where it wants none.

    Raises:
        UserError: its data are not under ``data``, as they must be: a real data set learns from a real one.
    """
    wanted = teacher_of(settings)
    if wanted is None:
        return None
    its = make_settings(wanted.method, wanted.dataset, dict(wanted.settings))
    manifest = load_manifest(data, wanted.dataset)
    if manifest is None:
        raise UserError(
            f"method '{settings.method}' learns from a {wanted.method} trained on '{wanted.dataset}', which is not "
            f"ingested under {data.uri}, beside '{settings.dataset}' (real learns from real, a stand-in from a "
            "stand-in): ingest both with samsweep ingest, name another method.source, or give method.assistant_weights"
        )
    if manifest.task != TASK:
        raise UserError(
            f"method.source={wanted.dataset}: its task is {manifest.task}; the assistant wants labelled images "
            f"(task {TASK})"
        )
    text = json.dumps({"settings": its.what_is_computed(), "data": manifest.fingerprint}, sort_keys=True)
    folder = f"{ROOT}/{wanted.method}-{wanted.dataset}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Lesson(its, data, storage / folder, manifest.fingerprint, manifest.classes)


def model_classes(settings: Settings, of_data: Sequence[str], lesson: Lesson | None) -> tuple[str, ...]:
    """The classes that a method names: those of its weights, its teacher's, or the data set's."""
    kind = registry.load(settings.method)
    own = kind.classes_of(settings.method_options) if issubclass(kind, Labeller) else None
    return own or (lesson.classes if lesson else tuple(of_data))


def learn(
    method: Method, lesson: Lesson, ranks: Ranks, device: torch.device, work: Callable[..., None], on_step: OnStep
) -> None:
    """Start a method from its teacher, which the first rank trains where nobody has."""
    assert isinstance(method, Labeller)
    trouble = ""
    if ranks.first and not lesson.done():
        try:
            with alone():
                ensure_taught(lesson, device, work, lambda epoch, step, steps: on_step(0, step, steps))
        except (UserError, OSError) as error:
            trouble = str(error) or type(error).__name__
    if trouble := ranks.gather(trouble)[0]:
        raise UserError(trouble)
    method.learn_from(lesson.weights())


def ensure_taught(
    lesson: Lesson, device: torch.device, work: Callable[..., None], on_step: OnStep = lambda epoch, step, steps: None
) -> None:
    """Come back when the teacher is trained, whoever did it; what was killed goes on at its last checkpoint.

    ``work``: ``job.run_job``. Raises what it raises.
    """
    watch = Watch(lesson.folder)
    while not lesson.done():
        watch.remove_if_silent(CLAIM)
        with claimed(lesson.folder, CLAIM) as ours:
            if ours and not lesson.done():
                _train(lesson, device, work, on_step)
        if not lesson.done():
            time.sleep(PAUSE)


def _train(lesson: Lesson, device: torch.device, work: Callable[..., None], on_step: OnStep) -> None:
    from orchestrator.engine import NotFinite
    from orchestrator.job import STATE_FILE, Job

    last: dict[str, Any] = {}

    def report(record: dict[str, Any]) -> bool:
        last.update(record)
        return True

    job: Job = Job(lesson.settings.flat(), lesson.data.uri, lesson.folder.uri, lesson.fingerprint)
    try:
        work(job, Ranks(), device, report, on_step)
    except NotFinite as error:
        raise UserError(f"the assistant on '{lesson.settings.dataset}': {error} (here method.source_lr)") from error
    about = {
        "settings": job.settings,
        "classes": lesson.classes,
        "best_epoch": last["best_epoch"],
        "test": last["test"],
    }
    lesson.folder.write(DONE, json.dumps(about, indent=1).encode())
    lesson.folder.remove(STATE_FILE)
