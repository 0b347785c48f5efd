"""`samsweep pretrain` from drawn scenes to weights, stopped and continued; and what it is judged by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from methods.backbone.build import build, fingerprint
from methods.promptable import Promptable
from orchestrator import runtime
from orchestrator.cli import main
from orchestrator.config import make_settings
from orchestrator.data.reader import open_dataset
from orchestrator.data.tasks import TASKS
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.pretraining import scenes
from orchestrator.pretraining.card import command
from orchestrator.pretraining.real import read_set
from orchestrator.pretraining.recipe import METHOD, with_recipe
from orchestrator.prompted import evaluate_prompts
from orchestrator.ranks import Ranks
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


def test_a_card_tells_of_the_runs_before(
    few: None, real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(tmp_path, real, "--epochs", "1", "--name", "first") == 0
    first = tmp_path / "results/first"
    options = f"{SMALL} backbone.checkpoint={first}/vit_t.safetensors"
    assert pretrain(tmp_path, real, "--epochs", "2", "--name", "next", "--recipe", "polish", "--set", options) == 0
    card = (tmp_path / "results/next/vit_t.md").read_text()
    assert card.index("## Run 1") < card.index("begun from random weights") < card.index("## Run 2")
    assert card.index("## Run 2") < card.index("begun from the weights of the run before")
    assert "make pretrain RECIPE=cpu" in card and "make pretrain RECIPE=polish" in card
    assert "backbone.checkpoint=FILE" in card and str(tmp_path) not in card
    assert (first / "vit_t.md").read_text().split("## Run 1")[1].strip() in card


def test_it_goes_on_where_it_stopped(
    few: None, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.engine import Engine, Position

    whole, part = tmp_path / "whole", tmp_path / "part"
    assert pretrain(whole, real, "--epochs", "3") == 0
    real_epoch = Engine.train_epoch

    def killed(self: Engine, epoch: int, start: Position | None = None) -> dict:
        if epoch == 2:
            raise KeyboardInterrupt
        return real_epoch(self, epoch, start)

    with monkeypatch.context() as m:
        m.setattr(Engine, "train_epoch", killed)
        assert pretrain(part, real, "--epochs", "3") == 130
    trained: list[int] = []

    def counted(self: Engine, epoch: int, start: Position | None = None) -> dict:
        trained.append(epoch)
        return real_epoch(self, epoch, start)

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


class _OneOfTwo(Ranks):
    """A rank whose exchanges happen through a list that both fill."""

    shared: ClassVar[list[object]] = []

    def gather(self, value: object) -> list[object]:
        self.shared.append(value)
        return self.shared


def test_answers_to_prompts_are_the_same_on_two_ranks(few: None, tmp_path: Path) -> None:
    scenes.write_scenes(Storage(str(tmp_path)), 3, 0, lambda *_: None)
    split = open_dataset(Storage(str(tmp_path)), "scenes").split("train")
    method = Promptable(build("vit_t"))
    alone = evaluate_prompts(method, split, torch.device("cpu"), torch.float32, Ranks())
    _OneOfTwo.shared.clear()
    for rank in range(2):
        both = evaluate_prompts(method, split, torch.device("cpu"), torch.float32, _OneOfTwo(rank, 2))
    assert both == alone and set(alone) == {"box_iou", "point_iou", "ranking"}


def test_a_foreign_run_is_not_taken_over(
    few: None, real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results" / "mine").mkdir(parents=True)
    assert pretrain(tmp_path, real, "--name", "mine") == 2
    assert "NAME=mine: that run is there already" in capsys.readouterr().err


def test_a_run_that_finds_no_room_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that is refused must not delete what it was to go on with."""

    @contextmanager
    def tiny_cluster(log: Path) -> Iterator[tuple[runtime.Capacity, None]]:
        yield runtime.Capacity(((0.5, 0.0),)), None

    monkeypatch.setattr(runtime, "ray_cluster", tiny_cluster)
    settings = make_settings("decoder", "x")
    storage = Storage(str(tmp_path))
    for name, stays in (("begun", True), ("new", False)):
        plan = Plan(name, settings, storage, storage, TASKS["polyp"], False, "f", 0, False)
        if stays:
            plan.run.write("settings.json", b"{}")
        with pytest.raises(UserError, match="the cluster has"), runtime.session(plan, False, lambda text: None):
            pass
        assert plan.run.exists() == stays


@pytest.mark.parametrize(("cores", "ranks"), [(1, 1), (2, 2), (6, 4), (12, 8), (64, 16)])
def test_ranks_share_the_batch_evenly(cores: int, ranks: int) -> None:
    assert with_recipe("cpu", {}, cores)["train.workers"] == ranks
    assert with_recipe("cpu", {"train.workers": "3"}, cores)["train.workers"] == "3"


def test_beside_a_gpu_the_cores_make_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.pretraining.recipe.available_cores", lambda: 16)
    one, four = with_recipe("gpu", {}, 1), with_recipe("gpu", {}, 4)
    assert (one["train.workers"], one["data.processes"]) == (1, 16)
    assert (four["train.workers"], four["data.processes"]) == (4, 4)
    assert with_recipe("gpu", {"data.processes": "3"}, 1)["data.processes"] == "3"
    assert "data.processes" not in with_recipe("cpu", {}, 2)


def test_the_card_says_what_was_typed() -> None:
    usual = make_settings(METHOD, "scenes", with_recipe("cpu", {}, 2)).flat()
    assert command(usual, "cpu", scenes.rule(16_000, 0)) == "make pretrain RECIPE=cpu WORKERS=2"
    changed = usual | {"method.clicks": 3, "train.seed": 5}
    assert command(changed, "cpu", scenes.rule(64, 0)) == (
        "make pretrain RECIPE=cpu WORKERS=2 SCENES=64 SET='train.seed=5 method.clicks=3'"
    )
    on_gpu = make_settings(METHOD, "scenes", with_recipe("gpu", {}, 1)).flat()
    assert command(on_gpu, "gpu", scenes.rule(16_000, 0)) == "make pretrain RECIPE=gpu WORKERS=1"


def test_several_masks_an_image_want_a_promptable_method(
    few: None, real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes.write_scenes(Storage(str(tmp_path)), 1, 0, lambda *_: None)
    assert main(["train", "decoder", "scenes", "--local", "--data", str(tmp_path)]) == 2
    assert "METHOD=promptable" in capsys.readouterr().err
    assert main(["ingest", "x", "--source", str(real), "--task", "promptable", "--out", str(tmp_path)]) == 2
    assert "unknown task 'promptable'" in capsys.readouterr().err


def test_no_scenes_are_refused(tmp_path: Path, real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(tmp_path, real, "--scenes", "0") == 2
    assert "SCENES=0: at least 1" in capsys.readouterr().err


def test_a_damaged_real_picture_is_named(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (real / "kvasir_seg/images/b.jpg").write_bytes(b"no picture")
    assert main(["pretrain-eval", "--real", str(real)]) == 2
    assert "b.jpg or its mask" in capsys.readouterr().err
