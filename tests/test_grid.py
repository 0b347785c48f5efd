"""Grids: which cells there are, and that one that fails leaves the others alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import grid as module
from orchestrator.cli import main
from orchestrator.cli import sweep as verbs
from orchestrator.errors import UserError
from orchestrator.grid import Cell, cells, is_grid
from orchestrator.storage import Storage

METHODS = ("decoder", "mca", "sam", "sam_adapter")


def test_what_is_a_grid() -> None:
    assert is_grid("all", "camo") and is_grid("mca", "camo,istd") and not is_grid("mca", "camo")


def test_all_is_whatever_fits(tmp_path: Path) -> None:
    found = cells("all", "all", Storage(str(tmp_path)))
    assert {cell.method for cell in found} == set(METHODS), "a prompted method has no data set here"
    datasets = {cell.dataset for cell in found}
    assert {"cod10k", "istd", "kvasir", "mvtec"} <= datasets and not {"camvid", "coco_panoptic"} & datasets
    assert len(found) == len(set(found)) == len(METHODS) * len(datasets)


def test_lists_keep_their_order_and_name_what_does_not_fit(tmp_path: Path) -> None:
    data = Storage(str(tmp_path))
    assert cells("sam,mca,sam", "istd", data) == [Cell("sam", "istd"), Cell("mca", "istd")]
    with pytest.raises(UserError, match=r"METHOD=mca DATASET=camvid: no method solves task 'semantic' yet"):
        cells("mca", "istd,camvid", data)
    with pytest.raises(UserError, match=r"unknown method 'mac' \(nearest: mca\)"):
        cells("sam,mac", "all", data)
    with pytest.raises(UserError, match="no method here fits"):
        cells("promptable", "all", data)


def test_plan_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "mca,sam", "istd,kvasir", "--trials", "3", "--price", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["cells"]) == 4 and told["hours"] is None and told["unknown"] == 4
    assert list(tmp_path.iterdir()) == []


Tell = Callable[[object], None]


def sweep(*words: str) -> int:
    return main(["sweep", "decoder,sam", "istd,kvasir", "--name", "g", "--trials", "2", *words])


def test_a_cell_that_fails_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[tuple[str, str, str]] = []

    def run_cell(a: object, tell: Tell) -> int:
        ran.append((a.method, a.dataset, a.name))  # type: ignore[attr-defined]
        if len(ran) == 2:
            raise UserError("no space left")
        return 0

    monkeypatch.setattr(verbs, "begin_or_go_on", run_cell)
    assert sweep() == 1
    assert ran == [
        ("decoder", "istd", "g-decoder-istd"),
        ("sam", "istd", "g-sam-istd"),
        ("decoder", "kvasir", "g-decoder-kvasir"),
        ("sam", "kvasir", "g-sam-kvasir"),
    ]
    assert "failed: sam on istd: no space left" in capsys.readouterr().out


def test_what_is_done_is_not_done_again_and_an_interrupt_ends_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[str] = []

    def run_cell(a: object, tell: Tell) -> int:
        ran.append(a.name)  # type: ignore[attr-defined]
        return 130

    monkeypatch.setattr(verbs, "begin_or_go_on", run_cell)
    monkeypatch.setattr(module, "_is_done", lambda storage, name, trials: name == "g-decoder-istd")
    assert sweep() == 130
    assert ran == ["g-sam-istd"]


@pytest.mark.parametrize("ends", [0, 130])
def test_a_grid_is_one_json_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: int
) -> None:
    monkeypatch.chdir(tmp_path)

    def run_cell(a: object, tell: Tell) -> int:
        tell({"run": a.name})  # type: ignore[attr-defined]
        return ends

    monkeypatch.setattr(verbs, "begin_or_go_on", run_cell)
    assert sweep("--json") == ends
    told = json.loads(capsys.readouterr().out)
    assert told["cells"] == 4 and told["failed"] == [] and told["interrupted"] is (ends == 130)
    names = ["g-decoder-istd", "g-sam-istd", "g-decoder-kvasir", "g-sam-kvasir"]
    assert [run["run"] for run in told["runs"]] == (names if ends == 0 else names[:1])
