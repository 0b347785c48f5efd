"""Scores of methods that name pixels, where a data set has other classes than the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from panoramas import CLASSES, panorama, save_assistant, write_panoramas
from torch import Tensor

from methods.base import Batch
from methods.goodsam import GoodSam
from orchestrator.build import build_method
from orchestrator.class_eval import at_original, evaluate_classes
from orchestrator.class_names import matched
from orchestrator.config import make_settings
from orchestrator.data.reader import open_dataset
from orchestrator.engine import Engine
from orchestrator.offline.stage import Shelf, stages_of
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage

CPU = torch.device("cpu")


def engine_of(tmp_path: Path, classes: tuple[str, ...] = CLASSES) -> Engine:
    data = Storage(str(tmp_path / "data"))
    write_panoramas(data, train=3, test=5)
    small = {"student": "t", "assistant": "t", "assistant_weights": str(save_assistant(tmp_path / "a", classes))}
    told = {f"method.{k}": v for k, v in (small | {"points": 2}).items()} | {"train.batch": 2}
    settings = make_settings("goodsam", "densepass", told)
    dataset = open_dataset(data, "densepass")
    engine = Engine(settings, build_method(settings, classes), dataset.split("train"), CPU, Ranks())
    engine.offline = Shelf(stages_of(data, engine.method, "vit_t", dataset), CPU, 1, lambda: lambda done, of: None)
    return engine


class Oracle(GoodSam):
    """Says what the test images show, in its own classes; cars are called what comes last."""

    def predict(self, batch: Batch) -> Tensor:
        truth = torch.stack([torch.from_numpy(panorama(1000 + int(i))[1]) for i in batch.index]).long()
        return torch.nn.functional.one_hot(truth, len(self.classes)).permute(0, 3, 1, 2).float()


def scores(tmp_path: Path, classes: tuple[str, ...] = CLASSES, everything: bool = False) -> dict[str, float]:
    engine = engine_of(tmp_path, classes)
    engine.method.__class__ = Oracle
    split = open_dataset(Storage(str(tmp_path / "data")), "densepass").split("test")
    return evaluate_classes(engine, split, CLASSES, True, everything)


def test_a_perfect_answer(tmp_path: Path) -> None:
    found = scores(tmp_path, everything=True)
    assert found["class_miou"] == found["class_biou"] == found["pixel_accuracy"] == found["class_miou[car]"] == 1
    assert {"ensemble_miou", "assistant_miou", "confident_share", "pseudo_miou"} <= found.keys()
    assert all(0 <= value <= 1 for value in found.values())
    assert found["choice"] == 1, "there are labels to choose by"


def test_a_class_that_the_model_lacks_is_reported_apart(tmp_path: Path) -> None:
    """As WildPASS has kerbs, which a Cityscapes model cannot name."""
    found = scores(tmp_path, ("road", "sky", "curb"))
    assert found["class_miou"] == 1, "over those that it can name"
    assert found["class_miou_all"] == pytest.approx(2 / 3) and found["pixel_accuracy"] < 1


def test_images_without_labels_have_an_agreement_alone(tmp_path: Path) -> None:
    engine = engine_of(tmp_path)
    split = open_dataset(Storage(str(tmp_path / "data")), "densepass").split("train")
    found = evaluate_classes(engine, split, CLASSES, True, False)
    assert found.keys() == {"pseudo_miou", "pseudo_accuracy", "choice"}
    assert found["choice"] == found["pseudo_accuracy"]


def test_fillers_of_the_last_batch_count_nowhere(tmp_path: Path) -> None:
    engine = engine_of(tmp_path)
    split = open_dataset(Storage(str(tmp_path / "data")), "densepass").split("test")
    by_two = evaluate_classes(engine, split, CLASSES, True, True)
    engine.settings = engine.settings.replace({"train.batch": 5})
    at_once = evaluate_classes(engine, split, CLASSES, True, True)
    assert by_two.keys() == at_once.keys()
    assert by_two == pytest.approx(at_once, abs=1e-4)


def test_classes_are_matched_by_name() -> None:
    assert matched(("Road", "pedestrian", "tree", "boat"), ("person", "vegetation", "road")).tolist() == [2, 0, 1, 3]


def test_an_answer_is_brought_to_the_images_own_size() -> None:
    logits = torch.zeros(2, 4, 6)
    logits[1, :, 3:] = 1
    found = at_original(logits, torch.tensor([8, 12]))
    assert found.shape == (8, 12) and found[:, 7:].all() and not found[:, :5].any()
