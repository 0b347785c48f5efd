"""Batches move to a device in order, one ahead; a GPU's streams are stood in for where there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from batches import make_batch

from methods.base import Batch
from orchestrator.data.moved import moved_ahead


def numbered(count: int, made: list[int]) -> Iterator[Batch]:
    for number in range(count):
        made.append(number)
        yield make_batch(1, seed=number, side=16)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What torch.cuda is asked for, in the order of the asking."""
    told: list[str] = []
    stream = SimpleNamespace(record_event=lambda: told.append("copied") or "event")
    current = SimpleNamespace(wait_event=lambda event: told.append("waited"))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda one: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, one: None)
    return SimpleNamespace(told=told)


def test_the_next_one_is_on_its_way_while_one_is_worked_on(gpu: SimpleNamespace) -> None:
    made: list[int] = []
    with patch.object(Batch, "to", lambda self, device: self):
        ahead = moved_ahead(numbered(4, made), 4, torch.device("cuda"))
        seeds = []
        for batch in ahead:
            seeds.append(int(batch.seed[0]))
            for _ in range(200):
                if len(made) == min(4, len(seeds) + 1):
                    break
                threading.Event().wait(0.01)
            assert len(made) == min(4, len(seeds) + 1), "one ahead, no more"
    assert seeds == [11, 12, 13, 14] and gpu.told.count("waited") == 4


def test_an_error_is_raised_in_its_turn_and_no_thread_stays(gpu: SimpleNamespace) -> None:
    def broken() -> Iterator[Batch]:
        yield make_batch(1, side=16)
        raise ValueError("a damaged image")

    with patch.object(Batch, "to", lambda self, device: self):
        ahead = moved_ahead(broken(), 2, torch.device("cuda"))
        next(ahead)
        with pytest.raises(ValueError, match="a damaged image"):
            next(ahead)
    assert not any("ahead" in thread.name for thread in threading.enumerate())


def test_a_cpu_gets_them_as_they_are() -> None:
    made: list[int] = []
    ahead = moved_ahead(numbered(2, made), 2, torch.device("cpu"))
    assert len(next(ahead)) == 1 and made == [0]
