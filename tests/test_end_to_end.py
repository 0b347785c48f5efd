"""The main job through the real command and a real Ray: ingest, sweep, leaderboard, predict, two ranks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.job import CHANGED
from orchestrator.results import read_rows
from orchestrator.storage import Storage


def samsweep(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    command = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main())", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def polyps(kvasir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real polyps, 40 of them, ingested under ``data``."""
    folder = tmp_path_factory.mktemp("e2e")
    for kind in ("images", "masks"):
        (folder / "raw" / kind).mkdir(parents=True)
        for path in sorted((kvasir / kind).iterdir())[:40]:
            shutil.copy(path, folder / "raw" / kind)
    done = samsweep("ingest", "polyps", "--layout", "folders", "--source", "raw", "--out", "data", cwd=folder)
    assert "train 32, test 8 images" in done.stdout
    return folder


def test_sweep_leaderboard_predict(polyps: Path) -> None:
    words = ("sweep", "mca", "polyps", "--trials", "2", "--epochs", "1", "--name", "first", "--json")
    done = samsweep(*words, "--set", "train.batch=8 method.tokens=64", cwd=polyps)
    summary = json.loads(done.stdout)
    assert len(summary["trials"]) == 2 and not summary["stand_in"]
    assert all(t["status"] == "completed" and 0 <= t["test"]["mdice"] <= 1 for t in summary["trials"])
    assert Path(summary["checkpoint"]).is_file() and all(Path(p).is_file() for p in summary["overlays"])

    rows = read_rows(Storage(str(polyps / "results")), "first")
    assert {r["status"] for r in rows} == {"completed"} and rows[0]["packages"]["torch"]
    assert all(r["settings"]["method.tokens"] == 64 and "method.tokens" not in r["choices"] for r in rows)
    assert len({json.dumps(r["choices"]) for r in rows}) == 2, "two trials, two choices"
    left = {p.name for p in (polyps / "results/first/trials").rglob("*") if p.is_file()}
    assert left == {"record.arrow", "best.safetensors"}, "recovery files go when a trial ends"

    shown = samsweep("leaderboard", cwd=polyps).stdout
    assert "polyps" in shown and "mca" in shown and "STAND-IN" not in shown
    (entry,) = json.loads(samsweep("leaderboard", "--json", cwd=polyps).stdout)["results"]
    assert entry["trials"] == 2 and entry["trial"] == summary["best"]

    samsweep("predict", "--run", "first", "--images", "raw/images", "--out", "out", cwd=polyps)
    masks = sorted((polyps / "out/masks").iterdir())
    assert len(masks) == 40 and len(list((polyps / "out/overlays").iterdir())) == 40
    for path in masks[:5]:
        mask = np.asarray(Image.open(path))
        image = Image.open(polyps / "raw/images" / f"{path.stem}.jpg")
        assert mask.shape == (image.height, image.width) and set(np.unique(mask)) <= {0, 255}


def test_two_ranks_see_the_order_of_one(polyps: Path) -> None:
    words = ("decoder", "polyps", "--epochs", "2", "--json", "--set", "train.precision=fp32 train.batch=6")

    def train(*more: str) -> dict[str, Any]:
        done = samsweep("train", *words, *more, cwd=polyps)
        return json.loads(done.stdout)["trials"][0]

    two, one = train("--workers", "2", "--name", "two"), train("--local", "--name", "one")
    (row,) = read_rows(Storage(str(polyps / "results")), "two")
    assert row["workers"] == 2
    assert [e["order"] for e in two["epochs"]] == [e["order"] for e in one["epochs"]]
    for a, b in zip(two["epochs"], one["epochs"], strict=True):
        assert a["losses"] == pytest.approx(b["losses"], rel=1e-3)
        assert a["val"] == pytest.approx(b["val"], abs=5e-3)
    assert two["test"] == pytest.approx(one["test"], rel=1e-2, abs=5e-3)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_replay_is_the_trial_under_ray_and_in_this_process(polyps: Path) -> None:
    words = ("train", "mca", "polyps", "--epochs", "1", "--name", "seen", "--seeds", "1", "--json")
    trained = json.loads(samsweep(*words, "--set", "train.batch=8 method.tokens=64", cwd=polyps).stdout)
    assert trained["seeds"]["n"] == 1 and trained["seeds"]["trials"][0]["trial"] == "single-s01"
    for trial, more in (("seen/single", ()), ("seen/single", ("--local",)), ("seen-seeds/single-s01", ("--local",))):
        told = json.loads(samsweep("replay", trial, "--json", *more, cwd=polyps).stdout)
        assert told["identical"] and told["same_checkpoint"] and told["changed"] == [], (trial, more)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_failed_trials_say_why_and_leave_room_for_the_next(polyps: Path) -> None:
    """Three trials, of which at most two fit at once: a failed one must give its cores back."""
    words = ("sweep", "decoder", "polyps", "--trials", "3", "--epochs", "1", "--name", "bad")
    done = samsweep(*words, "--set", "train.lr=1e30 train.batch=8", cwd=polyps, code=2)
    assert "run 'bad' has no completed trial: NotFinite: the loss is not finite in epoch 1, step 2" in done.stderr
    rows = read_rows(Storage(str(polyps / "results")), "bad")
    assert [r["status"] for r in rows] == ["failed"] * 3 and all("NotFinite" in r["cause"] for r in rows)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_killed_worker_is_restarted_from_its_last_epoch(polyps: Path) -> None:
    words = ["train", "decoder", "polyps", "--workers", "2", "--epochs", "6", "--name", "killed"]
    command = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main())", *words]
    with subprocess.Popen(command, cwd=polyps, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        killed, said = False, []
        for line in process.stderr:
            said.append(line)
            if line.startswith("epoch 2/6") and not killed:
                os.kill(_worker_of(process.pid), signal.SIGKILL)
                killed = True
    assert killed and process.returncode == 0, "".join(said)
    (row,) = read_rows(Storage(str(polyps / "results")), "killed")
    assert [e["epoch"] for e in row["epochs"]] == [1, 2, 3, 4, 5, 6] and row["status"] == "completed"


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_data_ingested_anew_stop_the_sweep(polyps: Path) -> None:
    shutil.copytree(polyps / "data", polyps / "changing")
    words = ["sweep", "decoder", "polyps", "--trials", "9", "--epochs", "90", "--name", "changed"]
    command = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main())", *words]
    trials = polyps / "results/changed/trials"
    with subprocess.Popen(
        [*command, "--data", "changing", "--set", "train.batch=8"], cwd=polyps, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 200
        while not list(trials.glob("*/best.safetensors")):  # until an epoch was trained
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        for path in sorted((polyps / "raw/images").iterdir())[:20]:
            _copy_pair(path, polyps / "fewer")
        samsweep("ingest", "polyps", "--source", "fewer", "--out", "changing", "--replace", cwd=polyps)
        begun = {folder.name for folder in trials.iterdir()}
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ") and f"dataset 'polyps' {CHANGED}" in last and "another NAME" in last
    rows = read_rows(Storage(str(polyps / "results")), "changed")
    found = {r["trial"] for r in rows}
    assert {r["status"] for r in rows} <= {"failed", "stopped"}
    assert begun <= found <= {"000", "001"}, "no other trial began, though one may not have had its folder yet"
    failed = [r for r in rows if r["status"] == "failed"]
    assert failed and all(CHANGED in r["cause"] for r in failed)


def _copy_pair(image: Path, to: Path) -> None:
    for kind in ("images", "masks"):
        (to / kind).mkdir(parents=True, exist_ok=True)
        (mask_or_image,) = (image.parents[1] / kind).glob(f"{image.stem}.*")
        shutil.copy(mask_or_image, to / kind)


def _worker_of(pid: int) -> int:
    """One of the Ray Train workers below a process."""
    table = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in table.splitlines()[1:]]
    below = {pid}
    for _ in rows:
        below |= {int(child) for child, parent, _ in rows if int(parent) in below}
    return next(int(child) for child, _, args in rows if int(child) in below and "RayTrainWorker" in args)
