"""The best settings with more seeds: what is run, what is not run again, and what the leaderboard makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator import single
from orchestrator.cli import main
from orchestrator.errors import UserError
from orchestrator.job import CHANGED
from orchestrator.plan import Plan
from orchestrator.results import FILE, TRIALS, Row, from_record, make_row, read_row, read_rows, write_row
from orchestrator.seeds import has_seeds, plan_seeds, run_seeds
from orchestrator.single import Errand
from orchestrator.storage import Storage


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A STORAGE with one epoch of the decoder on ``tiny``: the run ``first``."""
    folder = tmp_path_factory.mktemp("results")
    options = "train.batch=4 train.precision=fp32 train.lr=1e-3"
    words = ["train", "decoder", "tiny", "--local", "--name", "first", "--epochs", "1", "--seed", "3"]
    assert main([*words, "--set", options, "--data", str(tiny_data), "--storage", str(folder)]) == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a copy of it as ``results``."""
    shutil.copytree(trained, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class FakeTraining:
    """Writes a row at once; fails or is interrupted where it is told to."""

    def __init__(self, **ends: BaseException) -> None:
        self.ends, self.seen = ends, list[tuple[str, int]]()

    def __call__(self, plan: Plan, errand: Errand) -> Row:
        seed = plan.settings.train.seed
        self.seen.append((errand.trial, seed))
        end = self.ends.get(f"s{seed}")
        status = "completed" if end is None else "failed" if isinstance(end, UserError) else "stopped"
        best, test = 0.5 + seed / 100, {"mdice": 0.5 + seed / 100, "miou": 0.4}
        epoch = {"epoch": 1, "lr": 0.1, "losses": {}, "val": {}, "samples": 1, "order": "x", "seconds": 1.0}
        epoch |= {"eval_seconds": 1.0, "peak_memory_mb": 1.0, "best": best, "best_epoch": 1, "chosen_on": "val"}
        epoch |= {"trained_parameters": 1, "objective": best, "test": test}
        row = make_row(
            plan, errand.trial, status, [epoch], seconds=1.0, cause=str(end or ""), role=errand.role, of=errand.of
        )
        write_row(plan.run, row)
        if end is not None:
            raise end
        return row


def test_seeds_are_trained_with_the_settings_of_the_best(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["seeds", "first", "--seeds", "2", "--local", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(t["trial"], t["seed"]) for t in told["trials"]] == [("single-s04", 4), ("single-s05", 5)]
    assert told["n"] == 2 and told["of"] == "first/single" and told["run"] == "first-seeds"
    first = read_row(Storage("results"), "first", "single")
    rows = read_rows(Storage("results"), "first-seeds")
    assert first is not None and all((r["role"], r["of"]) == ("seed", "first/single") for r in rows)
    for row in rows:
        other = {key for key, value in row["settings"].items() if first["settings"][key] != value}
        assert other == {"train.seed"}
    assert len({r["epochs"][0]["losses"]["bce"] for r in (first, *rows)}) == 3, "another seed is another training"

    written = {r["trial"]: r["finished"] for r in rows}
    assert main(["seeds", "first", "--seeds", "3", "--local"]) == 0
    said = capsys.readouterr()
    assert "single-s06" in said.err and "single-s04" not in said.err, "what is there is not run again"
    again = {r["trial"]: r["finished"] for r in read_rows(Storage("results"), "first-seeds")}
    assert sorted(again) == ["single-s04", "single-s05", "single-s06"]
    assert {trial: again[trial] for trial in written} == written

    assert main(["leaderboard", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["results"]
    tests = [r["test"]["mdice"] for r in read_rows(Storage("results"), "first-seeds")]
    assert entry["n"] == 3 and entry["mean"]["mdice"] == pytest.approx(sum(tests) / 3)
    assert entry["std"]["mdice"] is not None and (entry["trial"], entry["trials"]) == ("single", 1)
    assert main(["leaderboard"]) == 0
    assert "±" in (shown := capsys.readouterr().out) and "1 + 3 seeds" in shown


def test_train_runs_seeds_afterwards(here: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "sam", "tiny", "--local", "--name", "zero", "--seeds", "2", "--json"]
    capsys.readouterr()
    assert main([*words, "--data", str(tiny_data)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seeds"]["n"] == 2 and told["seeds"]["std"]["mdice"] == 0, "nothing is trained: no spread"
    assert told["seeds"]["run"] == "zero-seeds"
    assert not (here / "results/zero-seeds/alive.json").exists(), "nobody drives it any more"
    assert has_seeds(Storage("results"), "nothing completed", 2), "a cell of a grid whose trials all failed"
    assert has_seeds(Storage("results"), "zero", 2) and not has_seeds(Storage("results"), "zero", 3)
    row = read_row(Storage("results"), "zero-seeds", "single-s01")
    assert row is not None and row["command"].startswith("samsweep train sam tiny --local --name zero --seeds 2 --json")


def test_an_interrupt_leaves_what_is_over_and_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = FakeTraining(s5=KeyboardInterrupt())
    monkeypatch.setattr(single, "train_here", lambda plan, screen, keep, errand: training(plan, errand))
    assert main(["seeds", "first", "--seeds", "3", "--local"]) == 130
    said = capsys.readouterr()
    assert "go on with: samsweep seeds first --seeds 3" in said.err
    assert "single-s04" in said.out and "single-s05" not in said.out
    training.ends = {}
    assert main(["seeds", "first", "--seeds", "3", "--local"]) == 0
    assert [trial for trial, _ in training.seen] == ["single-s04", "single-s05", "single-s05", "single-s06"]


def test_a_seed_that_fails_leaves_the_others_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = FakeTraining(s5=UserError("run 'first-seeds' failed: NotFinite: the loss"))
    monkeypatch.setattr(single, "train_here", lambda plan, screen, keep, errand: training(plan, errand))
    assert main(["seeds", "first", "--seeds", "3", "--local"]) == 1
    said = capsys.readouterr()
    assert "single-s05 failed" in said.err and "failed" in said.out and "single-s06" in said.out
    main(["leaderboard", "--json"])
    (entry,) = json.loads(capsys.readouterr().out)["results"]
    assert (entry["n"], entry["seeds_failed"]) == (2, 1)


def test_data_that_changed_end_it(here: Path) -> None:
    wanted = plan_seeds(Storage("results"), "first", 3)
    training = FakeTraining(s4=UserError(f"run failed: dataset 'tiny' {CHANGED}"))
    with pytest.raises(UserError, match=CHANGED):
        run_seeds(wanted, training, lambda text: None)
    assert len(training.seen) == 1


def test_seeds_of_a_run_that_was_made_anew_are_refused(here: Path) -> None:
    storage = Storage("results")
    run_seeds(plan_seeds(storage, "first", 2), FakeTraining(), lambda text: None)
    record = read_row(storage, "first", "single")
    assert record is not None
    write_row(storage / "first", from_record({**record, "settings": {**record["settings"], "train.lr": 0.5}}))
    with pytest.raises(
        UserError, match=r"'single-s04' has other settings or data than 'first/single'; remove that run"
    ):
        plan_seeds(storage, "first", 2).rows()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("seeds", "frist"), "unknown run 'frist' (nearest: first"),
        (("seeds", "first", "--seeds", "0"), "SEEDS=0: a whole number, at least 1"),
        (("seeds", "first", "--seeds", "-2"), "--seeds"),
        (("seeds", "first", "--data", "nowhere"), "has no dataset 'tiny'"),
        (("train", "decoder", "tiny", "--seeds", "x"), "SEEDS=x: a whole number, at least 1"),
        (("seeds", "first-seeds"), "it holds seeds or a replay; name a sweep or a training"),
        (("seeds", "cut"), "none has completed; name a sweep or a training"),
    ],
)
def test_mistakes_are_one_line(
    here: Path, words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage("results")
    run_seeds(plan_seeds(storage, "first", 1), FakeTraining(), lambda text: None)
    record: dict[str, Any] | None = read_row(storage, "first", "single")
    assert record is not None
    write_row(storage / "cut", from_record({**record, "run": "cut", "status": "pruned"}))
    assert (Path("results/cut") / TRIALS / "single" / FILE).exists()
    capsys.readouterr()
    assert main(list(words)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and says in error, error
