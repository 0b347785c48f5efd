"""What must be there before a method's first trial: its teacher, and its offline stage. In this process.

Both are kept for all trials, and both are safe to begin twice: whoever comes second helps, or waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from methods import registry
from methods.parts.labeller import Labeller
from orchestrator.build import build_method, pick_device
from orchestrator.config import Settings
from orchestrator.data.reader import open_dataset
from orchestrator.embeddings.fill import Progress
from orchestrator.job import run_job
from orchestrator.offline.stage import Stage, stages_of
from orchestrator.storage import Storage
from orchestrator.teacher import Lesson, ensure_taught, lesson_of, model_classes

TEACHER, STAGE = "teacher", "images through SAM"  #: what progress is told of

Told = Callable[[str, int, int], None]  #: which of them, how much is done, of how much


def needs_something(settings: Settings) -> bool:
    """Whether a method is of the kind that has a teacher or an offline stage."""
    kind = registry.load(settings.method)
    return issubclass(kind, Labeller) and (
        kind.offline is not Labeller.offline or kind.teacher(settings.method_options) is not None
    )


def open_stages(settings: Settings, data: Storage) -> list[Stage]:
    """A method's offline stages on its data set, each once."""
    dataset = open_dataset(data, settings.dataset)
    method = build_method(settings, model_classes(settings, dataset.manifest.classes, None))  # SAM alone counts
    found = stages_of(data, method, settings.backbone.name, dataset)
    return list({stage.parts.folder.uri: stage for stage in found.values()}.values())


def prepare(settings: Settings, data: Storage, storage: Storage, told: Told = lambda what, done, of: None) -> None:
    """Come back when both are there. Raises UserError where they cannot be made or stored."""
    if not needs_something(settings):
        return
    device = pick_device()
    if (lesson := lesson_of(settings, data, storage)) and not lesson.done():
        teach(lesson, device, told)
    fill_stages(open_stages(settings, data), device, settings.data.threads, lambda done, of: told(STAGE, done, of))


def fill_stages(stages: Sequence[Stage], device: torch.device, threads: int, told: Progress) -> None:
    """Fill all that lack something, one after another."""
    before, whole = 0, sum(stage.images for stage in stages)
    for stage in stages:
        if stage.missing():
            stage.fill(device, threads, lambda done, of, before=before: told(before + done, whole))  # type: ignore[misc]
        before += stage.images


def teach(lesson: Lesson, device: torch.device, told: Told) -> None:
    """Train the teacher, or wait for whoever does."""
    epochs = lesson.settings.train.epochs

    def on_step(epoch: int, step: int, steps: int) -> None:
        told(TEACHER, (epoch - 1) * steps + step, epochs * steps)

    ensure_taught(lesson, device, run_job, on_step)
