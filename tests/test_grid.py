"""Grids: which cells there are, and that one that fails leaves the others alone."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from data_samples import encode, ground, picture

from orchestrator.cli import cells as cells_module
from orchestrator.cli import grid as module
from orchestrator.cli import main
from orchestrator.cli.cells import Outcome, words_of
from orchestrator.cli.main import build_parser
from orchestrator.data.schema import Row
from orchestrator.data.tasks import TASKS
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.grid import Cell, cells, is_grid
from orchestrator.storage import Storage

#: Of those whose masks are of objects.
METHODS = ("decoder", "mca", "prompt_learning", "sam", "sam_adapter")


def test_what_is_a_grid() -> None:
    assert is_grid("all", "camo") and is_grid("mca", "camo,istd") and not is_grid("mca", "camo")


def test_all_is_whatever_fits(tmp_path: Path) -> None:
    found = cells("all", "all", Storage(str(tmp_path)))
    methods = {name: [cell.method for cell in found if cell.dataset == name] for name in {c.dataset for c in found}}
    assert len(found) == len(set(found))
    for name in ("cod10k", "istd", "kvasir", "mvtec", "celebamask_hq", "dsb2018"):
        assert methods[name] == list(METHODS), "promptable is trained with several masks an image, which none has here"
    assert methods["cityscapes"] == ["prompt_learning", "segformer"], "classes of pixels, and objects of any masks"
    assert methods["densepass"] == ["goodsam", "prompt_learning"]
    assert not {"camvid", "coco_panoptic"} & methods.keys(), "neither ingested nor ever drawn"


def test_lists_keep_their_order_and_name_what_does_not_fit(tmp_path: Path) -> None:
    data = Storage(str(tmp_path))
    assert cells("sam,mca,sam", "istd", data) == [Cell("sam", "istd"), Cell("mca", "istd")]
    with pytest.raises(UserError, match=r"METHOD=mca DATASET=camvid: the method does not name the classes of pixels"):
        cells("mca", "istd,camvid", data)
    with pytest.raises(UserError, match=r"unknown method 'mac' \(nearest: mca\)"):
        cells("sam,mac", "all", data)
    with pytest.raises(UserError, match="no method here fits"):
        cells("promptable", "all", data)


def ingest_as(task: str, name: str, data: Storage) -> None:
    """One image and its mask, which are not looked at here."""
    with DatasetWriter(data, name) as writer:
        writer.add(
            "test", Row("a", "", encode(picture()), encode(ground()), 24, 32, 127, "a", coding=TASKS[task].coding)
        )
        writer.commit(task=task, layout="folders", split_rule="")


def test_objects_are_asked_for_in_any_masks_that_are_there(tmp_path: Path) -> None:
    """By a method that is nothing without prompts; what no method solves has no stand-in to ask in."""
    data = Storage(str(tmp_path))
    with pytest.raises(UserError, match="METHOD=prompt_learning DATASET=camvid: no stand-in is drawn of it"):
        cells("prompt_learning", "camvid", data)
    ingest_as("semantic", "camvid", data)
    ingest_as("promptable", "own", data)
    assert cells("all", "camvid,own", data) == [
        Cell("prompt_learning", "camvid"),
        Cell("segformer", "camvid"),
        Cell("prompt_learning", "own"),
        Cell("promptable", "own"),
    ]
    asked = cells("decoder,sam", "camvid", data, per_object=True)
    assert asked == [Cell("decoder", "camvid"), Cell("sam", "camvid")], "SET=prompts.objects=always"


def test_plan_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "mca,sam", "istd,kvasir", "--trials", "3", "--price", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["cells"]) == 4 and told["hours"] is None and told["unknown"] == 4
    assert list(tmp_path.iterdir()) == []


class Lanes:
    """In the place of ``cells.Lanes``: runs nothing."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str, str]] = []
        self.outcome = Outcome()

    def run(self, a: Any, heads: Any, trials: int) -> Outcome:
        self.ran += [(cell.method, cell.dataset, name) for cell, _, name in heads]
        return self.outcome


@pytest.fixture
def lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lanes:
    monkeypatch.chdir(tmp_path)
    made = Lanes()
    monkeypatch.setattr(module, "side_by_side", lambda a, cells, grid: nullcontext(made))
    return made


def sweep(*words: str) -> int:
    return main(["sweep", "decoder,sam", "istd,kvasir", "--name", "g", "--trials", "2", *words])


NAMES = ["g-decoder-istd", "g-sam-istd", "g-decoder-kvasir", "g-sam-kvasir"]


def test_a_cell_that_fails_is_told(lanes: Lanes, capsys: pytest.CaptureFixture[str]) -> None:
    lanes.outcome.failed.append((Cell("sam", "istd"), "no space left"))
    assert sweep() == 1
    assert lanes.ran == [
        ("decoder", "istd", "g-decoder-istd"),
        ("sam", "istd", "g-sam-istd"),
        ("decoder", "kvasir", "g-decoder-kvasir"),
        ("sam", "kvasir", "g-sam-kvasir"),
    ]
    assert "failed: sam on istd: no space left" in capsys.readouterr().out


def test_what_is_done_is_not_done_again(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_done", lambda storage, name, trials: name == "g-decoder-istd")
    lanes.outcome.interrupted = True
    assert sweep() == 130
    assert [name for *_, name in lanes.ran] == NAMES[1:]
    monkeypatch.setattr(module, "_is_done", lambda storage, name, trials: True)
    assert sweep() == 0 and len(lanes.ran) == 3, "no Ray for nothing"


@pytest.mark.parametrize("ends", [0, 130])
def test_a_grid_is_one_json_document(lanes: Lanes, capsys: pytest.CaptureFixture[str], ends: int) -> None:
    lanes.outcome = Outcome(runs=[{"run": name} for name in NAMES], interrupted=ends == 130)
    assert sweep("--json") == ends
    told = json.loads(capsys.readouterr().out)
    assert told["cells"] == 4 and told["failed"] == [] and told["interrupted"] is (ends == 130)
    assert [run["run"] for run in told["runs"]] == NAMES


def test_the_command_of_a_cell_has_all_that_was_asked_for() -> None:
    asked = ["--epochs", "3", "--set", "train.lr=1e-3 train.batch=4", "--storage", "s3://b/r", "--warm-start", "off"]
    parser, _ = build_parser()
    a = parser.parse_args(["sweep", "all", "istd", "--trials", "2", "--seeds", "4", *asked])
    words = words_of(a, Cell("sam", "istd"), "g-sam-istd", share=3, trials=2)
    cell = parser.parse_args(words)
    assert (cell.method, cell.dataset, cell.name, cell.at_once, cell.json) == ("sam", "istd", "g-sam-istd", 3, True)
    for option in ("trials", "epochs", "set", "storage", "data", "warm_start", "seeds", "objectives", "workers"):
        assert getattr(cell, option) == getattr(a, option), option


FAKE = """
import os, sys, time
print("[00:01] trial 000 completed", os.environ["RAY_ADDRESS"], file=sys.stderr)
if sys.argv[2] == "bad":
    print("error: no space left", file=sys.stderr)
    sys.exit(2)
try:
    time.sleep(60 if sys.argv[2] == "long" else 0)
except KeyboardInterrupt:
    sys.exit(130)
print('{"run": "%s", "epochs": "%s"}' % (sys.argv[2], 'x' * 200_000))  # more than a pipe holds
"""


def run_lanes(
    monkeypatch: pytest.MonkeyPatch,
    methods: str,
    screen: io.StringIO,
    lanes: int = 2,
    prepare: Callable[[Cell], object] = lambda cell: None,
) -> Outcome:
    """Cells whose commands are ``FAKE``; a method's name says how one goes."""
    monkeypatch.setattr(cells_module, "ENTRY", FAKE)
    parser, _ = build_parser()
    a = parser.parse_args(["sweep", "all", "all"])
    heads = [(Cell(method, "istd"), f"{method} on istd", method) for method in methods.split()]
    return cells_module.Lanes("address:1", [1] * lanes, screen, prepare).run(a, heads, trials=1)


def test_a_cell_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    outcome = run_lanes(monkeypatch, "one bad two", screen)
    assert sorted(run["run"] for run in outcome.runs) == ["one", "two"] and not outcome.interrupted
    assert outcome.failed == [(Cell("bad", "istd"), "no space left")]
    assert "one on istd [00:01] trial 000 completed address:1" in screen.getvalue()
    assert "bad on istd failed: no space left" in screen.getvalue()


def test_a_data_set_is_prepared_by_one_cell_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [0], [0]

    def prepare(cell: Cell) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.2)
        inside[0] -= 1

    assert len(run_lanes(monkeypatch, "one two three", io.StringIO(), lanes=3, prepare=prepare).runs) == 3
    assert most == [1]


def test_data_that_cannot_be_prepared_fail_their_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(cell: Cell) -> None:
        raise UserError(f"{cell.dataset}: damaged")

    outcome = run_lanes(monkeypatch, "one", io.StringIO(), prepare=prepare)
    assert outcome.failed == [(Cell("one", "istd"), "istd: damaged")]


def test_an_interrupt_ends_all_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    threading.Timer(3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    outcome = run_lanes(monkeypatch, "long long two", io.StringIO())
    assert outcome.interrupted and not outcome.failed and not outcome.runs
    assert time.monotonic() - began < 30
