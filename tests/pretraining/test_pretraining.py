"""`samsweep pretrain` from drawn scenes to weights, stopped and continued; and what it is judged by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from methods.backbone.build import build, fingerprint
from orchestrator.cli import main
from orchestrator.data.reader import open_dataset
from orchestrator.errors import UserError
from orchestrator.pretraining import scenes
from orchestrator.pretraining.real import read_set
from orchestrator.results import read_rows
from orchestrator.storage import Storage

SMALL = "train.samples=8 train.batch=4 train.precision=fp32 train.warmup=2"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few scenes to choose and to test by."""
    monkeypatch.setattr(scenes, "VAL", 2)
    monkeypatch.setattr(scenes, "TEST", 2)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """One picture of each real set, in its layout."""
    root = tmp_path / "real"
    for name in ("dsb2018_nuclei", "kvasir_seg"):
        (root / name / "images").mkdir(parents=True)
        (root / name / "masks").mkdir()
    labels = np.zeros((64, 64), np.uint16)
    labels[4:24, 4:24], labels[30:50, 30:60], labels[0, 0] = 1, 300, 7
    Image.fromarray((labels > 0).astype(np.uint8) * 200).convert("RGBA").save(root / "dsb2018_nuclei/images/a.png")
    Image.fromarray(labels).save(root / "dsb2018_nuclei/masks/a.png")
    polyp = np.zeros((64, 80), np.uint8)
    polyp[10:40, 20:60] = 255
    for kind in ("images", "masks"):
        Image.fromarray(polyp).convert("RGB").save(root / f"kvasir_seg/{kind}/b.jpg")
    return root


def pretrain(root: Path, real: Path, *more: str) -> int:
    words = ["pretrain", "--local", "--scenes", "8", "--set", SMALL, "--real", str(real)]
    return main([*words, "--data", str(root / "data"), "--storage", str(root / "results"), *more])


def test_scenes_weights_and_card(few: None, real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(tmp_path, real, "--epochs", "2") == 0
    run = tmp_path / "results" / "pretrain-vit_t"
    assert "inscribed" in capsys.readouterr().out
    weights = run / "vit_t.safetensors"
    assert weights.stat().st_size < 12e6
    sam = build("vit_t", weights)
    assert fingerprint(sam) != fingerprint(build("vit_t", random=True))
    card = (run / "vit_t.md").read_text()
    split = open_dataset(Storage(str(tmp_path / "data")), "scenes")
    assert split.manifest.fingerprint[:16] in card and "8 scenes" in card and "dsb2018_nuclei (2 masks)" in card
    assert "steps: 4 of 4 images (16 views" in card and card.count("\n| 1 |") == 1 and card.count("\n| 2 |") == 1
    assert split.split("train").read(0).layers >= 1


def test_it_goes_on_where_it_stopped(
    few: None, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.engine import Engine

    whole, part = tmp_path / "whole", tmp_path / "part"
    assert pretrain(whole, real, "--epochs", "3") == 0
    real_epoch = Engine.train_epoch

    def killed(self: Engine, epoch: int) -> dict:
        if epoch == 2:
            raise KeyboardInterrupt
        return real_epoch(self, epoch)

    with monkeypatch.context() as m:
        m.setattr(Engine, "train_epoch", killed)
        assert pretrain(part, real, "--epochs", "3") == 130
    trained: list[int] = []

    def counted(self: Engine, epoch: int) -> dict:
        trained.append(epoch)
        return real_epoch(self, epoch)

    monkeypatch.setattr(Engine, "train_epoch", counted)
    capsys.readouterr()
    assert pretrain(part, real, "--epochs", "3") == 0
    assert trained == [2, 3]
    assert "going on with" in capsys.readouterr().err
    (row,), (expected,) = (read_rows(Storage(str(root / "results"))) for root in (part, whole))
    for key in ("order", "losses", "val", "lr"):
        assert [e[key] for e in row["epochs"]] == [e[key] for e in expected["epochs"]], key
    weights = [build("vit_t", root / "results/pretrain-vit_t/vit_t.safetensors") for root in (part, whole)]
    assert fingerprint(weights[0]) == fingerprint(weights[1])
    assert pretrain(part, real, "--epochs", "3") == 0 and trained == [2, 3], "a complete run trains no more"
    assert pretrain(part, real, "--epochs", "4") == 2
    assert "was begun with train.epochs=3, not 4" in capsys.readouterr().err


def test_other_scenes_are_not_taken_for_those_asked_for(
    few: None, real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(tmp_path, real, "--epochs", "1") == 0
    words = ["pretrain", "--local", "--scenes", "9", "--data", str(tmp_path / "data")]
    assert main([*words, "--storage", str(tmp_path / "results")]) == 2
    assert "holds other scenes (drawn: 8 scenes" in capsys.readouterr().err


def test_large_instances_of_a_label_map_are_masks(real: Path) -> None:
    ((image, masks),) = read_set("dsb2018_nuclei", real)
    assert image.shape == (64, 64, 3) and masks.sum((1, 2)).tolist() == [400, 600]


def test_real_pictures_that_are_not_there_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="give the folder that holds dsb2018_nuclei and kvasir_seg"):
        list(read_set("kvasir_seg", tmp_path))
    assert main(["pretrain-eval", "--real", str(tmp_path)]) == 2
    assert "has no dsb2018_nuclei and no kvasir_seg; give their folder" in capsys.readouterr().err


def test_eval_prints_every_figure(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain-eval", "--real", str(real), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["dsb2018_nuclei"]["masks"] == 2 and figures["kvasir_seg"]["filled_box"] > 0.9
    assert all(0 <= value <= 1 for f in figures.values() for key, value in f.items() if key != "masks")


def test_weights_that_do_not_fit_are_said(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({}, tmp_path / "w.pth")
    assert main(["pretrain-eval", "--real", str(real), "--weights", str(tmp_path / "w.pth")]) == 2
    assert "not a checkpoint of SAM vit_t" in capsys.readouterr().err
