"""`--dry-run` checks what a run checks and leaves nothing, anywhere; `plan` counts what it costs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_results import epochs
from test_results import plan as plan_for

from orchestrator import runfile, runtime, single
from orchestrator.cli import main
from orchestrator.config import make_settings
from orchestrator.data import catalogue
from orchestrator.data.schema import load_manifest
from orchestrator.data.tasks import TASKS
from orchestrator.plan import with_defaults
from orchestrator.results import make_row, write_row
from orchestrator.space import Space
from orchestrator.storage import Storage


def nothing_starts(*words: Any, **more: Any) -> Any:
    raise AssertionError("a dry run started something")


@pytest.fixture
def here(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data/tiny, in which nothing may start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    shutil.copytree(tiny_data, tmp_path / "data")
    for module, name in ((runtime, "session"), (runtime, "ray_cluster"), (single, "train_here"), (single, "make_row")):
        monkeypatch.setattr(module, name, nothing_starts)
    monkeypatch.setattr("orchestrator.plan.make_stand_in", nothing_starts)
    return tmp_path


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    "words",
    [
        ("sweep", "mca", "tiny"),
        ("sweep", "mca", "cod10k", "--storage", "a/b/results"),  # a stand-in, not drawn
        ("sweep", "decoder,sam", "tiny,istd", "--name", "g"),
        ("train", "decoder", "tiny", "--epochs", "2"),
        ("train", "sam", "kvasir", "--local", "--storage", "memory://dry", "--set", "train.cpus_per_worker=999"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_it_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], as_json: bool
) -> None:
    before = tree(here)
    assert main([*words, "--dry-run", *(["--json"] if as_json else [])]) == 0
    assert tree(here) == before and Storage("memory://dry").names() == []
    said = capsys.readouterr().out
    if as_json:
        told = json.loads(said)
        assert len(told.get("runs", [told])) == (4 if "," in words[1] else 1)
        assert all(run["dry_run"] for run in told.get("runs", [told]))
    else:
        assert "not measured yet" in said and ("memory://dry/" if "--local" in words else f"{here}/") in said


def test_it_tells_what_would_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "decoder", "tiny", "--trials", "5", "--epochs", "3", "--set", "train.lr=1e-3", "--name", "n"]
    assert main([*words, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == "n" and told["results"] == f"{here}/results/n" and told["trials"] == 5
    assert told["changed"] == {"train.lr": 0.001, "train.epochs": 3} and told["settings"]["train.batch"] == 8
    manifest = load_manifest(Storage("data"), "tiny")
    assert manifest and told["fingerprint"] == manifest.fingerprint and not told["stand_in"]
    assert told["images"] == {"train": 9, "val": 3, "test": 4} and told["data_bytes"] == manifest.size()
    assert "method.iou_weight in [0.25, 4.0] log=True" in told["dimensions"]
    assert not any("train.lr" in dimension for dimension in told["dimensions"]), "SET fixes it"
    assert told["first_points"] == [{"train.weight_decay": 0.01, "method.iou_weight": 1.0}]
    assert told["kept_bytes"] > 5e6 and told["hours"] is None
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "train.lr=0.001" in shown and "in [0.25, 4.0]" in shown and "5, each of 3 epochs with 1 worker," in shown


def test_the_drawn_stand_in_is_counted_as_it_will_be(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "mca", "cod10k", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stand_in"] and told["fingerprint"] is None and told["data_bytes"] is None
    assert told["images"] == {"train": 115, "val": 13, "test": 32}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("sweep", "mca", "tin"), "unknown dataset 'tin' (nearest: tiny)"),
        (("sweep", "mca", "camvid"), "no stand-in is drawn"),
        (("train", "decoder", "tiny", "--backbone", "vit_b"), "samsweep weights fetch vit_b"),
        (("sweep", "decoder", "tiny", "--workers", "8", "--set", "train.cpus_per_worker=1000"), "8000 CPU cores"),
        (("train", "decoder", "tiny", "--storage", "file/below"), "cannot be written"),
        (("sweep", "decoder", "tiny", "--name", "a/b"), "NAME=a/b: letters"),
        (("sweep", "decoder", "tiny", "--trials", "0"), "TRIALS=0: at least 1"),
    ],
)
def test_it_refuses_what_a_run_refuses(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    (here / "file").write_text("")
    before = tree(here)
    assert main([*words, "--dry-run"]) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]
    assert tree(here) == before


def begun(storage: Storage, dataset: str, fingerprint: str, task: str) -> None:
    settings = with_defaults(make_settings("decoder", dataset), TASKS[task], {})
    space = Space(settings, {})
    dimensions = space.describe()
    about = runfile.RunFile("decoder", dataset, {}, settings.flat(), "data", fingerprint, "max", dimensions, 4)
    about.save(storage / "n")


def test_an_existing_name_is_compared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = load_manifest(Storage("data"), "tiny")
    assert manifest
    storage = Storage("results")
    begun(storage, "tiny", manifest.fingerprint, "binary")
    plan = plan_for(here, dataset="tiny", name="n", storage=storage)
    write_row(plan.run, make_row(plan, "000", "completed", epochs(0.5), seconds=60.0))
    words = ["sweep", "decoder", "tiny", "--name", "n", "--dry-run"]
    before = tree(here)
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["trials"], told["first_points"]) == (1, 3, []) and told["hours"] > 0
    assert main(["resume", "n", "--dry-run", "--trials", "9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 8
    assert main([*words, "--seed", "3"]) == 2
    assert "that sweep began with train.seed 0, now it is 3" in capsys.readouterr().err
    assert main([*words, "--trials", "2"]) == 2
    assert "has 4 already" in capsys.readouterr().err
    assert main(["train", "decoder", "tiny", "--name", "n", "--dry-run"]) == 2
    assert "that run is there already" in capsys.readouterr().err
    assert tree(here) == before


def test_a_sweep_on_a_stand_in_that_was_removed_can_be_looked_at(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(Storage("results"), "kvasir", "f", "polyp")
    assert main(["sweep", "decoder", "kvasir", "--name", "n", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 4


def test_a_grid_names_the_cells_that_would_fail(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = next((here / "data/tiny").glob("train-*.arrow"))
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    assert main(["sweep", "decoder,sam", "tiny,istd", "--name", "g", "--dry-run", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [cell["dataset"] for cell in told["failed"]] == ["tiny", "tiny"] and shard.name in told["failed"][0]["cause"]
    assert [run["run"] for run in told["runs"]] == ["g-decoder-istd", "g-sam-istd"]


def test_remote_data_are_not_fetched(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remote = Storage("memory://dry-data")
    for file in (here / "data/tiny").iterdir():
        remote.write(f"tiny/{file.name}", file.read_bytes())
    before = tree(here)
    assert main(["train", "decoder", "tiny", "--data", remote.uri, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == {"train": 9, "val": 3, "test": 4}
    assert tree(here) == before, "the cache is empty as it was"


def test_plan_reads_each_manifest_once(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counting(root: Storage, name: str) -> Any:
        read.append(name)
        return load_manifest(root, name)

    monkeypatch.setattr(catalogue, "load_manifest", counting)
    assert main(["plan", "decoder,sam", "tiny,istd", "--json"]) == 0
    assert sorted(read) == ["istd", "tiny"]
    read.clear()
    assert main(["datasets", "--json"]) == 0
    assert sorted(read) == sorted({*catalogue.CATALOGUE, "tiny"})


def test_plan_adds_up(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_for(here, dataset="tiny", storage=Storage("results"))
    write_row(plan.run, make_row(plan, "000", "completed", epochs(0.5), seconds=3.0))
    words = ["plan", "decoder,mca", "tiny", "--epochs", "4", "--trials", "6", "--price", "3600", "--at-once", "4"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    seconds = 0.5 * 9 * 4  # each epoch took 1.5 s for 3 samples, and nothing came besides
    measured, other = told["cells"]
    assert measured["hours"] * 3600 == pytest.approx(seconds * 6)
    assert measured["wall_hours"] * 3600 == pytest.approx(seconds * 2)
    assert other["hours"] is None and other["method"] == "mca" and told["unknown"] == 1
    assert told["money"] == pytest.approx(seconds * 6)
    assert told["kept_bytes"] == sum(cell["kept_bytes"] for cell in told["cells"])
    manifest = load_manifest(Storage("data"), "tiny")
    assert manifest and told["data_bytes"] == manifest.size()
    assert main(words) == 0
    assert "and 1 cells that nothing was measured for" in capsys.readouterr().out
    assert main([*words[:-1], "0"]) == 2 and "--at-once 0: at least 1" in capsys.readouterr().err


def test_a_plan_may_be_for_a_larger_machine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "decoder", "tiny", "--workers", "8", "--set", "train.cpus_per_worker=1000"]
    assert main([*words, "--json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert cell["at_once"] is None and cell["workers"] == 8
