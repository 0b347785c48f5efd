"""What is written comes back to the last bit, or is known to be damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.data.fetch import sha256
from orchestrator.embeddings.shards import (
    Damaged,
    Encoded,
    Form,
    from_bits,
    open_shard,
    read_note,
    to_bits,
    write_shards,
)
from orchestrator.storage import Storage


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    stored=st.sampled_from(["fp32", "bf16"]),
    rows=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_tensors_come_back(tmp_path: Path, shape: tuple[int, ...], stored: str, rows: int, seed: int) -> None:
    folder = Storage(str(tmp_path / "entry"))
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=generator) * 10 ** (seed % 9 - 4) for _ in range(rows)]
    forms = {"embedding": Form(shape, stored), "block02": Form(shape, "fp32")}
    images = (
        Encoded({"embedding": to_bits(t, stored), "block02": to_bits(-t, "fp32")}, (i, seed))
        for i, t in enumerate(tensors)
    )
    write_shards(folder, "train-{part}-00000", forms, images)
    for part, form in forms.items():
        shard = read_note(folder.read(f"train-{part}-00000.json"))
        path = folder.local(shard.file)
        assert (shard.rows, shard.bytes, shard.sha256) == (rows, path.stat().st_size, sha256(path))
        for i, (cell, tensor) in enumerate(zip(open_shard(path, form, rows), tensors, strict=True)):
            wanted = -tensor if part == "block02" else tensor
            wanted = wanted.to(torch.bfloat16) if form.stored == "bf16" else wanted
            assert torch.equal(from_bits(cell.values, form.stored), wanted) and cell.valid == (i, seed)


def image(values: np.ndarray) -> Encoded:
    return Encoded({"x": values}, (4, 4))


def test_arrays_are_read_in_place_without_open_files(tmp_path: Path) -> None:
    folder, form = Storage(str(tmp_path)), Form((256, 64), "fp32")
    write_shards(folder, "a-{part}-0", {"x": form}, (image(np.full((256, 64), i, np.float32)) for i in range(3)))
    shard = read_note(folder.read("a-x-0.json"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    arrays = [cell.values for cell in open_shard(folder.local(shard.file), form, 3)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [float(a[255, 63]) for a in arrays] == [0, 1, 2] and not any(a.flags.owndata for a in arrays)


def test_what_is_another_shard_is_damaged(tmp_path: Path) -> None:
    folder, form = Storage(str(tmp_path)), Form((2, 2), "fp32")
    write_shards(folder, "a-{part}-0", {"x": form}, [image(np.zeros((2, 2), np.float32))])
    path = folder.local(read_note(folder.read("a-x-0.json")).file)
    for other, rows in ((Form((4,), "fp32"), 1), (Form((2, 4), "bf16"), 1), (form, 2)):
        with pytest.raises(Damaged, match="other rows or another form"):
            open_shard(path, other, rows)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Damaged, match="cannot be read"):
        open_shard(path, form, 1)
    with pytest.raises(Damaged, match="its note"):
        read_note(b'{"file": "x"}')
