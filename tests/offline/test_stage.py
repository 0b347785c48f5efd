"""SAM's masks of every window, computed once: killed, shared, found again, and only as far as they are needed."""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from killing import Driver
from panoramas import save_assistant, write_panoramas

from methods.goodsam import fusion
from orchestrator.config import Settings, make_settings
from orchestrator.data.reader import open_dataset
from orchestrator.offline.prepare import open_stages, prepare
from orchestrator.offline.stage import ROOT, Shelf, Stage
from orchestrator.storage import Storage

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_assistant(tmp_path_factory.mktemp("assistant"))


@pytest.fixture
def data(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "data"))
    write_panoramas(storage)
    return storage


def settings_of(assistant: Path, **options: object) -> Settings:
    small = {"student": "t", "assistant": "t", "assistant_weights": str(assistant), "points": 2}
    small |= {"predicted_iou": 0.0, "stability": 0.0}
    return make_settings("goodsam", "densepass", {f"method.{k}": v for k, v in {**small, **options}.items()})


def stage(data: Storage, settings: Settings) -> Stage:
    return open_stages(settings, data)[0]


def shards(data: Storage) -> dict[str, bytes]:
    """All that counts of what is stored, by name."""
    root = data.local(ROOT)
    return {p.name: p.read_bytes() for p in root.rglob("*") if p.suffix in (".arrow", ".json")}


def test_it_lies_beside_the_data_and_is_computed_once(data: Storage, assistant: Path, tmp_path: Path) -> None:
    settings, told = settings_of(assistant), []
    prepare(settings, data, Storage(str(tmp_path)), lambda what, done, of: told.append((done, of)))
    assert told[-1] == (24, 24) and stage(data, settings).missing() == 0
    assert len(list(data.local(ROOT).iterdir())) == 1
    again: list[object] = []
    prepare(settings, data, Storage(str(tmp_path)), lambda *words: again.append(words))
    assert not again, "nothing is left to do"
    with patch("methods.goodsam.automatic_masks", side_effect=AssertionError("SAM runs a second time")):
        stage(data, settings_of(assistant, theta=0.9, w_bd=0.5)).fill(CPU, 1)
    other = stage(data, settings_of(assistant, stride=1.0))
    assert other.missing() == 24, "other windows, another entry"


def test_what_is_read_is_what_the_method_makes(data: Storage, assistant: Path) -> None:
    one = stage(data, settings_of(assistant))
    parts = one.of("test").fill(CPU, 1)
    image = torch.from_numpy(open_dataset(data, "densepass").split("test").read(3).image).permute(2, 0, 1)
    made, stored = one.offline.make(image), parts.tensors("test", 3)
    assert made.keys() == stored.keys() == {"instances", "edges"}
    assert all(torch.equal(made[name], stored[name]) for name in made)
    assert (stored["instances"] != fusion.NO_INSTANCE).any()


def test_a_split_is_filled_when_it_is_asked_for(data: Storage, assistant: Path) -> None:
    one = stage(data, settings_of(assistant))
    told: list[tuple[int, int]] = []
    shelf = Shelf({"": one, "reference_": one}, CPU, 1, lambda: lambda done, of: told.append((done, of)))
    assert shelf.reader("train", training=True)(3).keys() == {"instances", "edges"}
    assert one.missing() == 4, "the test images of a trial that is pruned are never looked at"
    before = len(told)
    found = shelf.reader("train", training=False)(3)
    assert len(told) == before, "what is filled is not looked at again"
    assert torch.equal(found["instances"], found["reference_instances"])
    shelf.reader("test", training=False)
    assert one.missing() == 0 and told[-1] == (4, 4)


def test_what_trials_are_chosen_by_is_the_same_for_all_windows(data: Storage, assistant: Path) -> None:
    first, *rest = open_stages(settings_of(assistant), data)
    assert not rest, "the default windows are the reference's"
    other = open_stages(settings_of(assistant, window=0.75), data)
    plus = open_stages(settings_of(assistant, variant="plusplus"), data)
    assert [stage.key for stage in (other[1], plus[1])] == [first.key] * 2
    assert (
        len(plus[0].parts.forms["instances"].shape) == 3
        and plus[0].key == open_stages(settings_of(assistant, variant="plusplus", window=0.75), data)[0].key
    )


def test_a_killed_stage_goes_on_and_gives_identical_rows(data: Storage, assistant: Path, tmp_path: Path) -> None:
    settings = settings_of(assistant)
    stage(data, settings).fill(CPU, 1)
    whole = shards(data)
    other = tmp_path / "other"
    write_panoramas(Storage(str(other / "data")))
    given = {k: v for k, v in settings.flat().items() if k.startswith("method.") and v is not None}
    words = ["prepare", "goodsam", "densepass", "--local", "--data", str(other / "data"), "--storage", str(other / "r")]
    words += ["--set", " ".join(f"{k}={v}" for k, v in given.items())]
    for kill in (True, False):
        driver = Driver(words, other)
        until = time.monotonic() + 120
        while kill and driver.runs and time.monotonic() < until:
            if any(other.rglob("*-edges-*.json")):  # both parts of a shard are there
                driver.process.kill()  # SIGKILL: no time to tidy up
                break
            time.sleep(0.01)
        assert driver.wait(120)
        if kill:
            assert driver.process.returncode == -9
            assert 0 < stage(Storage(str(other / "data")), settings).missing() < 24
    assert driver.process.returncode == 0, driver.said
    assert shards(Storage(str(other / "data"))) == whole
