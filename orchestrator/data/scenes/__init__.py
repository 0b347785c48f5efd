"""Scenes drawn by rule, with exact masks of what they show: to train a model that is prompted with boxes and points.

``draw`` gives scene ``index`` of the endless series ``seed``, always the same one. Half of the scenes are easy:
clear, sharp edges. ``KINDS`` names what scenes there are and how often each comes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.scenes.canvas import AREA, MAX_MASKS, Canvas
from orchestrator.data.scenes.effects import finish
from orchestrator.data.scenes.microscopy import cells
from orchestrator.data.scenes.objects import camouflage, objects
from orchestrator.data.scenes.parts import hierarchies
from orchestrator.data.scenes.regions import tiles
from orchestrator.data.scenes.tissue import lumps
from orchestrator.data.standin.fields import Rng

__all__ = ["AREA", "KINDS", "MAX_MASKS", "Scene", "compose", "draw"]

Scene = tuple[NDArray[np.uint8], NDArray[np.bool_]]

_SERIES = 7_301  # keeps these draws apart from all others with the same seed
EASY = 0.5

KINDS: dict[str, tuple[float, Callable[[Canvas], None]]] = {  # name -> (weight, painter)
    "objects": (0.24, objects),
    "hierarchies": (0.14, hierarchies),
    "cells": (0.25, cells),
    "lumps": (0.2, lumps),
    "tiles": (0.09, tiles),
    "camouflage": (0.08, camouflage),
}


def draw(seed: int, index: int, side: int = 320) -> Scene:
    """Picture (side x side x 3) and masks (M x side x side, 1 <= M <= MAX_MASKS) of one scene."""
    rng = np.random.default_rng([_SERIES, seed, index])
    weights = np.array([weight for weight, _ in KINDS.values()])
    name = list(KINDS)[rng.choice(len(KINDS), p=weights / weights.sum())]
    return compose(rng, side, name, bool(rng.random() < EASY))


def compose(rng: Rng, side: int, kind: str, easy: bool) -> Scene:
    """A scene of one kind, drawn again until it has a mask."""
    while True:
        canvas = Canvas(rng, side, easy)
        KINDS[kind][1](canvas)
        masks = canvas.masks()
        if len(masks):
            return finish(rng, canvas.image, easy), masks
