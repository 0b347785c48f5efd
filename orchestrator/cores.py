"""How many processor cores this process may use, and how many threads a rank computes with."""

from __future__ import annotations

import os


def available_cores() -> int:
    """At least 1; where the system can say it, those that this process is allowed to run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def rank_threads(cpus_per_worker: float) -> int:
    """torch's threads in a rank. Sums depend on their number, so it follows from the settings alone."""
    return max(1, int(cpus_per_worker))
