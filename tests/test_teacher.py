"""A method that starts from another one's weights: trained once, found again, real from real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from panoramas import CLASSES, write_panoramas, write_views

from orchestrator import checkpoint
from orchestrator.config import Settings, make_settings
from orchestrator.data.reader import open_dataset
from orchestrator.errors import UserError
from orchestrator.job import Job, run_job
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage
from orchestrator.teacher import ensure_taught, lesson_of, model_classes

CPU = torch.device("cpu")
SMALL = {"method.student": "t", "method.assistant": "t", "method.student_start": "assistant", "method.points": 2}
SOURCE = {"method.source_epochs": 2, "method.source_lr": 2e-3}


@pytest.fixture
def data(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "data"))
    write_panoramas(storage, train=10, test=2)
    write_views(storage)
    return storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "results"))


def settings_of(**changes: object) -> Settings:
    told = {**SMALL, **SOURCE, "train.epochs": 2, "train.batch": 4, "train.lr": 1e-3}
    return make_settings("goodsam", "densepass", told | {k.replace("_", ".", 1): v for k, v in changes.items()})


def run(settings: Settings, data: Storage, storage: Storage, name: str = "1") -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    manifest = open_dataset(data, settings.dataset).manifest
    job = Job(settings.flat(), data.uri, (storage / name).uri, manifest.fingerprint, storage=storage.uri)
    run_job(job, Ranks(), CPU, lambda record: not records.append(record))
    return records


def test_it_is_trained_once_for_all_who_want_the_same(data: Storage, storage: Storage) -> None:
    lesson = lesson_of(settings_of(), data, storage)
    assert lesson and not lesson.done() and lesson.classes == CLASSES
    calls: list[str] = []

    def counted(job: Job, *rest: Any) -> None:
        calls.append(job.settings["dataset"])
        run_job(job, *rest)

    for _ in range(2):
        ensure_taught(lesson, CPU, counted)
    same = lesson_of(settings_of(method_theta=0.8, train_seed=3), data, storage)
    other = lesson_of(settings_of(method_source_seed=1), data, storage)
    assert calls == ["cityscapes"] and same and same.done()
    assert other and not other.done() and other.folder.uri != lesson.folder.uri
    assert not lesson.folder.exists("state.pt"), "what it would go on from is not kept"


def test_a_trial_starts_from_it_and_its_classes(data: Storage, storage: Storage) -> None:
    records = run(settings_of(train_lr=1e-9), data, storage)
    lesson = lesson_of(settings_of(), data, storage)
    assert lesson and lesson.done(), "who needs it first trains it"
    taught = lesson.weights()
    record, tensors = checkpoint.read(storage / "1")
    assert record.classes == list(CLASSES)
    for name, tensor in taught.items():
        for own in ("assistant", "student"):
            torch.testing.assert_close(tensors[name.replace("net.", f"{own}.", 1)], tensor, atol=1e-6, rtol=1e-4)
    test = records[-1]["test"]
    assert test["class_miou"] == pytest.approx(test["first_assistant_miou"], abs=1e-3)
    assert {"ensemble_miou", "confident_accuracy", "confident_share", "assistant_windows_miou"} <= test.keys()
    assert "class_miou" not in records[0]["val"] and 0 <= records[0]["objective"] <= 1, "chosen without a label"


def test_its_data_must_be_beside_the_panoramas(tmp_path: Path, storage: Storage) -> None:
    data = Storage(str(tmp_path / "data"))
    write_panoramas(data)
    with pytest.raises(UserError, match="trained on 'cityscapes', which is not ingested .* method.assistant_weights"):
        lesson_of(settings_of(), data, storage)
    with pytest.raises(UserError, match="method.source=densepass: its task is panorama"):
        lesson_of(settings_of(method_source="densepass"), data, storage)


def test_others_want_none(data: Storage, storage: Storage) -> None:
    settings = make_settings("mca", "cod10k")
    assert lesson_of(settings, data, storage) is None
    assert model_classes(settings, ("a", "b"), None) == ("a", "b")
