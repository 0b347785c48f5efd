"""Which stand-ins are written in their data set's own layout, so that its ingest runs; others lie in plain folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.data import standin
from orchestrator.data.standin import cars, faces, nuclei, signs
from orchestrator.data.standin.town import panoramas
from orchestrator.data.tasks import TASKS


@dataclass(frozen=True)
class Official:
    """A domain that has a layout."""

    domain: str  #: what its pictures show
    write: Callable[[Path, int, int, int], None]  #: (root, training pictures, test pictures, seed)
    times: float = 1  #: as many training pictures as others have


OFFICIAL = {  # by layout
    "celebamask": Official("face", faces.write),
    "dsb2018": Official("nuclei", nuclei.write),
    "plates": Official("car", cars.write),
    "mapillary_signs": Official("street sign", signs.write),
    "cityscapes": Official("street", panoramas.write_cityscapes, times=2),
    "densepass": Official("street", panoramas.write_densepass, times=0.375),
    "wildpass": Official("street", panoramas.write_wildpass, times=0.375),
}


def is_drawn(layout: str, task: str) -> bool:
    """Whether there is a stand-in at all: classes of pixels are drawn in their data set's own layout alone."""
    return layout in OFFICIAL or (TASKS[task].solved and not TASKS[task].by_class)


def domain(layout: str, task: str) -> str:
    """What the stand-in of a data set of this layout and task shows."""
    return OFFICIAL[layout].domain if layout in OFFICIAL else standin.domain(task)


def write(layout: str, task: str, root: Path, train: int, test: int, seed: int) -> str:
    """Draw the stand-in of a data set of this layout and task under ``root``; the layout that it is written in.

    Where the layout has no split of its own, the ingest draws one, and only the sum of ``train`` and ``test`` counts.
    """
    if layout in OFFICIAL:
        OFFICIAL[layout].write(root, max(1, round(OFFICIAL[layout].times * train)), test, seed)
        return layout
    standin.write_folders(standin.domain(task), root, train, test, seed)
    return "folders"
