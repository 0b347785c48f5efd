"""The classes that a model names, and those that a data set knows: matched by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: What data sets call the same thing: each name, and the one that stands for it.
SAME = {
    "pavement": "sidewalk",
    "tree": "vegetation",
    "trees": "vegetation",
    "pedestrian": "person",
    "sign": "traffic sign",
    "signsymbol": "traffic sign",
    "bike": "bicycle",
    "motorbike": "motorcycle",
}


def matched(model: Sequence[str], data: Sequence[str]) -> NDArray[np.int64]:
    """For each class of a model the data set's number of it; len(data) where that has no such class."""
    numbers = {_plain(name): number for number, name in enumerate(data)}
    return np.array([numbers.get(_plain(name), len(data)) for name in model], dtype=np.int64)


def _plain(name: str) -> str:
    plain = name.strip().lower().replace("_", " ").replace("-", " ")
    return SAME.get(plain, plain)
