"""Clusters that start without workers: what could come, asking for it, and waiting until it is there."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.autoscaler.sdk import request_resources

from orchestrator.config import TrainSettings
from orchestrator.errors import UserError

#: Environment variable where no launch file is at hand, as on Kubernetes: ``[{"CPU": 8, "GPU": 1, "most": 4}]``.
TO_COME = "SAMSWEEP_TO_COME"
LAUNCH_FILE = "~/ray_bootstrap_config.yaml"  #: on the head, as `ray up` has left it
MINUTES = 30.0  #: that a first node may take: a cloud may have none to spare
SETTLED = 180.0  #: seconds without a new node after which fewer must do
LOOK, TELL = 3.0, 30.0  #: seconds between two looks, and between two lines about it


@dataclass(frozen=True)
class Kind:
    """Workers of one kind that an autoscaler may start."""

    cpus: float
    gpus: float
    most: int


def kinds_to_come() -> list[Kind]:
    """What the autoscaler of this cluster may start; nothing where there is none, or nobody tells.

    Raises:
        UserError: the environment variable cannot be understood.
    """
    if told := os.environ.get(TO_COME):
        try:
            return [Kind(float(k.get("CPU", 0)), float(k.get("GPU", 0)), int(k["most"])) for k in json.loads(told)]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f'{TO_COME}={told}: give e.g. [{{"CPU": 8, "GPU": 1, "most": 4}}]') from error
    path = Path(LAUNCH_FILE).expanduser()
    if not path.exists():
        return []
    config = yaml.safe_load(path.read_text()) or {}
    head = config.get("head_node_type")
    types: dict[str, Any] = config.get("available_node_types") or {}
    return [
        Kind(float(one.get("resources", {}).get("CPU", 0)), float(one.get("resources", {}).get("GPU", 0)), most)
        for name, one in types.items()
        if name != head and (most := int(one.get("max_workers", 0))) > 0
    ]


@contextmanager
def nodes_for(train: TrainSettings, trials: int, room: Callable[[], int], say: Callable[[str], None]) -> Iterator[None]:
    """Ask the autoscaler for the workers of so many trials, and hold them while the block lasts.

    Comes to the block when they are there, or when as many are as seem to come.

    Args:
        room: how many workers fit on the nodes that are there.
        say: takes a line about the wait.
    """
    bundle = {"CPU": train.cpus_per_worker} | ({"GPU": train.gpus_per_worker} if train.gpus_per_worker else {})
    wanted = min(train.workers * trials, _at_most(train))
    try:
        # again and again: there is one request a cluster, and another sweep's would be in the place of ours
        _wait(wanted, train.least_workers, room, say, lambda: request_resources(bundles=[bundle] * wanted))
        yield
    finally:
        request_resources(bundles=[])


def _at_most(train: TrainSettings) -> int:
    """How many workers fit on all that could come."""
    fits = 0
    for kind in kinds_to_come():
        each = math.floor(kind.cpus / train.cpus_per_worker + 1e-9)
        if train.gpus_per_worker:
            each = min(each, math.floor(kind.gpus / train.gpus_per_worker + 1e-9))
        fits += each * kind.most
    return fits


def _wait(
    wanted: int, least: int, room: Callable[[], int], say: Callable[[str], None], ask: Callable[[], object]
) -> None:
    began = changed = told = time.monotonic()
    there = room()
    say(f"waiting for nodes: room for {there} of {wanted} workers; the autoscaler was asked")
    ask()
    while there < wanted and time.monotonic() - began < MINUTES * 60:
        time.sleep(LOOK)
        ask()
        now = room()
        if now != there:
            there, changed = now, time.monotonic()
        elif there >= least and time.monotonic() - changed > SETTLED:
            break
        if time.monotonic() - told > TELL:
            told = time.monotonic()
            say(f"waiting for nodes: room for {there} of {wanted} workers after {told - began:.0f} s")
    if there >= least:
        say(f"room for {there} workers on {len([node for node in ray.nodes() if node['Alive']])} nodes")
