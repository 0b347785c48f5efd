"""What a command is about to do: settings, data (real or stand-in) and the folder of its results, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from methods import registry
from methods.backbone.build import SIZES
from methods.parts.labeller import Labeller
from orchestrator.build import check_method, starts_random
from orchestrator.class_names import matched
from orchestrator.config import Settings, make_settings
from orchestrator.data import catalogue
from orchestrator.data.ingest import ingest
from orchestrator.data.loader import Apart
from orchestrator.data.reader import Dataset, open_dataset
from orchestrator.data.schema import ingested_names, load_drawn, load_manifest
from orchestrator.data.standin import official
from orchestrator.data.tasks import Task, judged_as
from orchestrator.data.writer import check_name
from orchestrator.errors import UserError, unknown
from orchestrator.job import apart, check_objects, selection_splits
from orchestrator.storage import Storage
from orchestrator.teacher import Lesson, lesson_of, model_classes, teacher_of

#: Where stand-ins lie under DATA, and how many pictures they have.
STAND_IN_FOLDER = "stand-in"
STAND_IN_TRAIN, STAND_IN_TEST, STAND_IN_SEED = 128, 32, 0
#: Epochs with vit_t, which is there for small machines; other sizes train as long as the papers.
SMALL_EPOCHS = 6
DEFAULT_EPOCHS = 20

Note = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A checked intention."""

    name: str  #: of the run: its folder under STORAGE
    settings: Settings
    data: Storage  #: the root that holds the dataset
    storage: Storage  #: the root of all results
    task: Task
    stand_in: bool
    fingerprint: str
    skipped: int  #: images that `ingest --skip-bad` left out
    backbone_random: bool
    command: str | None = None  #: what the user typed

    @property
    def run(self) -> Storage:
        """The run's folder."""
        return self.storage / self.name


def make_plan(
    method: str,
    dataset: str,
    changes: Mapping[str, Any],
    data: Storage,
    storage: Storage,
    name: str | None = None,
    note: Note = lambda text: None,
    continues: bool = False,
    dry: bool = False,
) -> Plan:
    """Check everything that can be checked before anything is started.

    Args:
        continues: the run may be there.
        dry: leave nothing anywhere: a stand-in that is not there is not drawn (its fingerprint is ''), and the
            shards of a remote store are looked for but not fetched.

    Raises:
        UserError: an unknown name, a value that does not fit, missing weights, damaged data, or a STORAGE
            that cannot be written.
    """
    settings = make_settings(method, dataset, changes)
    check_name(dataset)
    run = name or f"{method}-{dataset}-{datetime.now():%Y%m%d-%H%M%S}"
    check_run_name(run, storage, continues)
    check_method(settings)
    if dry and is_to_be_drawn(dataset, data):
        root, opened, manifest = data / STAND_IN_FOLDER, None, None
        entry = catalogue.CATALOGUE[dataset]
        task, classes, layout = judged_as(entry.task, settings.per_object), entry.class_names, entry.layout
    else:
        root, opened = find_data(dataset, data, note)
        manifest = opened.manifest
        task = judged_as(manifest.task, settings.per_object)
        classes, layout = manifest.classes, manifest.layout
    check_solved(dataset, task)
    check_fits(method, dataset, task)
    around = apart(task, settings, classes, layout)
    settings = with_defaults(settings, task, changes)
    if opened:
        find_teacher(settings, root, storage, note, dry)
        _check_data(opened, settings, around, fetch=not dry)
    storage.check_writable()
    return Plan(
        name=run,
        settings=settings,
        data=root,
        storage=storage,
        task=task,
        stand_in=manifest.stand_in if manifest else True,
        fingerprint=manifest.fingerprint if manifest else "",
        skipped=len(manifest.skipped) if manifest else 0,
        backbone_random=starts_random(settings),
    )


def _check_data(opened: Dataset, settings: Settings, around: Apart | None, fetch: bool) -> None:
    """Whether a data set has what is needed and is undamaged; what must be fetched for that only with ``fetch``."""
    if fetch or opened.root.is_local:
        train, val, _ = selection_splits(opened, settings)
        opened.verify()
        if around:
            used = {"trained on": train} if registry.load(settings.method).trains else {}
            for use, split in (used | {"chosen by": val, "tested on": opened.split("test")}).items():
                check_objects(split, f"dataset '{settings.dataset}': in the images that are {use}", around)
    else:
        selection_splits(opened, settings.replace({"data.val_fraction": 0}))  # to hold some out, shards are read


def check_solved(dataset: str, task: Task) -> None:
    """Raise UserError where no method here is made for a task's masks."""
    if not task.solved:
        raise UserError(
            f"dataset '{dataset}': no method solves task '{task.name}' yet (its masks are {task.coding}); it can be "
            "ingested and read"
        )


def check_fits(method: str, dataset: str, task: Task) -> None:
    """Raise UserError where a method cannot be trained or measured as the task wants it."""
    if why := misfit(method, task):
        raise UserError(f"METHOD={method} DATASET={dataset}: {why}")


def misfit(method: str, task: Task) -> str:
    """Why a method does not serve a task; '' where it does."""
    kind = registry.load(method)
    if not task.solved:
        return f"no method solves task '{task.name}' yet"
    if task.by_class and task.name not in kind.tasks:
        return f"the method does not name the classes of pixels, as task '{task.name}' wants it"
    if kind.tasks and task.name not in kind.tasks:
        return f"the method is made for task {' or '.join(sorted(kind.tasks))}, not '{task.name}'"
    if task.prompted and not kind.prompted:
        return "the dataset has several masks an image, to be prompted for; METHOD=promptable"
    if task.per_object and not kind.answers:
        return "the method draws its own prompts from whole images; the dataset's objects are asked for one by one"
    return ""


def check_run_name(name: str, storage: Storage, continues: bool = False) -> None:
    """A run's name is a folder of its own."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"NAME={name}: letters, digits, '.', '-' and '_' only")
    if storage.exists(name) and not continues:
        raise UserError(f"NAME={name}: that run is there already under {storage.uri}; choose another name")


def with_defaults(settings: Settings, task: Task, changes: Mapping[str, Any]) -> Settings:
    """What depends on the task and the size of the model, where the user has not said otherwise."""
    defaults: dict[str, Any] = {}
    kind = registry.load(settings.method)
    if not kind.trains:
        defaults["train.epochs"] = 1
    elif not SIZES[settings.backbone.name].official:
        defaults["train.epochs"] = SMALL_EPOCHS
    else:
        entry = catalogue.CATALOGUE.get(settings.dataset)
        defaults["train.epochs"] = entry.epochs if entry and entry.epochs else DEFAULT_EPOCHS
    if "method.mask_loss" in settings.flat():
        defaults["method.mask_loss"] = task.loss
    if task.per_object:
        defaults["prompts.kind"] = settings.prompts.judged_by
    weights = any(name.startswith("method.") and name.endswith("weights") for name in changes)
    defaults |= kind.defaults(not SIZES[settings.backbone.name].official, weights)
    return settings.replace({k: v for k, v in defaults.items() if k not in changes})


def find_data(dataset: str, data: Storage, note: Note = lambda text: None) -> tuple[Storage, Dataset]:
    """The ingested data set, or the stand-in of a catalogued one (made where it is not there yet)."""
    if load_manifest(data, dataset) is not None:
        return data, open_dataset(data, dataset)
    root = data / STAND_IN_FOLDER
    if is_to_be_drawn(dataset, data):
        note(f"drawing stand-in pictures for {dataset}")
        make_stand_in(dataset, root)
    return root, open_dataset(root, dataset)


def find_teacher(
    settings: Settings, root: Storage, storage: Storage, note: Note = lambda text: None, dry: bool = False
) -> None:
    """Whether what a method learns from is there, beside its data set; beside a stand-in it is drawn, too."""
    wanted = teacher_of(settings)
    if wanted and root.name == STAND_IN_FOLDER and load_drawn(root, wanted.dataset) is None:
        entry = catalogue.CATALOGUE.get(wanted.dataset)
        if entry and official.is_drawn(entry.layout, entry.task):
            if dry:
                return
            note(f"drawing stand-in pictures for {wanted.dataset}, which the teacher learns from")
            make_stand_in(wanted.dataset, root)
    lesson = lesson_of(settings, root, storage)
    if issubclass(registry.load(settings.method), Labeller):
        _check_classes(settings, open_dataset(root, settings.dataset).manifest.classes, lesson, note)


def _check_classes(settings: Settings, of_data: Sequence[str], lesson: Lesson | None, note: Note) -> None:
    """Say which classes of a data set the model will not name; raise UserError where it names none."""
    model = model_classes(settings, of_data, lesson)
    lacking = [name for name, k in zip(of_data, matched(of_data, model), strict=True) if k == len(model)]
    if not lacking:
        return
    if len(lacking) == len(of_data):
        raise UserError(
            f"METHOD={settings.method} DATASET={settings.dataset}: the model would name none of its classes "
            f"({', '.join(of_data[:4])}, ...); choose another method.source, or other weights"
        )
    note(f"of {settings.dataset}'s {len(of_data)} classes the model names all but: {', '.join(lacking)}")


def is_to_be_drawn(dataset: str, data: Storage) -> bool:
    """Whether a data set is neither ingested nor its stand-in there.

    Raises:
        UserError: it has no stand-in: it is unknown, or nothing here solves its task.
    """
    if load_manifest(data, dataset) is not None:
        return False
    if dataset not in catalogue.CATALOGUE:
        raise unknown("dataset", dataset, {*catalogue.CATALOGUE, *ingested_names(data)})
    entry = catalogue.CATALOGUE[dataset]
    if not official.is_drawn(entry.layout, entry.task):
        raise UserError(
            f"dataset '{dataset}': not ingested, and no stand-in is drawn for it: "
            f"samsweep ingest {dataset} --source DIR"
        )
    return load_drawn(data / STAND_IN_FOLDER, dataset) is None


def make_stand_in(dataset: str, root: Storage) -> None:
    """Draw the stand-in of a catalogued data set's domain and ingest it like the real one, or like any folder."""
    entry = catalogue.CATALOGUE[dataset]
    with TemporaryDirectory(prefix="samsweep-") as folder:
        counts = STAND_IN_TRAIN, STAND_IN_TEST
        layout = official.write(entry.layout, entry.task, Path(folder), *counts, STAND_IN_SEED)
        ingest(dataset, Path(folder), root, layout=layout, task=entry.task, stand_in=True, replace=True)
