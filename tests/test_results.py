"""Rows of trials and the leaderboard made of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.config import make_settings
from orchestrator.data.tasks import OBJECTS, TASKS
from orchestrator.errors import UserError
from orchestrator.leaderboard import ALIKE, leaderboard, published_for, render, seeds_table, trials_table
from orchestrator.noise import spread, within_noise
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
    assert (row["role"], row["of"], row["continued"]) == ("search", None, 0) and row["data"] == str(tmp_path)
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


def test_where_it_was_trained_its_epochs_tell(tmp_path: Path) -> None:
    """Of a trial that was gone on with, those who did it last."""
    record = [dict(e) for e in epochs(0.7, {"mae": 0.25})]
    origin = {"code_version": "9", "commit": "c", "diff": None, "packages": {"torch": "1"}, "host": "far"}
    origin |= {"hardware": {"cpu": "old", "threads": 4}, "backbone_fingerprint": "f00d"}
    record[0] |= {"origin": origin, "checkpoint": "sum of the best"}
    record[1] |= {"origin": {**origin, "host": "farther", "hardware": {"cpu": "new"}}}
    p = plan(tmp_path, command="samsweep train decoder cod10k")
    write_row(p.run, make_row(p, "000", "completed", record, seconds=9.0, role="seed", of="a/b"))
    (row,) = read_rows(Storage(str(tmp_path)))
    assert (row["host"], row["hardware"], row["continued"]) == ("farther", {"cpu": "new"}, 1)
    assert (row["commit"], row["code_version"], row["packages"]) == ("c", "9", {"torch": "1"})
    assert (row["backbone_fingerprint"], row["checkpoint_sha256"]) == ("f00d", "sum of the best")
    assert (row["command"], row["role"], row["of"]) == ("samsweep train decoder cod10k", "seed", "a/b")


def test_a_row_of_before_is_read_with_nulls(tmp_path: Path) -> None:
    p = plan(tmp_path)
    write(p, "t1", 0.7, 0.6)
    path = p.run.local(f"{TRIALS}/t1/{FILE}")
    table = pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()
    added = table.schema.names[table.schema.names.index("role") :]
    old = table.drop_columns(added)
    with pa.ipc.new_file(str(path), old.schema) as writer:
        writer.write_table(old)
    (row,) = read_rows(Storage(str(tmp_path)))
    assert row["role"] == "search" and all(row[name] is None for name in added if name != "role") and len(added) > 8
    (entry,) = leaderboard([row])
    assert entry["trial"] == "t1" and from_record(row).best == 0.7


def test_no_secret_reaches_a_row(tmp_path: Path) -> None:
    p = plan(tmp_path)
    cause = "Could not connect to http://me:hunter22@gateway:7480"
    write_row(p.run, make_row(p, "t", "failed", [], seconds=1.0, cause=cause))
    assert b"hunter22" not in p.run.read(f"{TRIALS}/t/{FILE}") and b"gateway:7480" in p.run.read(f"{TRIALS}/t/{FILE}")


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


def test_objects_and_whole_images_have_tables_of_their_own(tmp_path: Path) -> None:
    changes = {"by_box": {"prompts.judged_by": "box", "prompts.at_most": 0}, "by_point": {}, "more": {"train.lr": 1e-3}}
    for name, change in changes.items():
        p = plan(tmp_path, "decoder", task=OBJECTS, name=name)
        p = dataclasses.replace(p, settings=make_settings("decoder", "cod10k", change))
        write_row(p.run, make_row(p, "t", "completed", epochs(0.9, {"object_miou": 0.9}), seconds=1.0))
    write(plan(tmp_path), "whole", 0.5, 0.5)
    entries = leaderboard(read_rows(Storage(str(tmp_path))))
    assert {(e["run"], e["judged"]) for e in entries} == {
        ("run-decoder", ""),
        ("by_box", "prompted by a box that is off by 0.1, 20 times, all objects"),
        ("by_point", "prompted by a point, 20 times, 16 objects an image"),
    }, "what a trial is trained with makes no table of its own"
    tables = render(entries)
    assert [str(table.title).split(",")[0] for table in tables] == ["cod10k"] * 3
    sources = [list(table.columns[-1].cells) for table in tables]
    assert len(sources[0]) > 1 and sources[1:] == [["by_box/t"], ["by_point/t"]], "published numbers by their metrics"


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


def with_seeds(root: Path, method: str, tests: list[float], best: float = 0.5) -> list[dict[str, Any]]:
    """The rows of a search's trial and of its seeds, as they are read."""
    p = plan(root, method)
    rows = [make_row(p, "000", "completed", epochs(best, {"s_measure": 0.9}), seconds=1.0)]
    for seed, test in enumerate(tests, 1):
        one = dataclasses.replace(p, settings=p.settings.replace({"train.seed": seed}), name=f"{p.name}-seeds")
        record = epochs(0.9, {"s_measure": test})
        rows.append(make_row(one, f"000-s{seed:02d}", "completed", record, seconds=1.0, role="seed", of="x/000"))
    columns = [row.to_table().to_pylist()[0] for row in rows]
    for column in columns:
        column |= {"test": dict(column["test"]), "settings": json.loads(column["settings"])}
    return columns


TESTS = st.lists(st.floats(0, 1), max_size=5)


@settings(max_examples=60, deadline=None)
@given(TESTS, TESTS)
def test_the_mark_is_welchs_word_on_the_best_entry(ours: list[float], theirs: list[float]) -> None:
    root = Path("/nowhere")
    entries = leaderboard(with_seeds(root, "decoder", ours) + with_seeds(root, "mca", theirs))
    assert len(entries) == 2 and entries[0]["within_noise"] is None, "the best is held against nobody"
    values = [e["mean"]["s_measure"] if e["n"] else e["test"]["s_measure"] for e in entries]
    assert values[0] >= values[1]
    if min(len(ours), len(theirs)) < 2:
        assert entries[1]["within_noise"] is None, "of one seed nothing can be said"
    else:
        assert entries[1]["within_noise"] == within_noise(spread(ours), spread(theirs))
    for entry, tests in ((e, ours if e["method"] == "decoder" else theirs) for e in entries):
        assert entry["n"] == len(tests) and entry["trials"] == 1
        assert entry["std"].get("s_measure") == (spread(tests).std if len(tests) > 1 else None)


def test_mean_spread_and_mark_are_shown(tmp_path: Path) -> None:
    near = [0.60, 0.62, 0.64]
    rows = with_seeds(tmp_path, "decoder", near) + with_seeds(tmp_path, "mca", [x - 0.005 for x in near])
    rows += with_seeds(tmp_path, "sam_adapter", [0.10, 0.11]) + with_seeds(tmp_path, "sam", [])
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for table in render(leaderboard(rows)):
        console.print(table)
    shown = console.export_text()
    assert f"0.615 ± 0.020 {ALIKE}" not in shown, "the best has one number alone: nothing can be said"
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for table in render(leaderboard([row for row in rows if row["method"] != "sam"])):
        console.print(table)
    shown = console.export_text()
    assert "0.620 ± 0.020" in shown and f"0.615 ± 0.020 {ALIKE}" in shown and "1 + 3 seeds" in shown
    assert shown.count(ALIKE) == 2 and "Welch's t-test, 5%" in shown, "the mark and what it means"


def test_seeds_of_other_settings_and_replays_count_nowhere(tmp_path: Path) -> None:
    rows = with_seeds(tmp_path, "decoder", [0.1, 0.2])
    rows[1]["settings"]["train.lr"] = 0.7
    rows.append({**rows[0], "role": "replay", "run": "a-first-name", "best": 0.99})
    (entry,) = leaderboard(rows)
    assert (entry["n"], entry["mean"]["s_measure"], entry["run"]) == (1, 0.2, "run-decoder")
    assert leaderboard(rows[1:]) == [], "seeds alone are no entry"


def test_the_table_of_seeds(tmp_path: Path) -> None:
    p = plan(tmp_path)
    rows = [
        make_row(p, f"s{i}", "completed", epochs(0.5, {"s_measure": v}), seconds=1.0) for i, v in ((1, 0.2), (2, 0.4))
    ]
    rows.append(make_row(p, "s3", "failed", [], seconds=1.0, cause="NotFinite"))
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(seeds_table(rows, "run/000", "s_measure", p.task.metrics))
    shown = console.export_text()
    assert "seeds of run/000" in shown and "0.300 ± 0.141" in shown and "failed" in shown
