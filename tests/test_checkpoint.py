"""Checkpoints hold trained weights only, and refuse what they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from segment_anything.modeling import Sam

from methods.decoder import DecoderTuning
from methods.sam_adapter import Options, SamAdapter
from orchestrator import checkpoint
from orchestrator.errors import UserError
from orchestrator.storage import Storage


@pytest.fixture
def saved(tmp_path: Path, vit_t: Sam) -> Storage:
    record = checkpoint.Record({"train.lr": 1.0}, "b", "d", 2, {"mdice": 0.5})
    storage = Storage(str(tmp_path))
    storage.write(checkpoint.FILE, checkpoint.dump(SamAdapter(vit_t), record))
    return storage


def test_only_trained_weights_are_inside(saved: Storage, vit_t: Sam) -> None:
    record, tensors = checkpoint.read(saved)
    assert record.epoch == 2 and record.metrics == {"mdice": 0.5}
    assert not any(name.startswith("sam.image_encoder") for name in tensors)
    assert any(name.startswith("prompt_generator") for name in tensors)


def test_weights_of_another_method_are_refused(saved: Storage, vit_t: Sam) -> None:
    _, tensors = checkpoint.read(saved)
    with pytest.raises(UserError, match="weights of another method"):
        checkpoint.apply(DecoderTuning(vit_t), tensors, "x.safetensors")


def test_weights_of_another_width_are_refused(saved: Storage, vit_t: Sam) -> None:
    _, tensors = checkpoint.read(saved)
    with pytest.raises(UserError, match="x.safetensors: weights of another method, backbone or option"):
        checkpoint.apply(SamAdapter(vit_t, Options(scale=8)), tensors, "x.safetensors")


@pytest.mark.parametrize("damage", [b"", b"garbage", None, "foreign"])
def test_damaged_files_are_one_line(saved: Storage, damage: bytes | str | None) -> None:
    path = saved.local(checkpoint.FILE)
    if damage == "foreign":
        path.write_bytes(safetensors.torch.save({"x": torch.ones(1)}))
    else:
        path.write_bytes(damage if isinstance(damage, bytes) else path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a checkpoint of samsweep, or damaged") as caught:
        checkpoint.read(saved)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint there"):
        checkpoint.read(Storage(str(tmp_path)))
