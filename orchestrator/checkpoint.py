"""Trained weights on disk: one safetensors file, only what was trained, with a record of what it belongs to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from methods.base import Method
from orchestrator.errors import UserError
from orchestrator.storage import Storage

FILE = "best.safetensors"
_KEY = "samsweep"


@dataclass(frozen=True)
class Record:
    """What a checkpoint says of itself."""

    settings: dict[str, Any]  #: ``Settings.flat()``
    backbone_fingerprint: str
    data_fingerprint: str
    epoch: int
    metrics: dict[str, float]
    classes: list[str] = field(default_factory=list)  #: that the method names, where it names pixels


def dump(method: Method, record: Record) -> bytes:
    """The bytes of a checkpoint: the trained weights and the record."""
    text = json.dumps(asdict(record), sort_keys=True)
    return safetensors.torch.save(method.trained_state(), metadata={_KEY: text})


def write(storage: Storage, method: Method, record: Record) -> str:
    """Put a checkpoint into a trial's folder; returns its sha256."""
    data = dump(method, record)
    storage.write(FILE, data)
    return hashlib.sha256(data).hexdigest()


def read(storage: Storage, name: str = FILE) -> tuple[Record, dict[str, Tensor]]:
    """Read a checkpoint.

    Raises:
        UserError: no such file, or not a checkpoint of this project.
    """
    path = storage.path(name)
    if not storage.exists(name):
        raise UserError(f"{path}: no checkpoint there")
    data = storage.read(name)
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        record = Record(**json.loads(metadata[_KEY]))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a checkpoint of samsweep, or damaged; train again") from error
    return record, tensors


def apply(method: Method, tensors: dict[str, Tensor], where: str) -> None:
    """Put trained weights into a method that was built with the same settings.

    Raises:
        UserError: the names or shapes are those of another method, size or option.
    """
    own = dict(method.named_parameters())
    names = set(method.trained_names())
    if names != set(tensors) or any(own[n].shape != t.shape for n, t in tensors.items()):
        odd = sorted(names ^ set(tensors)) or [n for n, t in tensors.items() if own[n].shape != t.shape]
        raise UserError(
            f"{where}: weights of another method, backbone or option ({len(odd)} do not fit, e.g. {odd[0]})"
        )
    for name, tensor in tensors.items():
        own[name].data.copy_(tensor)
