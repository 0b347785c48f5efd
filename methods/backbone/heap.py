"""Memory that the C library keeps of what was freed."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back() -> None:
    """Give what is free in this process back to the system, where its C library can (glibc).

    Between what a block keeps for its gradients lie the holes of what it has freed: half as much again. Taking memory
    anew costs time, so this is for where memory is what counts.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
