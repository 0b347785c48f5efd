"""Batches on a GPU: the next one is made, pinned and copied while one is worked on."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from methods.base import Batch
from orchestrator.data.ahead import map_ahead


def moved_ahead(batches: Iterator[Batch], count: int, device: torch.device) -> Generator[Batch, None, None]:
    """``count`` batches on ``device``; on a CPU they are as they are.

    A GPU copies from pinned memory while it computes, on a stream of its own, and a thread has the next batch made
    meanwhile: the training thread waits for each step's loss, and would begin it too late.
    """
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    stream = torch.cuda.Stream(device)

    def move(number: int) -> tuple[Batch, Batch, Any]:
        with torch.cuda.device(device):  # each thread has a current one of its own
            pinned = next(batches).map(Tensor.pin_memory)
            with torch.cuda.stream(stream):
                there = pinned.to(device)
                done = stream.record_event()
        return there, pinned, done

    with closing(map_ahead(move, range(count), threads=1, window=1)) as ahead:
        for there, _pinned, done in ahead:  # pinned memory stays until its copy is there
            torch.cuda.current_stream(device).wait_event(done)
            there.map(_used)
            yield there


def _used(tensor: Tensor) -> Tensor:
    """Its memory is not given to another before what is about to be computed from it is done."""
    tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return tensor
