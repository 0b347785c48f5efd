"""How SAM's modules are computed: switches that change no weight, no checkpoint and no result beyond rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

ATTENTION = ("auto", "tiled", "sdpa", "untouched")
DECODER = ("batched", "untouched")


@dataclass(frozen=True)
class Execution:
    """The way each piece of SAM is computed; ``untouched`` is segment_anything's own code."""

    attention: str = "auto"  #: one of ATTENTION; auto: ``tiled`` on a CPU, ``sdpa`` on a GPU
    decoder: str = "batched"  #: one of DECODER
    recompute: int = 0  #: encoder blocks, from the first, that keep their input alone and are computed again backward
    compile: bool = False  #: torch.compile for the encoder's blocks


UNTOUCHED = Execution(attention="untouched", decoder="untouched")
_KEY = "_samsweep_execution"


def execute(module: nn.Module, execution: Execution) -> None:
    """Have all of a module, a SAM or a method, computed that way from now on."""
    for part in module.modules():
        part.__dict__[_KEY] = execution


def execution_of(module: Any) -> Execution:
    """How a module is to be computed."""
    found = module.__dict__.get(_KEY)
    return found if isinstance(found, Execution) else Execution()
