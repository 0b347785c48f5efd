"""Fixtures that every room shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import flaky_store
import hypothesis
import pytest
import torch
from batches import make_batch
from data_samples import real
from segment_anything.modeling import Sam

from methods.backbone.build import build
from methods.base import Batch
from orchestrator import patience
from orchestrator.cli import main
from orchestrator.data import standin

# a busy machine is no fault of an example's
hypothesis.settings.register_profile("samsweep", deadline=None)
hypothesis.settings.load_profile("samsweep")


#: Files that take longest: begun first, so that no core waits for them at the end.
LONGEST = ("test_end_to_end", "test_conformance", "test_pretraining", "test_job", "test_cache", "test_stage")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def kvasir() -> Path:
    """200 real polyps beside the project; see the README there."""
    return real("kvasir_seg")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _own_denormals() -> Iterator[None]:
    """The engine has its thread take tiny numbers for zero, which hypothesis will not work with."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def store() -> type[flaky_store.FlakyStore]:
    """``flaky://``, empty and well."""
    return flaky_store.fresh()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes by sleeping alone, for ``patiently`` and nobody else in this process; its pauses."""
    slept: list[float] = []
    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept)))
    return slept


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
