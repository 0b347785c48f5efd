"""What a sweep will cost: hours as they were measured, bytes as they are written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import make_batch

from methods import registry
from orchestrator import checkpoint
from orchestrator.build import build_method
from orchestrator.config import Settings, make_settings
from orchestrator.cost import Bytes, Cost, images_of_epoch, stored_bytes, trial_seconds
from orchestrator.optimizer import make_optimizers


def row(method: str = "mca", backbone: str = "vit_t", start: float = 0.0, **more: Any) -> dict[str, Any]:
    """Two epochs of 10 s on 100 samples each, with ``start`` seconds before."""
    epoch = {"seconds": 8.0, "eval_seconds": 2.0, "samples": 0 if method == "sam" else 100}
    about = {"method": method, "backbone": backbone, "dataset": "istd", "status": "completed", "workers": 1}
    return {
        **about,
        "epochs": [epoch, epoch],
        "seconds": 20.0 + start,
        "settings": {"train.gpus_per_worker": 0.0},
        **more,
    }


def settings(method: str = "mca", dataset: str = "istd", **changes: Any) -> Settings:
    return make_settings(method, dataset, {"train.epochs": 10, **changes})


def test_hours_go_by_what_was_measured() -> None:
    assert trial_seconds(settings(), 600, [row(start=5.0)], None) == pytest.approx(5 + 0.1 * 600 * 10)
    assert trial_seconds(settings("sam"), 600, [row()], None) is None, "of another method"
    assert trial_seconds(settings(**{"backbone.name": "vit_b"}), 600, [row()], None) is None, "of another backbone"
    assert trial_seconds(settings(), None, [row()], None) is None
    assert trial_seconds(settings(), 600, [], None) is None
    assert trial_seconds(settings(), 600, [row(epochs=[])], None) is None


def test_two_workers_share_a_trial_and_a_gpu_is_another_measure() -> None:
    both = settings(**{"train.workers": 2})
    assert trial_seconds(both, 600, [row()], None) == pytest.approx(0.1 * 600 * 10 / 2)
    assert trial_seconds(settings(), 600, [row(workers=2)], None) == pytest.approx(0.2 * 600 * 10)
    fast = row(settings={"train.gpus_per_worker": 1.0})
    assert trial_seconds(settings(), 600, [fast], on_gpu=False) is None
    assert trial_seconds(settings(), 600, [fast], on_gpu=True) is not None


def test_what_trains_nothing_is_measured_whole_on_its_own_data() -> None:
    assert trial_seconds(settings("sam"), 600, [row("sam")], None) == 20
    assert trial_seconds(settings("sam", "kvasir"), 600, [row("sam")], None) is None


def test_the_clock_counts_what_runs_side_by_side() -> None:
    cost = Cost(trials=5, epochs=4, workers=2, at_once=2, seconds=3600.0, bytes=Bytes(10, 30))
    assert (cost.hours, cost.wall_hours) == (10.0, 3.0)
    assert (cost.kept_bytes, cost.peak_bytes) == (50, 50 + 2 * 30 * 2)
    unknown = Cost(5, 4, 2, None, None, Bytes(10, 30))
    assert unknown.hours is None and unknown.wall_hours is None


def test_images_of_an_epoch() -> None:
    assert images_of_epoch(settings(), 128, has_val=False) == 115
    assert images_of_epoch(settings(), 128, has_val=True) == 128
    assert images_of_epoch(settings(**{"data.val_fraction": 0}), 128, has_val=False) == 128
    assert images_of_epoch(settings(**{"train.samples": 40}), None, has_val=False) == 40
    assert images_of_epoch(settings(), None, has_val=False) is None


@pytest.mark.parametrize("method", registry.names())
def test_bytes_are_those_that_are_written(method: str) -> None:
    asked = settings(method)
    told, made = stored_bytes(asked), build_method(asked)
    about = checkpoint.Record(asked.flat(), "b", "d", 1, {})
    assert told.weights == pytest.approx(len(checkpoint.dump(made, about)), rel=0.1, abs=3000)
    assert (told.weights == 0) is (not made.trains)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_state_is_as_large_as_it_is_written(optimizer: str, tmp_path: Path) -> None:
    asked = settings("decoder", **{"train.optimizer": optimizer})
    method = build_method(asked)
    optimizers = make_optimizers(method, asked.train)
    assert optimizers
    batch = make_batch()
    method.total(method.loss(method(batch), batch)).backward()
    optimizers.step()
    written = io.BytesIO()
    torch.save({"weights": method.trained_state(), "optimizer": optimizers.state_dict()}, written)
    assert stored_bytes(asked).state == pytest.approx(written.tell(), rel=0.1)
