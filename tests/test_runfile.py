"""Who goes on with a sweep must mean the same sweep; each reason why not is one line."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import runfile
from orchestrator.cli.sweep import _search
from orchestrator.config import make_settings
from orchestrator.errors import UserError
from orchestrator.space import Space
from orchestrator.storage import Storage
from orchestrator.warm import WarmPoint

SETTINGS = make_settings("decoder", "x", {"train.batch": 4})


def begun(**changes: Any) -> runfile.RunFile:
    file = runfile.RunFile(
        method="decoder",
        dataset="x",
        changes={"train.batch": "4"},
        settings=SETTINGS.flat(),
        data="/data",
        fingerprint="f1",
        direction="max",
        space=Space(SETTINGS, {"train.batch": 4}).describe(),
        trials=6,
    )
    return dataclasses.replace(file, **changes)


def test_it_survives_the_disk(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    begun().save(storage / "run")
    assert runfile.load(storage, "run") == begun() and runfile.load(storage, "other") is None
    begun().check_same(begun(trials=9, data="s3://elsewhere"), "run")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "mca"}, "that sweep began with method decoder, now it is mca"),
        ({"dataset": "y"}, "that sweep began with dataset x, now it is y"),
        ({"direction": "min"}, "that sweep began with direction max, now it is min"),
        ({"fingerprint": "f2"}, "that sweep began with fingerprint f1, now it is f2"),
        ({"settings": {**SETTINGS.flat(), "train.lr": 0.5}}, "began with train.lr 0.0002, now it is 0.5"),
        ({"settings": {**SETTINGS.flat(), "train.new": 1}}, "began with train.new None, now it is 1"),
        ({"warm_start": "auto"}, "began with warm_start off, now it is auto"),
        ({"objectives": ["quality", "seconds"]}, "began with objectives ['quality'], now it is ['quality', 'seconds']"),
        ({"space": []}, "the search space has no more the dimension method.iou_weight in [0.25, 4.0] log=True"),
        ({"space": [*begun().space, "train.new of [1, 2]"]}, "search space had not the dimension train.new of [1, 2]"),
    ],
)
def test_another_sweep_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        begun().check_same(begun(**changes), "run")
    message = str(caught.value)
    assert says in message and message.startswith("NAME=run: ") and "choose another NAME" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "damaged (JSONDecodeError)"),
        ("[]", "damaged (TypeError)"),
        ('{"version": 1}', "damaged (TypeError)"),
        (json.dumps(dataclasses.asdict(begun(version=7))), "of version 7, this is 1"),
    ],
)
def test_a_damaged_file_is_said(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / runfile.FILE).write_text(content)
    with pytest.raises(UserError) as caught:
        runfile.load(Storage(str(tmp_path)), "run")
    assert says in str(caught.value) and "choose another NAME" in str(caught.value)


def test_what_a_sweep_starts_from_is_decided_once(tmp_path: Path) -> None:
    """Also where other studies are there by now: neither the plan nor STORAGE is looked at again."""
    point = {"run": "other", "trial": "002", "point": {"train.lr": 1e-3}}
    begun(warm_start="auto", warm=[point], objectives=["quality", "seconds"]).save(Storage(str(tmp_path)) / "run")
    then = runfile.load(Storage(str(tmp_path)), "run")
    given = argparse.Namespace(warm_start=None, objectives=None)
    how = _search(given, plan=None, space=None, trials=9, begun=then)
    assert how == {"warm_start": "auto", "warm": [point], "objectives": ["quality", "seconds"], "lessons": []}
    assert WarmPoint(**how["warm"][0]) == WarmPoint("other", "002", {"train.lr": 1e-3})


def test_a_sweep_from_before_warm_starts_goes_on_without(tmp_path: Path) -> None:
    old = {k: v for k, v in dataclasses.asdict(begun()).items() if k not in ("warm_start", "warm", "objectives")}
    Storage(str(tmp_path)).write("run/run.json", json.dumps(old).encode())
    then = runfile.load(Storage(str(tmp_path)), "run")
    assert then is not None and (then.warm_start, then.warm, then.objectives) == ("off", [], ["quality"])


def test_a_fixed_setting_is_no_dimension() -> None:
    names = [dimension.split()[0] for dimension in Space(SETTINGS, {}).describe()]
    assert names == ["method.iou_weight", "train.lr", "train.weight_decay"]
    assert [d.split()[0] for d in Space(SETTINGS, {"train.lr": 1.0}).describe()] == [names[0], names[2]]
