"""Fixtures of the data tests; their helpers are in data_samples.py beside this file."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from data_samples import encode, ground, picture, put_pair

from orchestrator.data.schema import Manifest, Row
from orchestrator.data.writer import DatasetWriter
from orchestrator.storage import Storage


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """images/ and masks/ of ten pairs."""
    root = tmp_path / "own"
    for i in range(10):
        put_pair(root / f"images/p{i}.jpg", root / f"masks/p{i}.png", seed=i)
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder for the files of a layout."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A storage that is not a folder of this machine, and an empty cache."""
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path / "cache"))
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    yield Storage(f"memory://{name}")
    if fsspec.filesystem("memory").exists(f"/{name}"):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


@pytest.fixture
def write() -> Callable[..., Manifest]:
    """Writes rows straight to a dataset: ``write(storage, name, {split: count}, groups=...)``."""

    def write_rows(
        out: Storage, name: str, splits: dict[str, int], groups: int = 0, shard_bytes: int = 2**26
    ) -> Manifest:
        with DatasetWriter(out, name, shard_bytes=shard_bytes) as writer:
            for split, count in splits.items():
                for i in range(count):
                    image, mask = encode(picture(i)), encode(ground())
                    group = f"g{i % groups}" if groups else ""
                    writer.add(split, Row(f"{split}{i}", group, image, mask, 24, 32, 127, f"{i}.png"))
            return writer.commit(task="binary", layout="folders", split_rule="as told")

    return write_rows
