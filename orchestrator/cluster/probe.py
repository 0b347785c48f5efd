"""What one node of a cluster says of itself; runs there, as an actor."""

from __future__ import annotations

import os
import platform
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from orchestrator.storage import Storage

PROBE_BYTES = 32 * 2**20  #: that are written to the store and read again
TENSOR_BYTES = 64 * 2**20  #: that all nodes add up
ROUNDS = 5


@dataclass(frozen=True)
class Facts:
    """Of one node."""

    host: str
    python: str
    ray: str
    torch: str
    gpus: int  #: that torch sees
    token: bool  #: whether its processes know each other by a token
    free: dict[str, int]  #: bytes by folder
    cache: str  #: where data and weights are kept


class Probe:
    """On each node one."""

    def facts(self) -> Facts:
        import ray
        import torch

        from orchestrator.data.cache import cache_folder

        cache = cache_folder()
        return Facts(
            platform.node(),
            platform.python_version(),
            ray.__version__,
            torch.__version__,
            torch.cuda.device_count(),
            os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
            {str(cache): _free(cache), "/tmp": _free(Path("/tmp"))},
            str(cache),
        )

    def clock(self) -> float:
        return time.time()

    def store(self, uri: str) -> tuple[float, float]:
        """Bytes a second, written to and read from a store; raises what the store does."""
        storage, data = Storage(uri), os.urandom(PROBE_BYTES)
        name = f".probe-{uuid.uuid4().hex}"
        try:
            began = time.perf_counter()
            storage.write(name, data, patience=0)
            between = time.perf_counter()
            same = storage.read(name) == data
            end = time.perf_counter()
        finally:
            storage.remove(name)
        if not same:
            raise OSError(f"{storage.uri}: what was read is not what was written")
        return PROBE_BYTES / (between - began), PROBE_BYTES / (end - between)

    def names(self, uri: str) -> list[str]:
        """What lies in a store's top folder."""
        return sorted(Storage(uri).names())

    def meet(self) -> tuple[str, int]:
        """An address at which the other nodes can meet this one."""
        import socket

        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return str(ray.util.get_node_ip_address()), int(probe.getsockname()[1])

    def add_up(self, rank: int, world: int, host: str, port: int, cuda: bool) -> float:
        """Bytes a second of an all-reduce over all nodes, as NCCL counts its bus bandwidth: 2(n-1)/n x size / time."""
        import torch
        import torch.distributed as dist

        from orchestrator.interface import show_gloo_the_way

        show_gloo_the_way()
        device = torch.device("cuda" if cuda else "cpu")
        dist.init_process_group("nccl" if cuda else "gloo", f"tcp://{host}:{port}", rank=rank, world_size=world)
        try:
            tensor = torch.ones(TENSOR_BYTES // 4, device=device)
            dist.all_reduce(tensor)
            if cuda:
                torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(ROUNDS):
                dist.all_reduce(tensor)
            if cuda:
                torch.cuda.synchronize()
            seconds = (time.perf_counter() - began) / ROUNDS
        finally:
            dist.destroy_process_group()
        return 2 * (world - 1) / world * TENSOR_BYTES / seconds


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
