"""Rows of trials and the leaderboard made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.config import make_settings
from orchestrator.data.tasks import TASKS
from orchestrator.errors import UserError
from orchestrator.leaderboard import leaderboard, published_for, render, trials_table
from orchestrator.plan import Plan
from orchestrator.predict import trial_folder
from orchestrator.results import FILE, TRIALS, from_record, make_row, read_rows, write_row
from orchestrator.storage import Storage
from orchestrator.sweep import best_row


def plan(root: Path, method: str = "decoder", dataset: str = "cod10k", **changes: Any) -> Plan:
    settings = make_settings(method, dataset, {"train.epochs": 2})
    fields: dict[str, Any] = {
        "name": f"run-{method}",
        "settings": settings,
        "data": Storage(str(root)),
        "storage": Storage(str(root)),
        "task": TASKS["camouflage"],
        "stand_in": False,
        "fingerprint": "f",
        "skipped": 0,
        "backbone_random": True,
    }
    return Plan(**fields | changes)


def epochs(best: float, test: dict[str, float] | None = None) -> list[dict[str, Any]]:
    record: dict[str, Any] = {"lr": 0.1, "losses": {"bce": 1.0}, "val": {"s_measure": best}, "samples": 3}
    record |= {"order": "x", "seconds": 1.0, "eval_seconds": 0.5, "peak_memory_mb": 7.0}
    record |= {"best": best, "best_epoch": 1, "chosen_on": "val", "trained_parameters": 5, "objective": best}
    return [{**record, "epoch": 1}, {**record, "epoch": 2, "test": test or {}}]


def write(p: Plan, trial: str, best: float, test: float | None, status: str = "completed") -> None:
    values = {} if test is None else {"s_measure": test, "e_measure": 0.5, "weighted_f": 0.5, "mae": 0.25}
    write_row(p.run, make_row(p, trial, status, epochs(best, values), seconds=9.0, choices={"train.lr": 1e-3}))


def test_a_row_survives_the_disk(tmp_path: Path) -> None:
    write(plan(tmp_path), "t1", 0.7, 0.6)
    (row,) = read_rows(Storage(str(tmp_path)))
    assert (row["run"], row["trial"], row["method"], row["status"]) == ("run-decoder", "t1", "decoder", "completed")
    assert row["best"] == 0.7 and row["best_epoch"] == 1 and row["chosen_on"] == "val"
    assert row["test"]["mae"] == 0.25 and row["epochs"][1]["losses"] == {"bce": 1.0}
    assert row["choices"] == {"train.lr": 1e-3} and row["settings"]["train.lr"] == 1e-3
    assert row["packages"]["ray"] and row["code_version"].startswith("0.1.0")
    assert row["peak_memory_mb"] == 7.0 and row["seconds"] == 9.0 and row["data_fingerprint"] == "f"


@pytest.mark.parametrize("record", [epochs(0.7, {"mae": 0.25}), epochs(0.7)[:1], []])
def test_a_row_that_was_read_is_the_row_that_was_written(tmp_path: Path, record: list[dict[str, Any]]) -> None:
    p = plan(tmp_path)
    row = make_row(p, "000", "completed", record, seconds=9.0, choices={"train.lr": 1e-3}, cause="none")
    write_row(p.run, row)
    (read,) = read_rows(Storage(str(tmp_path)))
    again = from_record(read)
    assert str(again.to_table().to_pylist()) == str(row.to_table().to_pylist())  # as text: NaN is not itself
    assert (again.test, again.last.get("best_epoch")) == (row.test, row.last.get("best_epoch"))
    assert again.best == row.best or not record


def test_a_failed_trial_has_a_row_with_its_cause(tmp_path: Path) -> None:
    p = plan(tmp_path)
    write_row(p.run, make_row(p, "t", "failed", [], seconds=1.0, cause="NotFinite: the loss"))
    (row,) = read_rows(Storage(str(tmp_path)))
    assert row["cause"] == "NotFinite: the loss" and row["epochs"] == [] and row["best_epoch"] is None
    assert leaderboard([row]) == []


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    p = plan(tmp_path)
    write(p, "t1", 0.7, 0.6)
    p.run.write(f"{TRIALS}/t1/{FILE}", b"garbage")
    with pytest.raises(UserError, match="damaged result") as caught:
        read_rows(Storage(str(tmp_path)))
    assert "t1" in str(caught.value)


def test_the_leaderboard_takes_the_trial_chosen_on_validation(tmp_path: Path) -> None:
    p = plan(tmp_path)
    write(p, "chosen", best=0.8, test=0.5)
    write(p, "lucky", best=0.7, test=0.9)
    write(p, "pruned", best=0.95, test=None, status="pruned")
    write(plan(tmp_path, "mca", name="run-mca"), "m", best=0.6, test=0.55)
    entries = leaderboard(read_rows(Storage(str(tmp_path))))
    assert [(e["method"], e["trial"], e["trials"]) for e in entries] == [("mca", "m", 1), ("decoder", "chosen", 3)]


def test_stand_in_and_other_data_are_apart(tmp_path: Path) -> None:
    write(plan(tmp_path), "real", 0.5, 0.5)
    write(plan(tmp_path, stand_in=True, fingerprint="g"), "drawn", 0.9, 0.9)
    write(plan(tmp_path, fingerprint="h"), "other", 0.4, 0.4)
    entries = leaderboard(read_rows(Storage(str(tmp_path))))
    assert sorted(e["trial"] for e in entries) == ["drawn", "other", "real"]
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for table in render(entries):
        console.print(table)
    shown = console.export_text()
    assert "cod10k  STAND-IN: not comparable with the paper" in shown
    assert "published" in shown and "0.883" in shown and "implied by the published relative gain" in shown


def test_smaller_is_better_for_ber(tmp_path: Path) -> None:
    p = plan(tmp_path, dataset="istd", task=TASKS["shadow"])
    for trial, ber in (("bad", 30.0), ("good", 10.0)):
        write_row(p.run, make_row(p, trial, "completed", epochs(ber, {"ber": ber}), seconds=1.0))
    (entry,) = leaderboard(read_rows(Storage(str(tmp_path))))
    assert entry["trial"] == "good"


def test_of_equal_trials_everybody_names_the_same(tmp_path: Path) -> None:
    p = plan(tmp_path)
    rows = [make_row(p, name, "completed", epochs(0.0, {"s_measure": 0.0}), seconds=1.0) for name in ("c", "a", "b")]
    for row in rows:
        write_row(p.run, row)
    (entry,) = leaderboard(read_rows(Storage(str(tmp_path))))
    best = best_row(rows, "max")
    assert best is not None and best.trial == entry["trial"] == "a"
    assert trial_folder(Storage(str(tmp_path)), p.name).uri.endswith("/a")


def test_best_row_and_table(tmp_path: Path) -> None:
    p = plan(tmp_path)
    rows = [make_row(p, n, s, epochs(v), seconds=1.0) for n, s, v in (("a", "completed", 0.5), ("b", "pruned", 0.9))]
    rows.append(make_row(p, "c", "failed", [], seconds=1.0, cause="out of memory"))
    best = best_row(rows, "max")
    assert best is not None and best.trial == "a"
    assert best_row(rows[1:], "max") is None
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(trials_table(rows, "s_measure", p.task.metrics, "max"))
    shown = console.export_text()
    assert shown.index(" a ") < shown.index(" b ") < shown.index(" c ") and "out of memory" in shown


def test_published_numbers_carry_their_source() -> None:
    for entry in published_for(["cod10k", "istd", "kvasir", "camo", "chameleon"]):
        assert entry["published"] and entry["source"] and entry["test"]
        if entry["method"] == "mca":
            assert all("implied" in entry["notes"][metric] for metric in entry["test"])
