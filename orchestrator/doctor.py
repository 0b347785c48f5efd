"""Checks of this machine, each with what to do where it fails."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.storage import Storage

_GB = 10**9


@dataclass(frozen=True)
class Check:
    """One line of the doctor's."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def examine(data: Storage, storage: Storage) -> list[Check]:
    """All checks; none raises."""
    checks: list[Callable[[], Check]] = [
        _python,
        _packages,
        _torch,
        _memory,
        lambda: _disk(storage),
        _shared_memory,
        lambda: _storage(storage),
        lambda: _data(data),
        _weights,
        _ray,
    ]
    return [check() for check in checks]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer; make PYTHON=python3.11")


def _packages() -> Check:
    """Installed versions against constraints.txt, where the checkout has one."""
    path = Path(__file__).resolve().parents[1] / "constraints.txt"
    if not path.exists():
        return Check("packages", True, "no constraints.txt beside the package")
    wrong = []
    for line in path.read_text().splitlines():
        name, _, pinned = line.partition("==")
        if not pinned or line.startswith("#"):
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # pins of tools that are only there for development
        if found.split("+")[0] != pinned.strip():
            wrong.append(f"{name} {found}, pinned {pinned.strip()}")
    return Check("packages", not wrong, "; ".join(wrong) or "as pinned", "make clean install")


def _torch() -> Check:
    import torch

    from orchestrator.build import pick_precision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {os.cpu_count()} cores"
    kind = str(pick_precision("auto", device)).removeprefix("torch.")
    return Check("compute", True, f"{name}, {kind}, torch {torch.__version__}")


def _memory() -> Check:
    from orchestrator.memory import physical_memory

    total = physical_memory()
    return Check("memory", total >= 6 * _GB, f"{total / _GB:.0f} GB", "6 GB are needed for a sweep with vit_t")


def _disk(storage: Storage) -> Check:
    if not storage.is_local:
        return Check("disk", True, f"{storage.uri} is remote")
    folder = storage.local()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / _GB:.0f} GB free for {storage.uri}"
    return Check("disk", free >= 2 * _GB, found, "free 2 GB, or another STORAGE")


def _shared_memory() -> Check:
    folder = Path("/dev/shm")
    if not folder.exists():
        return Check("shared memory", True, "none on this system")
    free = shutil.disk_usage(folder).free
    advice = "give /dev/shm 0.3 GB (docker: --shm-size=1g)"
    return Check("shared memory", free >= 0.3 * _GB, f"{free / _GB:.1f} GB", advice)


def _storage(storage: Storage) -> Check:
    try:
        storage.check_writable()
    except UserError as error:
        return Check("STORAGE", False, str(error), "choose a STORAGE that can be written")
    return Check("STORAGE", True, f"{storage.uri} can be written")


def _data(data: Storage) -> Check:
    from orchestrator.data.schema import ingested_names

    try:
        names = ingested_names(data)
    except (UserError, OSError) as error:
        return Check("DATA", False, str(error), "choose a DATA that can be read")
    return Check("DATA", True, f"{data.uri}: {', '.join(names) or 'nothing ingested, stand-ins only'}")


def _weights() -> Check:
    from orchestrator.weights import OFFICIAL, weights_dir

    here = [name for name, official in OFFICIAL.items() if (weights_dir() / official.file).exists()]
    return Check("weights", True, ", ".join(here) or "vit_t only (samsweep weights fetch vit_b brings more)")


def _ray() -> Check:
    """Ray is imported, not started: starting takes seconds and is the sweep's own first step."""
    try:
        import ray
    except ImportError as error:
        return Check("Ray", False, str(error), "make install")
    address = os.environ.get("RAY_ADDRESS")
    return Check("Ray", True, f"{ray.__version__}, " + (f"RAY_ADDRESS={address}" if address else "starts its own"))
