"""How much memory a rank has used at most, and how much it may use."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import sys
from pathlib import Path

import torch

from methods.backbone.heap import give_back
from orchestrator.cores import available_cores

PROCESS = Path("/proc/self")
CONTAINER = Path("/sys/fs/cgroup/memory.max")
MARGIN = 0.9  #: of the memory that is there
GIB = 2**30


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process since ``reset_peak_memory``, in MB: the GPU's, or the resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if PROCESS.exists():
        line = next(line for line in (PROCESS / "status").read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def reset_peak_memory(device: torch.device) -> bool:
    """Forget the peak of what this process did before; False where that cannot be, and it stays the process's own."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    with contextlib.suppress(OSError):  # no Linux, or a container that forbids it
        (PROCESS / "clear_refs").write_text("5")
        return True
    return False


def release_memory(device: torch.device) -> None:
    """Give memory that is free in this process back to the device or the system."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        give_back()


def memory_budget(given_gb: float, device: torch.device, cores: float, gpus: float = 1.0) -> float:
    """Bytes that a rank may use: what it was given, or its share of the GPU's memory or of the machine's."""
    if given_gb:
        return given_gb * GIB
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        there = free + torch.cuda.memory_reserved(device)
        return MARGIN * min(there, whole * min(1.0, gpus or 1.0))
    return MARGIN * machine_memory() * min(1.0, cores / available_cores())


def machine_memory() -> float:
    """Bytes of memory of this machine, or of the container that this process is in."""
    whole = float(physical_memory())
    limit = CONTAINER.read_text().strip() if CONTAINER.exists() else "max"
    return min(whole, float(limit)) if limit.isdigit() else whole


def physical_memory() -> int:
    """Bytes of memory of this machine, whatever of them this process may use."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
