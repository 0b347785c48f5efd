"""A recorded trial run again in this process: the same numbers, or the reason why it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from data_samples import encode, ground, picture
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator import single
from orchestrator.again import plan_again, recorded
from orchestrator.cli import main
from orchestrator.data.schema import Row as Pair
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.plan import make_plan
from orchestrator.replay import Number, compare, errand_of, replay_name
from orchestrator.results import FILE, TRIALS, from_record, read_row, write_row
from orchestrator.storage import Storage

Run = Callable[..., int]


@pytest.fixture
def run(tiny_data: Path, tmp_path: Path) -> Run:
    """The real command on ``tiny``, a copy of it that the test may change."""
    shutil.copytree(tiny_data, tmp_path / "data")

    def call(verb: str, *words: str) -> int:
        place = ["--storage", str(tmp_path)] + ["--data", str(tmp_path / "data")] * (verb == "train")
        return main([verb, *words, "--local", *place])

    return call


def train(run: Run, name: str, options: str = "", epochs: int = 2, method: str = "decoder") -> None:
    changes = f"train.batch=4 train.precision=fp32 train.lr=1e-3 {options}"
    assert run("train", method, "tiny", "--name", name, "--epochs", str(epochs), "--set", changes) == 0


def replayed(capsys: pytest.CaptureFixture[str], run: Run, trial: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run("replay", trial, "--json") == code
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def fails(capsys: pytest.CaptureFixture[str], run: Run, *words: str) -> str:
    capsys.readouterr()
    assert run("replay", *words) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "options",
    ["", pytest.param("train.cpus_per_worker=2 train.optimizer=muon data.threads=1", marks=pytest.mark.slow)],
)
def test_a_replay_agrees_to_the_last_digit(
    options: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(run, "first", options)
    told = replayed(capsys, run, "first/single")
    assert told["identical"] and told["same_checkpoint"] and told["largest_difference"] is None
    assert told["run"] == "first-single-replay" and told["changed"] == []
    assert {n["place"] for n in told["numbers"]} == {"epoch 1", "epoch 2", "test"} and len(told["numbers"]) > 10
    row = read_row(Storage(str(tmp_path)), "first-single-replay", "single")
    assert row is not None and (row["role"], row["of"]) == ("replay", "first/single")
    assert row["command"].startswith("samsweep replay first/single --json --local")
    assert replayed(capsys, run, "first")["run"] == "first-single-replay-2", "RUN: its best trial"
    main(["leaderboard", "--json", "--storage", str(tmp_path)])
    (entry,) = json.loads(capsys.readouterr().out)["results"]
    assert (entry["run"], entry["trials"]) == ("first", 1), "a replay is no trial of a search"


def test_a_number_that_differs_is_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one in the last digit alone."""
    train(run, "first")
    storage = Storage(str(tmp_path))
    record = read_row(storage, "first", "single")
    assert record is not None
    row = from_record(record)
    value = row.epochs[0]["losses"]["bce"]
    row.epochs[0]["losses"]["bce"] = torch.nextafter(torch.tensor(value, dtype=torch.float64), torch.tensor(9.0)).item()
    assert row.epochs[0]["losses"]["bce"] != value
    write_row(storage / "first", row)
    told = replayed(capsys, run, "first/single", code=1)
    assert not told["identical"] and told["same_checkpoint"]
    assert (told["largest_difference"]["place"], told["largest_difference"]["name"]) == ("epoch 1", "loss bce")
    assert 0 < told["largest_difference"]["apart"] < 1e-15
    assert run("replay", "first/single") == 1
    shown = capsys.readouterr().out
    assert f"different: epoch 1, loss bce is {value}, was" in shown and "identical" not in shown


def test_the_thread_count_is_the_ranks_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever this process computes with, before and after."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        train(run, "first")
        assert torch.get_num_threads() == 3
        row = read_row(Storage(str(tmp_path)), "first", "single")
        assert row is not None and row["hardware"]["threads"] == 1
    finally:
        torch.set_num_threads(before)
    assert replayed(capsys, run, "first/single")["identical"]


def test_a_pruned_trial_is_replayed_for_the_epochs_that_it_had(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its learning rate still falls towards all of ``train.epochs``."""
    storage, changes = Storage(str(tmp_path)), {"train.epochs": 6, "train.batch": 4, "train.precision": "fp32"}
    plan = make_plan("decoder", "tiny", changes, Storage(str(tmp_path / "data")), storage, "cut")
    row = single.train_here(plan, Console(quiet=True), errand=single.Errand(trial="004", until=2))
    assert (row.status, len(row.epochs), row.test) == ("pruned", 2, {})
    told = replayed(capsys, run, "cut/004")
    assert told["identical"] and {n["place"] for n in told["numbers"]} == {"epoch 1", "epoch 2"}
    again = read_row(storage, told["run"], "single")
    assert again is not None and again["status"] == "pruned" and again["settings"]["train.epochs"] == 6
    whole = single.train_here(
        make_plan("decoder", "tiny", changes, Storage(str(tmp_path / "data")), storage, "whole"), Console(quiet=True)
    )
    assert [e["lr"] for e in whole.epochs[:2]] == [e["lr"] for e in again["epochs"]]
    assert [e["losses"] for e in whole.epochs[:2]] == [e["losses"] for e in again["epochs"]]


def test_other_data_are_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(run, "first")
    shutil.copytree(tmp_path / "data", tmp_path / "kept")
    with DatasetWriter(Storage(str(tmp_path / "data")), "tiny", replace=True) as writer:
        for split in ("train", "test"):
            writer.add(split, Pair(split, "", encode(picture()), encode(ground()), 24, 32, 127, "a.png"))
        writer.commit(task="polyp", layout="folders", split_rule="as told")
    said = fails(capsys, run, "first/single")
    assert "dataset 'tiny' has fingerprint" in said and "trial 'first/single' was trained on" in said
    shutil.rmtree(tmp_path / "data")
    assert "has no dataset 'tiny'" in fails(capsys, run, "first/single")
    assert not (tmp_path / "first-single-replay").exists(), "a refused command leaves nothing"
    assert (
        main(["replay", "first/single", "--local", "--storage", str(tmp_path), "--data", str(tmp_path / "kept")]) == 0
    )


def test_mistakes_are_one_line(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(run, "first", epochs=1)
    assert "unknown run 'firts' (nearest: first)" in fails(capsys, run, "firts/single")
    assert "(nearest: single)" in fails(capsys, run, "first/singel")
    (tmp_path / "first" / TRIALS / "begun").mkdir()
    assert "has no record yet" in fails(capsys, run, "first/begun")
    storage = Storage(str(tmp_path))
    record = read_row(storage, "first", "single")
    assert record is not None
    with pytest.raises(UserError, match=r"has no finished epoch .*failed: NotFinite"):
        errand_of({**record, "epochs": [], "status": "failed", "cause": "NotFinite: a loss"})
    with pytest.raises(UserError, match="too old to say where its data lie; give --data"):
        plan_again(storage, {**record, "data": None}, "x")
    with pytest.raises(UserError, match="began from other weights of vit_t"):
        plan_again(storage, {**record, "backbone_fingerprint": "0" * 16}, "x")
    write_row(storage / "first", from_record({**record, "workers": 2}))
    settings = {**record["settings"], "train.workers": 2}
    write_row(storage / "first", from_record({**record, "settings": settings}))
    assert "WORKERS=2: --local has one rank" in fails(capsys, run, "first/single")
    (tmp_path / "first" / TRIALS / "single" / FILE).write_bytes(b"garbage")
    assert "damaged result" in fails(capsys, run, "first/single")


def test_names_are_numbered(tmp_path: Path) -> None:
    storage, row = Storage(str(tmp_path)), {"run": "a", "trial": "001"}
    for wanted in ("a-001-replay", "a-001-replay-2", "a-001-replay-3"):
        assert replay_name(storage, row) == wanted
        (tmp_path / wanted).mkdir()


def test_a_stand_in_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("orchestrator.plan.STAND_IN_TRAIN", 9)
    monkeypatch.setattr("orchestrator.plan.STAND_IN_TEST", 2)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "sam", "kvasir", "--local", "--name", "drawn"]) == 0
    assert main(["replay", "drawn/single", "--local"]) == 0
    assert main(["replay", "drawn/single", "--local", "--data", "data"]) == 0
    assert "identical to the last digit" in capsys.readouterr().out
    record = recorded(Storage("results"), "drawn")
    assert record["stand_in"] and record["data"].endswith("data/stand-in")


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.none()


@given(NUMBERS, NUMBERS)
def test_a_number_is_the_same_or_apart(was: float | None, now: float | None) -> None:
    number = Number("epoch 1", "lr", was, now)
    assert number.same == (number.apart == 0)
    assert number.same == (repr(was) == repr(now) or (was, now) in ((0.0, -0.0), (-0.0, 0.0)))
    assert number.apart >= 0 and number.apart == Number("epoch 1", "lr", now, was).apart


def test_missing_epochs_and_metrics_differ() -> None:
    epoch = {"epoch": 1, "lr": 0.1, "losses": {"bce": 1.0}, "val": {"mae": 0.5}, "order": "x"}
    row: dict[str, Any] = {"epochs": [epoch], "test": {"mae": 0.5}, "checkpoint_sha256": None}
    assert compare(row, row).same and compare(row, row).same_checkpoint is None
    assert not compare(row, {**row, "test": {}}).same
    assert not compare(row, {**row, "epochs": []}).same
    other = {**row, "epochs": [{**epoch, "order": "y"}]}
    assert not compare(row, other).same and compare(row, other).largest is None
