"""One trial on one rank, from settings to a tested checkpoint. Knows neither Ray nor the console."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from methods import registry
from methods.backbone.build import fingerprint
from methods.parts.labeller import Labeller
from orchestrator import checkpoint
from orchestrator.build import build_method
from orchestrator.class_eval import evaluate_classes
from orchestrator.config import PromptSettings, Settings, from_flat
from orchestrator.data.cache import Lookups
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.loader import Apart
from orchestrator.data.reader import Dataset, DataSplit, holdout, open_dataset
from orchestrator.data.schema import Manifest, load_manifest
from orchestrator.data.tasks import Task, judged_as
from orchestrator.embeddings.use import Told, open_embeddings
from orchestrator.engine import Engine, OnStep, Position
from orchestrator.errors import UserError, unknown
from orchestrator.memory import reset_peak_memory
from orchestrator.metrics import MASK_METRICS, OBJECT_METRICS
from orchestrator.object_scores import VALIDATION, VALIDATION_REPEATS, evaluate_objects
from orchestrator.offline.stage import Shelf, stages_of
from orchestrator.patience import patiently
from orchestrator.prompted import evaluate_prompts
from orchestrator.provenance import origin
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage
from orchestrator.teacher import learn, lesson_of, model_classes

CHANGED = "changed while it was in use"  #: says why no trial can be held against the others any more
BACKGROUND = "background"  #: what a data set calls the class that is no object
STATE_FILE = "state.pt"  #: what a continued trial needs beside its trained weights

#: Takes an epoch's record, on every rank; says whether to go on.
Report = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Job:
    """What a worker must know: plain values only, so that it travels to any node."""

    settings: dict[str, Any]  #: ``Settings.flat()``
    data: str  #: URI of the root that holds the dataset
    trial: str  #: URI of the trial's folder
    fingerprint: str  #: of the dataset, as it was when the run or the sweep began
    until: int = 0  #: the epoch after which to stop untested, as ASHA would; 0: none
    storage: str = ""  #: URI of STORAGE, which keeps frozen encoders' embeddings, and teachers; '': none are kept

    @property
    def name(self) -> str:
        """The trial's."""
        return Storage(self.trial).name

    def full_settings(self) -> Settings:
        return from_flat(self.settings)


def selection_splits(dataset: Dataset, settings: Settings) -> tuple[DataSplit, DataSplit, str]:
    """What to train on, what to choose by, and the name of the latter.

    A ``val`` split of the data set is used as it is; else a seeded part of the training split is held out;
    with ``data.val_fraction=0`` the test split chooses, as in the published code.
    """
    splits = dataset.manifest.splits
    if "test" not in splits:
        raise UserError(f"dataset '{settings.dataset}' has no test split; ingest it again with one")
    if "train" not in splits and not registry.load(settings.method).trains:
        return dataset.split("test"), dataset.split("test"), "test"
    if "train" not in splits:
        raise UserError(
            f"dataset '{settings.dataset}' has a test split only; train on another one and use `samsweep predict`"
        )
    train = dataset.split("train")
    if "val" in splits:
        return train, dataset.split("val"), "val"
    if settings.data.val_fraction == 0:
        return train, dataset.split("test"), "test"
    train, val = holdout(train, settings.data.val_fraction, settings.train.seed)
    return train, val, "val"


def run_job(
    job: Job,
    ranks: Ranks,
    device: torch.device,
    report: Report,
    on_step: OnStep = lambda epoch, step, steps: None,
    on_notice: Callable[[], bool] = lambda: False,
) -> None:
    """Train, keep the best epoch's weights under ``job.trial``, test them, and report each epoch.

    Goes on from the state that lies in the trial's folder, where one does; whoever ends the trial removes it. The
    last epoch's record also has ``test``: the best epoch's metrics on the test split. The first one of a continued
    run has ``earlier``: the records of the epochs before it.

    Args:
        on_notice: asked after each step, on all ranks alike, whether to keep the state at once.
    """
    reset_peak_memory(device)
    lookups = Lookups()
    settings = job.full_settings()
    dataset = patiently(lambda: open_dataset(Storage(job.data), settings.dataset))
    _check_unchanged(job, settings, dataset.manifest)
    task = judged_as(dataset.manifest.task, settings.per_object)
    train, val, chosen_on = selection_splits(dataset, settings)
    around = apart(task, settings, dataset.manifest.classes, dataset.manifest.layout)
    if around:  # another seed may hold out other images than those that were looked at before the start
        check_objects(val, f"dataset '{settings.dataset}': in the images that are held out to choose by", around)
    lesson = lesson_of(settings, Storage(job.data), Storage(job.storage or job.trial))
    method = build_method(settings, model_classes(settings, dataset.manifest.classes, lesson))
    backbone = fingerprint(method.sam)
    if lesson:
        learn(method, lesson, ranks, device, run_job, on_step)
    engine = Engine(settings, method, train, device, ranks, around)
    engine.on_step, engine.on_notice, engine.lookups = on_step, on_notice, lookups
    if stages := stages_of(Storage(job.data), method, settings.backbone.name, dataset):
        engine.offline = Shelf(stages, device, settings.data.threads, lambda: Told(on_step))
    best = _Best(task)
    if job.storage and not task.prompted:
        measured = [val] if job.until else [val, dataset.split("test")]
        engine.embeddings = open_embeddings(Storage(job.storage), engine, dataset, measured, backbone)
    history, position = _resume(engine, best, job)
    start = len(history) + 1

    def keep(at: Position | None) -> None:
        if ranks.first:
            Storage(job.trial).write(STATE_FILE, _state(engine, best, history, at))

    engine.on_position = keep
    if history and _is_last(history[-1], settings):  # stopped between its last epoch and its end
        record = history.pop() | {"earlier": list(history)}
        record["test"] = _test(engine, task, dataset, job)
        report(record)
        return
    for record in engine.epochs(start, position):
        if ranks.first:
            now = patiently(lambda: load_manifest(Storage(job.data), settings.dataset))
            _check_unchanged(job, settings, now)
        if ranks.first and len(history) + 1 == start:
            record["origin"] = origin(device, engine.dtype, backbone, engine.fitted())
        began = time.perf_counter()
        record["val"] = _measure(engine, task, dataset, val)
        record["chosen_on"] = chosen_on
        record["trained_parameters"] = sum(p.numel() for p in method.parameters() if p.requires_grad)
        if best.improved_by(record) and ranks.first:
            about = checkpoint.Record(
                job.settings, backbone, dataset.manifest.fingerprint, record["epoch"], record["val"],
                list(method.classes) if isinstance(method, Labeller) else [],
            )  # fmt: skip
            record["checkpoint"] = checkpoint.write(Storage(job.trial), method, about)
        record["best_epoch"], record["objective"] = best.epoch, record["val"][task.objective]
        record["best"] = best.value
        record["eval_seconds"] = time.perf_counter() - began
        record |= engine.counted_since()
        history.append(dict(record))
        keep(None)
        last = _is_last(record, settings)
        if last:
            record["test"] = _test(engine, task, dataset, job)
            record["eval_seconds"] = time.perf_counter() - began
            record |= {name: record[name] + count for name, count in engine.counted_since().items()}
        if len(history) == start > 1:
            record["earlier"] = history[:-1]
        if not report(record) or last or 0 < job.until <= record["epoch"]:
            return


def _check_unchanged(job: Job, settings: Settings, manifest: Manifest | None) -> None:
    """Whether the dataset is still the one that the run or the sweep began with.

    Raises:
        UserError: it was ingested anew since, or is gone.
    """
    now = manifest.fingerprint if manifest else "none"
    if now != job.fingerprint:
        raise UserError(
            f"{job.data}: dataset '{settings.dataset}' {CHANGED} (fingerprint {now[:12]}, was {job.fingerprint[:12]}); "
            "begin anew with another NAME"
        )


def _is_last(record: dict[str, Any], settings: Settings) -> bool:
    """Whether an epoch was the last one: of all, or after ``patience`` without a better one."""
    t = settings.train
    return bool(record["epoch"] >= t.epochs or 0 < t.patience <= record["epoch"] - record["best_epoch"])


def _test(engine: Engine, task: Task, dataset: Dataset, job: Job) -> dict[str, float]:
    """The best epoch's metrics on the test split."""
    engine.ranks.gather(None)  # the first rank has written the best checkpoint
    _, tensors = patiently(lambda: checkpoint.read(Storage(job.trial)))
    checkpoint.apply(engine.method, tensors, job.trial)
    return _measure(engine, task, dataset, dataset.split("test"), test=True)


def _measure(engine: Engine, task: Task, dataset: Dataset, split: DataSplit, test: bool = False) -> dict[str, float]:
    """A split's metrics: the task's, or for the test all that there are."""
    if task.prompted:
        return evaluate_prompts(engine.method, split, engine.device, engine.dtype, engine.ranks)
    if task.per_object:
        repeats, classes = engine.settings.prompts.repeats, dataset.manifest.classes
        if test:
            return evaluate_objects(engine, split, repeats, tuple(OBJECT_METRICS), classes)
        return evaluate_objects(engine, split, min(repeats, VALIDATION_REPEATS), VALIDATION)
    if task.by_class:
        return evaluate_classes(engine, split, dataset.manifest.classes, task.wraps, test)
    return engine.evaluate(split, tuple(MASK_METRICS) if test else task.metrics)


def apart(task: Task, settings: Settings, classes: Sequence[str], layout: str = "") -> Apart | None:
    """Where objects are prompted for: which of a data set's classes are not asked for, and which lie on others.

    Raises:
        UserError: ``prompts.classes`` names one that is not there, or objects are not prompted for and yet prompts set.
    """
    if not task.per_object:
        changed = {k: v for k, v in asdict(settings.prompts).items() if v != getattr(PromptSettings(), k)}
        if changed.keys() - {"objects"} and not task.prompted:
            raise UserError(
                f"prompts.{min(changed)}: whole images are segmented here; add prompts.objects=always, or leave it out"
            )
        return None
    wanted = [name.strip() for name in settings.prompts.classes.split(",") if name.strip()]
    asked = [name for name in classes if name != BACKGROUND]
    for name in wanted:
        if name not in asked:
            raise unknown(f"class of dataset '{settings.dataset}'", name, asked)
    left_out = {k for k, name in enumerate(classes) if name not in asked or (wanted and name not in wanted)}
    nested = LAYOUTS[layout].wholes if layout in LAYOUTS else {}
    number = {name: k for k, name in enumerate(classes)}
    known = {number[one]: frozenset(number[part] for part in parts) for one, parts in nested.items() if one in number}
    return Apart(frozenset(left_out), known)


def check_objects(split: DataSplit, where: str, around: Apart) -> None:
    """Raise UserError where nothing at all in a split can be prompted for; the first object ends the search."""
    if not any(around.objects(split.truth(i)) for i in range(len(split))):
        raise UserError(f"{where} there is no object to prompt for; ingest images that have some")


class _Best:
    """The best epoch so far by the task's objective."""

    def __init__(self, task: Task) -> None:
        self.task, self.epoch, self.value = task, 0, float("-inf" if task.mode == "max" else "inf")

    def improved_by(self, record: dict[str, Any]) -> bool:
        value = record["val"][self.task.objective]
        better = value > self.value if self.task.mode == "max" else value < self.value
        if better:
            self.epoch, self.value = record["epoch"], value
        return better


def _state(engine: Engine, best: _Best, history: list[dict[str, Any]], at: Position | None) -> bytes:
    """The state after the last epoch of ``history``, or ``at`` a position."""
    state = {
        "history": json.dumps(history),
        "position": json.dumps(asdict(at) if at else None),
        "best_epoch": best.epoch,
        "best_value": best.value,
        "weights": engine.method.trained_state(),
        **engine.state(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _resume(engine: Engine, best: _Best, job: Job) -> tuple[list[dict[str, Any]], Position | None]:
    """Take up the trial's state: the records of its epochs until then, and how far the next one was."""
    trial, ranks = Storage(job.trial), engine.ranks
    # the first rank decides for all: it alone writes, maybe before the others have looked
    if not ranks.gather(ranks.first and patiently(lambda: trial.exists(STATE_FILE)))[0]:
        return [], None
    data = io.BytesIO(patiently(lambda: trial.read(STATE_FILE)))
    state = torch.load(data, map_location=engine.device, weights_only=True)
    checkpoint.apply(engine.method, state["weights"], trial.path(STATE_FILE))
    engine.load_state(state)
    best.epoch, best.value = state["best_epoch"], state["best_value"]
    at = json.loads(state["position"])
    return json.loads(state["history"]), Position(**{**at, "rows": tuple(at["rows"])}) if at else None
