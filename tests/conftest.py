"""Fixtures that every room shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from batches import make_batch
from segment_anything.modeling import Sam

from methods.backbone.build import build
from methods.base import Batch
from orchestrator.cli import main
from orchestrator.data import standin

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def kvasir() -> Path:
    """The real polyps beside the project; a failure where CI is set and they are missing."""
    folder = SHARED / "kvasir_seg"
    if not folder.is_dir():
        message = "real data is missing: ../shared/data/kvasir_seg"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def batch() -> Batch:
    return make_batch()


@pytest.fixture
def vit_t() -> Sam:
    """A fresh vit_t with its own weights."""
    return build("vit_t")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with ``tiny``: 12 + 4 drawn shapes, ingested through the real command."""
    source, root = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("data")
    standin.write_folders("binary", source, train=12, test=4, seed=5)
    assert main(["ingest", "tiny", "--source", str(source), "--out", str(root)]) == 0
    return root
