"""Going on with a sweep and asking for its status: what is refused, and what is told, without Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import alive, runfile
from orchestrator.cli import main
from orchestrator.plan import Plan, make_plan
from orchestrator.results import make_row, write_row
from orchestrator.space import Space
from orchestrator.storage import Storage
from orchestrator.study import FILE as JOURNAL
from orchestrator.study import Ended, StudySearch, study_name

CHANGES = {"train.batch": "4", "train.epochs": "3"}


@pytest.fixture
def plan(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Of a sweep of 4 trials that was cut off: one completed, one begun, one stopped by hand."""
    monkeypatch.chdir(tmp_path)
    plan = make_plan("decoder", "tiny", CHANGES, Storage(str(tiny_data)), Storage("results"), "swept")
    fixed = {key: plan.settings.flat()[key] for key in CHANGES}
    space = Space(plan.settings, fixed)
    runfile.describe(plan, CHANGES, space, plan.data, 4).save(plan.run)
    name = study_name("decoder", "tiny", "vit_t", "swept")
    search = StudySearch(space, "max", name, plan.run.local(JOURNAL), seed=0, trials=4)
    for trial, best in (("000", 0.5), ("001", 0.25), ("002", 0.125)):
        search.suggest(trial)
        search.on_trial_result(trial, {"best": best, "epoch": 1})
    write_row(plan.run, make_row(plan, "000", "completed", [_record(0.5)], seconds=1))
    search.tell("000", Ended("completed", 0.5))
    write_row(plan.run, make_row(plan, "002", "stopped", [_record(0.125)], seconds=1))
    return plan


def _record(best: float) -> dict[str, Any]:
    return {"epoch": 1, "losses": {}, "val": {"mdice": best}, "best": best, "best_epoch": 1}


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: "), error
    return error


def test_what_cannot_be_gone_on_with_is_one_line(
    plan: Plan, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "unknown sweep under " in (said := fails(capsys, "resume", "swetp")) and "(nearest: swept)" in said
    assert "(nearest: swept)" in fails(capsys, "status", "swetp")
    assert "TRIALS=3: sweep 'swept' has 4 already; give as many or more" in fails(
        capsys, "resume", "swept", "--trials", "3"
    )
    assert "TRIALS=0: at least 1" in fails(capsys, "resume", "swept", "--trials", "0")
    words = ("--data", str(tiny_data), "--name", "swept", "--epochs", "3")
    sweep = ("sweep", "decoder", "tiny", *words, "--set")
    assert "began with train.batch 4, now it is 5" in fails(capsys, *sweep, "train.batch=5", "--trials", "4")
    assert "has 4 already" in fails(capsys, *sweep, "train.batch=4", "--trials", "2")
    assert "no more the dimension train.lr" in fails(capsys, *sweep, "train.batch=4 train.lr=2e-4")
    assert "that run is there already" in fails(capsys, "train", "decoder", "tiny", *words)
    assert "began with method decoder, now it is mca" in fails(capsys, "sweep", "mca", "tiny", *words)


def test_a_run_that_is_no_sweep_is_not_gone_on_with(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    (plan.run / runfile.FILE).local().unlink()
    assert "unknown sweep" in fails(capsys, "resume", "swept")
    words = ("sweep", "decoder", "tiny", "--data", plan.data.uri, "--name", "swept")
    assert "that run is there already" in fails(capsys, *words)


def test_a_sweep_has_one_driver(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        note = {"host": alive.platform.node(), "pid": other.pid, "time": time.time()}
        plan.run.write(alive.FILE, json.dumps(note).encode())
        assert f"process {other.pid} on " in fails(capsys, "resume", "swept")
        assert main(["status", "swept"]) == 0
        assert f"swept: runs on {alive.platform.node()} (process {other.pid})" in capsys.readouterr().out
        other.kill()


def test_the_status_of_a_sweep_that_was_cut_off(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    before = plan.run.read(JOURNAL)
    assert main(["status", "swept", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["trials"], told["completed"], told["pruned"], told["failed"], told["to_come"]) == (4, 1, 0, 0, 1)
    assert told["begun"] == [
        {"trial": "001", "epoch": 1, "best": 0.25},
        {"trial": "002", "epoch": 1, "best": 0.125},
    ]
    assert told["best"] == 0.5 and not told["driven"] and not told["finished"]
    assert main(["status", "swept"]) == 0
    shown = capsys.readouterr().out
    assert "trial 001: epoch 1 of 3, best 0.2500" in shown
    assert "swept: no driver; go on with: samsweep resume swept" in shown
    assert plan.run.read(JOURNAL) == before, "who only looks changes nothing"
    for trial in ("001", "002", "003"):
        write_row(plan.run, make_row(plan, trial, "pruned", [_record(0.1)], seconds=1))
    assert main(["status"]) == 0
    assert "swept: finished" in capsys.readouterr().out


def test_there_may_be_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--storage", str(tmp_path)]) == 0
    assert "no sweep under" in capsys.readouterr().out
