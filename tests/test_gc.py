"""What `gc` takes away, and above all what it does not."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from test_results import epochs
from test_results import plan as plan_for

from orchestrator import alive, runfile, single
from orchestrator.cli import gc as module
from orchestrator.cli import main
from orchestrator.errors import UserError
from orchestrator.gc import GRACE, find_orphans, remove
from orchestrator.results import make_row, write_row
from orchestrator.space import Space
from orchestrator.storage import Storage
from orchestrator.study import FILE as JOURNAL
from orchestrator.study import StudySearch, study_name

NOBODY = 2**22 + 1  # no process has this number


@pytest.fixture(params=["", "memory://"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(f"{tmp_path}/results" if not request.param else f"memory://{uuid.uuid4().hex}/results")


def sweep(storage: Storage, tmp_path: Path, statuses: dict[str, str], begun: int, trials: int) -> Storage:
    """A sweep that is cut off: ``begun`` trials are known to its study, some have rows."""
    plan = dataclasses.replace(plan_for(tmp_path), storage=storage)
    settings, space = plan.settings, Space(plan.settings, {})
    runfile.describe(plan, {}, space, storage, trials).save(plan.run)
    journal = tmp_path / f"{uuid.uuid4().hex}.journal"
    known = study_name(settings.method, settings.dataset, settings.backbone.name, plan.name)
    search = StudySearch(space, "max", known, journal, 0, trials)
    for number in range(begun):
        search.suggest(f"t{number}")
    plan.run.write(JOURNAL, journal.read_bytes())
    for trial, status in statuses.items():
        write_row(plan.run, make_row(plan, trial, status, epochs(0.5), seconds=1.0))
    return plan.run


def put(run: Storage, *names: str) -> None:
    for name in names:
        run.write(name, b"12345")


def orphans(storage: Storage, **how: Any) -> dict[str, str]:
    return {orphan.path: orphan.why for orphan in find_orphans(storage, **how).orphans}


def test_what_can_be_gone_on_with_stays(storage: Storage, tmp_path: Path) -> None:
    run = sweep(storage, tmp_path, {"000": "completed", "001": "pruned", "002": "stopped"}, begun=4, trials=6)
    for trial in ("000", "001", "002", "003", "009"):
        put(run, f"trials/{trial}/state.pt", f"trials/{trial}/ray/checkpoint_1/state.pt", f"trials/{trial}/log")
        put(run, f"trials/{trial}/best.safetensors")
    put(run, "tune/a/b", "slots/0/x", "ray.log", "overlays/sheet.png")
    put(run, "trials/000/record.arrow.0123abcd.tmp", "overlays/a.png.deadbeef.tmp", "overlays/mine.tmp")
    put(run, "trials/009/best.safetensors.0123abcd.tmp")
    found = find_orphans(storage)
    name = run.name
    assert {o.path.removeprefix(f"{name}/"): o.bytes for o in found.orphans} == {
        "tune": 5,
        "slots": 5,
        "overlays/a.png.deadbeef.tmp": 5,
        "trials/000/record.arrow.0123abcd.tmp": 5,
        "trials/000/state.pt": 5,
        "trials/000/ray": 5,
        "trials/001/state.pt": 5,
        "trials/001/ray": 5,
        "trials/009": 25,
    }
    assert found.bytes == 65
    (kept,) = found.kept
    assert kept.run == name and "the state of trial 002, 003 stays" in kept.why
    before = set(run.tree())
    removed = remove(storage, found)
    assert len(removed) == 9 and not orphans(storage)
    left = {
        path for path in before if "/002" in path or "/003" in path or path.startswith(("overlays/s", "overlays/m"))
    }
    assert left <= set(run.tree())
    assert {"run.json", JOURNAL, "ray.log", "trials/000/record.arrow", "trials/001/best.safetensors"} <= set(run.tree())


def test_a_finished_sweep_needs_no_folder_without_a_row(storage: Storage, tmp_path: Path) -> None:
    run = sweep(storage, tmp_path, {"000": "completed", "001": "failed"}, begun=3, trials=2)
    put(run, "trials/002/state.pt", "trials/000/best.safetensors", "trials/001/best.safetensors")
    assert orphans(storage) == {f"{run.name}/trials/002": "has no result, and the sweep is finished"}
    assert f"{run.name}/trials/001/best.safetensors" in orphans(storage, pruned=True)
    assert f"{run.name}/trials/000/best.safetensors" not in orphans(storage, pruned=True)


def test_without_a_study_no_trial_is_unknown(storage: Storage, tmp_path: Path) -> None:
    run = sweep(storage, tmp_path, {"000": "completed"}, begun=2, trials=4)
    put(run, "trials/001/state.pt")
    run.remove(JOURNAL)
    assert orphans(storage) == {}


def note(run: Storage, host: str, pid: int, age: float) -> None:
    run.write(alive.FILE, json.dumps({"host": host, "pid": pid, "time": time.time() - age}).encode())


@pytest.mark.parametrize(
    ("host", "pid", "age", "left"),
    [
        (platform.node(), os.getpid(), 1.0, True),
        ("elsewhere", 1, 1.0, True),
        ("elsewhere", 1, GRACE - 60, True),  # its store may be away for a while
        ("elsewhere", 1, GRACE + 1, False),
        (platform.node(), NOBODY, 1.0, False),
    ],
    ids=[
        "a live process",
        "another host",
        "its grace",
        "another host's silence",
        "a dead process",
    ],  # for xdist: no pid
)
def test_what_somebody_runs_is_left_alone(
    storage: Storage, tmp_path: Path, host: str, pid: int, age: float, left: bool
) -> None:
    run = sweep(storage, tmp_path, {"000": "completed"}, begun=1, trials=1)
    put(run, "tune/x", "trials/000/state.pt")
    note(run, host, pid, age)
    found = find_orphans(storage)
    if left:
        assert not found.orphans and f"process {pid} on {host}" in found.kept[0].why
    else:
        assert {f"{run.name}/tune", f"{run.name}/alive.json"} <= {orphan.path for orphan in found.orphans}


def test_a_run_that_somebody_went_on_with_meanwhile_is_not_touched(storage: Storage, tmp_path: Path) -> None:
    run = sweep(storage, tmp_path, {"000": "completed"}, begun=1, trials=1)
    put(run, "tune/x")
    found = find_orphans(storage)
    note(run, "elsewhere", 1, 0.0)
    assert [orphan.path for orphan in found.orphans] == [f"{run.name}/tune"] and remove(storage, found) == []
    assert run.exists("tune/x")


def age(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was written until now is old."""
    later = time.time() + GRACE + 1
    monkeypatch.setattr(time, "time", lambda: later)


def test_folders_without_a_result(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    put(storage / "killed", "ray.log", "trials/single/best.safetensors", "trials/single/ray/x")
    put(storage / "mine", "trials/single/x", "notes.txt")
    put(storage / "photos", "a.jpg")
    put(storage / "pretrain", "settings.json", "trials/single/state.pt", "trials/single/best.safetensors")
    put(storage, ".probe-0123abcd")
    assert orphans(storage) == {".probe-0123abcd": "left by a check of STORAGE that was killed"}, "it may just begin"
    age(storage, monkeypatch)
    found = find_orphans(storage)
    assert [orphan.path for orphan in found.orphans] == [".probe-0123abcd", "killed"]
    assert [kept.run for kept in found.kept] == ["pretrain"], "it goes on at its state"
    remove(storage, found)
    assert storage.names() == ["mine", "photos", "pretrain"]


def test_a_pretraining_that_failed_goes_on_too(storage: Storage, tmp_path: Path) -> None:
    plan = dataclasses.replace(plan_for(tmp_path), storage=storage)
    put(plan.run, "settings.json", "trials/single/state.pt")
    write_row(plan.run, make_row(plan, "single", "failed", [], seconds=1.0))
    assert orphans(storage) == {}
    write_row(plan.run, make_row(plan, "single", "completed", [], seconds=1.0))
    assert list(orphans(storage)) == [f"{plan.name}/trials/single/state.pt"]


def test_a_damaged_run_is_left_alone_and_does_not_hide_the_others(storage: Storage, tmp_path: Path) -> None:
    run = sweep(storage, tmp_path, {"000": "completed"}, begun=1, trials=1)
    put(run, "tune/x")
    put(storage / "broken", "run.json", "tune/x", "trials/000/record.arrow")
    found = find_orphans(storage)
    assert [orphan.path for orphan in found.orphans] == [f"{run.name}/tune"]
    (kept,) = found.kept
    assert kept.run == "broken" and "left alone: " in kept.why and "damaged" in kept.why


def test_an_unknown_name_is_told(storage: Storage, tmp_path: Path) -> None:
    run = sweep(storage, tmp_path, {}, begun=1, trials=1)
    with pytest.raises(UserError, match=rf"unknown run under .* 'rundecoder' \(nearest: {run.name}\)"):
        find_orphans(storage, ["rundecoder"])


@pytest.fixture
def littered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """One orphan of 5 bytes in ./results."""
    monkeypatch.chdir(tmp_path)
    run = sweep(Storage("results"), tmp_path, {"000": "completed"}, begun=1, trials=1)
    put(run, "tune/x")
    return run


def test_without_a_terminal_it_only_shows(littered: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gc"]) == 0
    said = capsys.readouterr()
    assert f"{littered.name}/tune" in said.out and "1 orphans, 5 B under results" in said.out
    assert "nothing was removed; to remove them: samsweep gc --yes --storage results" in said.err
    assert main(["gc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == [] and littered.exists("tune/x")
    assert main(["gc", littered.name, "--yes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["removed"] == [f"{littered.name}/tune"] and told["freed"] == 5 and not littered.exists("tune")
    assert main(["gc", "--yes"]) == 0 and "nothing to remove" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "goes"), [("", False), ("n", False), ("y", True), ("Yes", True)])
def test_on_a_terminal_it_asks(littered: Storage, monkeypatch: pytest.MonkeyPatch, answer: str, goes: bool) -> None:
    monkeypatch.setattr(module.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(module.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert main(["gc"]) == 0
    assert littered.exists("tune/x") is not goes


def test_who_trains_without_a_sweep_is_seen_too(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def training(plan: Any, screen: Any) -> None:
        put(plan.run, "trials/single/best.safetensors")
        seen.extend(kept.why for kept in find_orphans(plan.storage).kept)
        raise UserError("enough")

    monkeypatch.setattr(single, "train_here", training)
    assert main(["train", "decoder", "tiny", "--local", "--data", str(tiny_data), "--name", "n"]) == 2
    assert seen == [f"left alone: process {os.getpid()} on {platform.node()} runs it"]
    assert not Storage("results/n").exists(alive.FILE)


def test_a_run_that_went_away_meanwhile_is_no_error(storage: Storage, tmp_path: Path) -> None:
    run = sweep(storage, tmp_path, {"000": "completed"}, begun=1, trials=1)
    put(run, "tune/x")
    found = find_orphans(storage)
    run.remove()
    assert remove(storage, found) == []
