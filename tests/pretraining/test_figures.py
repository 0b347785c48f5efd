"""What the weights that ship are good for, on part of the real pictures beside the project."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from methods.backbone.build import BUNDLED, build
from orchestrator.build import pick_precision
from orchestrator.cli import main
from orchestrator.config import make_settings
from orchestrator.pretraining.real import SETS, read_set
from orchestrator.prompted import mean_scores
from orchestrator.results import read_rows
from orchestrator.storage import Storage

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found(kvasir: Path) -> dict[str, dict[str, float]]:
    """The figures on a quarter of each set."""
    figures = {}
    for name in SETS:
        samples = [sample for i, sample in enumerate(read_set(name, kvasir.parent)) if i % 4 == 0]
        figures[name] = mean_scores(build("vit_t"), samples, CPU, pick_precision("auto", CPU))
    return figures


@pytest.mark.parametrize(("name", "point"), [("dsb2018_nuclei", 0.5), ("kvasir_seg", 0.4)])
def test_a_point_in_the_middle_finds_its_object(name: str, point: float, found: dict[str, dict[str, float]]) -> None:
    assert found[name]["point_iou"] > point and found[name]["point_single"] > point


@pytest.mark.parametrize("name", SETS)
def test_predicted_iou_ranks_the_three_outputs(name: str, found: dict[str, dict[str, float]]) -> None:
    assert found[name]["ranking"] > 0.55


@pytest.mark.parametrize(("name", "ahead"), [("dsb2018_nuclei", 0.02), ("kvasir_seg", 0.0)])
def test_a_box_is_answered_better_than_without_a_model(
    name: str, ahead: float, found: dict[str, dict[str, float]]
) -> None:
    figures = found[name]
    assert figures["box_iou"] > max(figures["filled_box"], figures["ellipse"]) + ahead


@pytest.mark.xfail(strict=True, reason="0.817 and 0.769 on the whole sets, wanted 0.825 and 0.795; see vit_t.md")
@pytest.mark.parametrize("name", SETS)
def test_a_box_is_answered_far_better_than_without_a_model(name: str, found: dict[str, dict[str, float]]) -> None:
    figures = found[name]
    assert figures["box_iou"] > max(figures["filled_box"], figures["ellipse"]) + 0.05


def test_the_file_is_small_and_loads_within_a_second_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert BUNDLED.stat().st_size <= 12e6
    build("vit_t")
    began = time.perf_counter()
    build("vit_t")
    assert time.perf_counter() - began < 1


def test_it_loads_from_another_folder(tmp_path: Path) -> None:
    """The path of the weights does not depend on where the user stands."""
    code = "from methods.backbone.build import build; print(sum(p.numel() for p in build('vit_t').parameters()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert 2_000_000 < int(done.stdout) < 6_000_000


@pytest.fixture(scope="module")
def polyps(kvasir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the real polyps, ingested."""
    root, some = tmp_path_factory.mktemp("polyps"), tmp_path_factory.mktemp("some")
    for kind in ("images", "masks"):
        (some / kind).mkdir()
        for path in sorted((kvasir / kind).iterdir())[::2]:
            (some / kind / path.name).symlink_to(path)
    words = ["ingest", "polyps", "--layout", "folders", "--source", str(some), "--task", "polyp"]
    assert main([*words, "--out", str(root)]) == 0
    return root


@pytest.mark.weights
@pytest.mark.parametrize("method", ["decoder", "sam_adapter", "mca"])
def test_methods_learn_more_from_it_than_from_random_weights(method: str, polyps: Path, tmp_path: Path) -> None:
    for start in ("trained", "random"):
        words = ["train", method, "polyps", "--local", "--epochs", "4", "--name", start, "--data", str(polyps)]
        settings = f"backbone.start={start} train.lr=1e-3"
        assert main([*words, "--set", settings, "--storage", str(tmp_path)]) == 0
    test = {row["run"]: row["test"]["mdice"] for row in read_rows(Storage(str(tmp_path)))}
    assert test["trained"] > test["random"], test
    assert make_settings(method, "polyps").backbone.start == "trained"
