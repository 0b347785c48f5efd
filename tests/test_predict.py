"""Pictures of a trained method's answers where objects are prompted for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from data_samples import encode, picture
from PIL import Image
from torch import Tensor, nn

from methods.backbone.build import fingerprint
from methods.base import Batch
from orchestrator import checkpoint
from orchestrator.build import build_method
from orchestrator.cli import main
from orchestrator.config import PromptSettings, make_settings
from orchestrator.data.loader import Apart
from orchestrator.data.reader import DataSplit, open_dataset
from orchestrator.data.schema import Row
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.predict import Predictor, predict_folder, write_object_gallery
from orchestrator.storage import Storage

GREY = 90
NONE = Apart()


class Everywhere(nn.Module):
    """In a method's place: the whole picture is what was meant."""

    needs_prompts, resize = True, "pad"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Batch] = []

    def embedding(self, batch: Batch) -> Tensor:
        return torch.zeros(1, 1, 4, 4)

    def answer(self, embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        self.asked.append(batch)
        return torch.full((1, 1, 4, 16, 16), 5.0), torch.zeros(1, 1, 4)


@pytest.fixture
def predictor() -> Predictor:
    told: Any = SimpleNamespace(prompts=PromptSettings(), method="prompt_learning")
    return Predictor(Everywhere(), 64, torch.device("cpu"), torch.float32, told)


@pytest.fixture
def split_of(tmp_path: Path) -> Callable[..., DataSplit]:
    """Writes label maps as instances."""

    def write(*labels: np.ndarray) -> DataSplit:
        with DatasetWriter(Storage(str(tmp_path)), "own") as writer:
            for i, values in enumerate(labels):
                row = Row(
                    f"r{i}",
                    "",
                    encode(np.full_like(picture(), GREY)),
                    encode(values),
                    24,
                    32,
                    0,
                    "",
                    coding="instances",
                )
                writer.add("test", row)
            writer.commit(task="instances", layout="folders", split_rule="")
        return open_dataset(Storage(str(tmp_path)), "own").split("test")

    return write


def columns(count: int) -> np.ndarray:
    """So many objects of 4x24 pixels, side by side."""
    values = np.zeros((24, 32), np.uint8)
    for k in range(count):
        values[:, 5 * k : 5 * k + 4] = k + 1
    return values


def test_a_picture_shows_one_object_and_its_prompt(
    predictor: Predictor, split_of: Callable[..., DataSplit], tmp_path: Path
) -> None:
    split, out = split_of(columns(1), columns(0), columns(3)), tmp_path / "gallery"
    written = write_object_gallery(predictor, split, NONE, Storage(str(out)), 8)
    assert written == ["r0.png", "r2.png", "sheet.png"], "without an object there is nothing to ask"
    assert sorted(path.name for path in out.iterdir()) == written
    asked = predictor.method.asked
    assert len(asked) == 2 and all(batch.prompts.labels.tolist() == [[[1, -1]]] for batch in asked)
    for row, batch in zip((0, 2), asked, strict=True):
        x, y = (batch.prompts.coords[0, 0, 0] / 2).tolist()  # a picture of 32 pixels in an input of 64
        assert columns(row + 1)[int(y), int(x)] > 0
    one, sheet = (np.asarray(Image.open(out / name)) for name in ("r0.png", "sheet.png"))
    assert sheet.shape == (2 * one.shape[0], *one.shape[1:]), "all of them below one another"
    assert np.array_equal(sheet[: one.shape[0]], one)


def test_the_prompt_is_drawn_in_and_errors_are_told(
    predictor: Predictor, split_of: Callable[..., DataSplit], tmp_path: Path
) -> None:
    """Everything is predicted, so that all but the object is too much."""
    split, out = split_of(columns(1)), tmp_path / "gallery"
    write_object_gallery(predictor, split, NONE, Storage(str(out)), 1)
    panels = np.asarray(Image.open(out / "r0.png"))[20:].astype(int)
    first, errors = panels[:, :256], panels[:, -256:]
    yellow = (first[..., 0] > 200) & (first[..., 1] > 200) & (first[..., 2] < 60)
    assert yellow[:, :48].any() and not yellow[:, 48:].any(), "the object has the first 32 of 256 columns"
    assert np.median(errors[:, :28, 2]) == GREY and np.median(errors[:, 40:, 2]) > GREY + 50


def test_which_object_is_shown_depends_on_the_picture_alone(
    predictor: Predictor, split_of: Callable[..., DataSplit], tmp_path: Path
) -> None:
    split = split_of(*[columns(6)] * 8)
    for _ in range(2):
        write_object_gallery(predictor, split, NONE, Storage(str(tmp_path / "gallery")), 8)
    points = [tuple(batch.prompts.coords[0, 0, 0].tolist()) for batch in predictor.method.asked]
    assert points[:8] == points[8:]
    assert len({int(x / 10) for x, _ in points}) > 2, "not always the first one"


def test_no_more_pictures_than_asked_for(
    predictor: Predictor, split_of: Callable[..., DataSplit], tmp_path: Path
) -> None:
    split = split_of(*[columns(1)] * 5)
    assert write_object_gallery(predictor, split, NONE, Storage(str(tmp_path / "g")), 3) == [
        "r0.png",
        "r2.png",
        "r4.png",
        "sheet.png",
    ]


def test_where_nothing_can_be_asked_for_nothing_is_written(
    predictor: Predictor, split_of: Callable[..., DataSplit], tmp_path: Path
) -> None:
    out = tmp_path / "gallery"
    assert write_object_gallery(predictor, split_of(columns(0)), NONE, Storage(str(out)), 4) == []
    assert not out.exists()


def test_a_folder_of_images_prompts_for_nothing(predictor: Predictor, tmp_path: Path) -> None:
    """Said before anything is written, and of any image that is read."""
    (tmp_path / "images").mkdir()
    with pytest.raises(
        UserError, match="'prompt_learning' was trained to answer prompts, and a folder of images has none"
    ):
        predict_folder(predictor, tmp_path / "images", Storage(str(tmp_path / "out")), lambda *told: None)
    assert not (tmp_path / "out").exists()


def test_the_command_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_settings("prompt_learning", "own")
    method, trial = build_method(settings), Storage(str(tmp_path / "results/r/trials/000"))
    checkpoint.write(trial, method, checkpoint.Record(settings.flat(), fingerprint(method.sam), "d", 1, {}))
    Image.fromarray(picture()).save(tmp_path / "a.png")
    words = ["predict", "--run", "r/000", "--images", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*words, "--storage", str(tmp_path / "results")]) == 2
    assert "to answer prompts" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
