"""Where DDP's ranks find each other: a store of the first one, on its node's own address and no other.

Ray lets torch open that store, and torch opens it to every network that the machine is in.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import ray.train.torch
import torch.distributed as dist
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend

from orchestrator.interface import show_gloo_the_way

#: Of the first rank, for as long as its process lives.
_stores: list[dist.TCPStore] = []


@dataclass
class Meeting(ray.train.torch.TorchConfig):
    """Ray's torch configuration but for the store."""

    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Meeting) -> None:
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        backend, world = backend_config.backend or ("nccl" if gpus else "gloo"), len(worker_group)
        address = worker_group.execute_single(0, _open)
        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get(
            [
                worker_group.execute_single_async(rank, _join, backend, rank, world, *address, backend_config.timeout_s)
                for rank in range(world)
            ]
        )


def _open() -> tuple[str, int]:
    """The store's address; it is open then."""
    host = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((host, 0))
        listener.listen(1024)
        port = int(listener.getsockname()[1])
        _stores.append(
            dist.TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
        )
    return host, port


def _join(backend: str, rank: int, world: int, host: str, port: int, seconds: float) -> None:
    show_gloo_the_way()
    wait = timedelta(seconds=seconds)
    store = dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=wait)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=wait)
