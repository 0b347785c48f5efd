"""A sweep that is killed again and again, or interrupted, ends as an undisturbed one does."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from killing import Driver, still_writing
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.cli import main
from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

KILLS = int(os.environ.get("SAMSWEEP_KILLS", "10"))
SEED = int(os.environ.get("SAMSWEEP_KILL_SEED", "0"))
EPOCHS = 3


class Sweep:
    """One sweep under ``cwd/results``."""

    def __init__(self, name: str, data: Path, cwd: Path) -> None:
        self.name, self.data, self.cwd = name, data, cwd
        self.run = Storage(str(cwd / "results")) / name
        self.driver: Driver | None = None

    def start(self, trials: int) -> Driver:
        words = ["sweep", "decoder", "tiny", "--data", str(self.data), "--name", self.name, "--trials", str(trials)]
        words += ["--epochs", str(EPOCHS), "--set", "train.batch=4 train.precision=fp32"]
        return self._drive(words)

    def resume(self, *more: str) -> Driver:
        return self._drive(["resume", self.name, *more])

    def _drive(self, words: list[str]) -> Driver:
        self.driver = Driver(words, self.cwd)
        return self.driver

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["trial"]: row for row in read_rows(self.run.parent, self.name)}

    def study(self) -> dict[str, optuna.trial.FrozenTrial]:
        storage = JournalStorage(JournalFileBackend(str(self.run.local("study.journal"))))
        study = optuna.load_study(study_name=f"decoder/tiny/vit_t/{self.name}", storage=storage)
        return {f"{trial.number:03d}": trial for trial in study.trials}

    def check_whole(self, trials: int) -> None:
        """Every trial is over, once, without a gap; rows and study say the same; no checkpoint is left."""
        rows, study = self.rows(), self.study()
        assert sorted(rows) == sorted(study) == [f"{number:03d}" for number in range(trials)]
        states = {"completed": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
        for name, row in rows.items():
            assert study[name].state.name == states[row["status"]], (name, row["status"], row["cause"])
            assert row["status"] != "failed" or row["cause"]
            seen = [epoch["epoch"] for epoch in row["epochs"]]
            assert seen == list(range(1, len(seen) + 1)) and (len(seen) == EPOCHS or row["status"] != "completed")
            assert row["status"] == "failed" or sorted(study[name].intermediate_values) == seen
        assert rows["000"]["status"] in ("completed", "failed"), "the defaults are never cut"
        assert not list(self.run.local("trials").glob("*/state.pt")) and not self.run.exists("slots")
        assert not self.run.exists("alive.json")


@pytest.fixture
def sweeps(tiny_data: Path, tmp_path: Path) -> Iterator[Any]:
    """Makes sweeps; none of their processes outlives the test."""
    made: list[Sweep] = []

    def make(name: str) -> Sweep:
        made.append(Sweep(name, tiny_data, tmp_path))
        return made[-1]

    yield make
    for sweep in made:
        if sweep.driver:
            sweep.driver.end()


@pytest.mark.kills
@pytest.mark.timeout(400 + 90 * KILLS)
def test_kills_at_random_moments_change_nothing(sweeps: Any) -> None:
    draw, trials, sweep = random.Random(SEED), 4, sweeps("killed")
    kinds = [["driver", "worker", "raylet", "session"][number % 4] for number in range(KILLS)]
    draw.shuffle(kinds)
    former: list[int] = []
    began, log = time.monotonic(), []
    while True:
        driver = sweep.start(trials)
        while kinds and not driver.wait(draw.uniform(3, 25)):
            writers, started = driver.writers(), "dashboard: " in driver.said
            if not driver.kill(kinds[0], draw):
                continue  # none such yet
            log.append(f"{time.monotonic() - began:.0f}s {kinds[0]}")
            if (kind := kinds.pop(0)) == "worker":
                continue  # the sweep goes on by itself
            former += writers
            if kind == "raylet":
                assert driver.wait(60), "hangs without its raylet"
                assert "Traceback" not in driver.said, driver.said
                last = driver.said.strip().splitlines()[-1]
                # while Ray starts, its own code may end the process without a word, Python's lock in its hand
                assert not started or driver.process.returncode == 2, driver.said
                assert not started or last.endswith("; go on with: samsweep resume killed"), driver.said
            break
        else:
            assert driver.wait(300), driver.said
            assert driver.process.returncode == 0, driver.said
            if not kinds:
                break
            trials += 2  # it was faster than the kills; more trials under the same name
    print(f"{time.monotonic() - began:.0f} s, {trials} trials, kills at {', '.join(log)}")
    assert still_writing(former) == []
    sweep.check_whole(trials)

    calm = sweeps("calm")
    assert calm.start(trials).wait(300) and calm.driver.process.returncode == 0, calm.driver.said
    calm.check_whole(trials)
    one, other = sweep.rows(), calm.rows()
    same = [name for name in one if one[name]["choices"] == other[name]["choices"]]
    assert {"000", "001"} <= set(same)
    for name in same:
        for ours, theirs in zip(one[name]["epochs"], other[name]["epochs"], strict=False):
            assert ours["order"] == theirs["order"] and ours["losses"] == pytest.approx(theirs["losses"], rel=1e-3)


def test_an_interrupted_sweep_keeps_its_checkpoints_and_is_finished_later(
    sweeps: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweeps("cut")
    driver = sweep.start(2)
    end = time.monotonic() + 120
    while not list(sweep.run.local("trials").glob("*/state.pt")):
        assert driver.runs and time.monotonic() < end, driver.said
        time.sleep(0.1)
    time.sleep(1)
    driver.process.send_signal(signal.SIGINT)
    assert driver.wait(90) and driver.process.returncode == 130, driver.said
    assert "go on with: samsweep resume cut" in driver.said and "Traceback" not in driver.said
    before = sweep.rows()
    cut = [name for name, row in before.items() if row["status"] == "stopped"]
    assert cut and all(sweep.run.exists(f"trials/{name}/state.pt") for name in cut)
    assert all(sweep.study()[name].state.name == "RUNNING" for name in cut)
    assert main(["status", "cut", "--storage", sweep.run.parent.uri, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [trial["trial"] for trial in told["begun"]] == cut and not told["driven"]

    assert sweep.resume("--trials", "3").wait(200) and sweep.driver.process.returncode == 0, sweep.driver.said
    sweep.check_whole(3)
    for name, row in before.items():
        now = sweep.rows()[name]["epochs"]
        told_twice = [epoch for epoch in row["epochs"] if epoch in now]
        assert told_twice == row["epochs"], "taken over to the second, not trained again"
