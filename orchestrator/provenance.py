"""Where a result comes from: the code, the packages and the machine that made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

import orchestrator
from orchestrator.cores import available_cores
from orchestrator.memory import GIB, physical_memory
from orchestrator.redact import redact

COMMIT = "SAMSWEEP_COMMIT"  #: environment variable: the commit, where no checkout tells it
ROOT = Path(__file__).resolve().parents[1]  #: of the checkout, where there is one
CODE = ("orchestrator", "methods", "search_spaces")
CPU_INFO = Path("/proc/cpuinfo")
#: What a result depends on.
PACKAGES = (
    "torch",
    "torchvision",
    "segment-anything",
    "ray",
    "optuna",
    "pyarrow",
    "numpy",
    "scipy",
    "pillow",
    "simplejpeg",
    "opencv-python-headless",
    "pysodmetrics",
)


def origin(
    device: torch.device, dtype: torch.dtype, backbone: str, fit: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """What a process that trains says of itself, in plain values.

    ``backbone``: the fingerprint of its weights. ``fit``: how it made a batch fit into this hardware's memory.
    """
    return {**code(), "hardware": hardware(device, dtype) | dict(fit or {}), "backbone_fingerprint": backbone}


def code() -> dict[str, Any]:
    """The code and the packages of this process, and its host."""
    return {
        "code_version": code_version(),
        "commit": commit(),
        "diff": diff_hash(),
        "packages": packages(),
        "host": platform.node(),
    }


def hardware(device: torch.device, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """What this process computes on. ``precision``: what ``train.precision=auto`` came to; memory in GB."""
    found = {
        "cpu": cpu_model(),
        "simd": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "memory_gb": round(physical_memory() / GIB, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    return found | ({"precision": str(dtype).removeprefix("torch.")} if dtype else {})


def command(words: Sequence[str]) -> str:
    """What to type to do the same again; secrets are struck out."""
    return redact(shlex.join(["samsweep", *words]))


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In words, what of code, packages and hardware is not as it was; what was not recorded is not compared."""
    before, after = _facts(then), _facts(now)
    return [
        f"{name}: was {before[name]}, is {after[name]}"
        for name in before
        if name in after and before[name] != after[name]
    ]


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    facts = {"code version": record.get("code_version"), **(record.get("packages") or {})}
    if record.get("commit"):  # else nobody looked for changes
        facts["uncommitted changes"] = (record.get("diff") or "none")[:12]
    facts |= record.get("hardware") or {}
    return {name: value for name, value in facts.items() if value is not None}


@cache
def code_version() -> str:
    """The package's version, with the commit: of the checkout, or as the image's maker put it into the environment."""
    if told := os.environ.get(COMMIT):
        return f"{orchestrator.__version__}+{told}"
    if not _is_checkout():
        return orchestrator.__version__
    return (
        f"{orchestrator.__version__}+{_git('describe', '--always', '--dirty', '--tags').decode().strip() or 'unknown'}"
    )


@cache
def commit() -> str | None:
    """The whole commit; None where nothing tells it."""
    if told := os.environ.get(COMMIT):
        return told
    return (_git("rev-parse", "HEAD").decode().strip() or None) if _is_checkout() else None


@cache
def diff_hash(root: Path = ROOT) -> str | None:
    """sha256 of what the checkout has beyond its commit; None where that is nothing, or there is no checkout.

    That is git's diff and, in the packages alone (results may lie in a checkout, too), files that git neither has
    nor ignores.
    """
    if not _is_checkout(root):
        return None
    changed = _git("diff", "HEAD", "--binary", "--no-ext-diff", "--no-color", root=root)
    listed = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE, root=root)
    added = sorted(name for name in listed.split(b"\0") if name)
    if not changed and not added:
        return None
    digest = hashlib.sha256(changed)
    for name in added:
        path = root / os.fsdecode(name)
        content = path.read_bytes() if path.is_file() else b""
        digest.update(name + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


@cache
def packages() -> dict[str, str]:
    """The versions of the packages that a result depends on, of those that are there."""
    found = {n: next((d.version for d in importlib.metadata.distributions(name=n)), None) for n in PACKAGES}
    return {"python": platform.python_version()} | {n: version for n, version in found.items() if version}


@cache
def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    text = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    line = next((line for line in text.splitlines() if line.startswith("model name")), "")
    return line.partition(":")[2].strip() or platform.processor() or platform.machine()


def _is_checkout(root: Path = ROOT) -> bool:
    return (root / ".git").exists()


def _git(*words: str, root: Path = ROOT) -> bytes:
    """What git says; nothing where it is not there, or has nothing to say."""
    try:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""
