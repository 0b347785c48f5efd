"""Drawing the scenes of a pretraining set once, in parallel, into Arrow shards."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from PIL import Image

from orchestrator.cores import available_cores
from orchestrator.data import scenes
from orchestrator.data.layers import encode_layers
from orchestrator.data.schema import Manifest, Row
from orchestrator.data.writer import DatasetWriter
from orchestrator.storage import Storage

NAME = "scenes"  #: of the dataset
TASK = "promptable"
GENERATOR = 1  #: raised with every change of what ``orchestrator.data.scenes`` draws
SIDE = 320  #: pixels; a view of it is 256
QUALITY = 92  #: of the JPEG that a scene is stored as
VAL, TEST = 96, 96  #: scenes that are never trained on
_FIRST = {"val": 0, "test": 10_000, "train": 100_000}  #: index of a split's first scene
_CHUNK = 32  #: scenes that a process draws at a time


def write_scenes(out: Storage, train: int, seed: int, progress: Callable[[int, int, str], None]) -> Manifest:
    """Draw ``train`` scenes to learn from and some to choose and to test by, and commit them as a dataset."""
    counts = {"train": train, "val": VAL, "test": TEST}
    rows = [(split, seed, _FIRST[split] + i) for split, count in counts.items() for i in range(count)]
    with (
        DatasetWriter(out, NAME, replace=True) as writer,
        ProcessPoolExecutor(available_cores(), mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        for done, (split, row) in enumerate(pool.map(_draw, rows, chunksize=_CHUNK), 1):
            writer.add(split, row)
            progress(done, len(rows), row.id)
        return writer.commit(task=TASK, layout="scenes", split_rule=rule(train, seed), stand_in=True)


def rule(train: int, seed: int) -> str:
    """What a set of scenes is, in a sentence."""
    return f"drawn: {train} scenes to train on, {VAL} to choose by, {TEST} to test; seed {seed}, generator {GENERATOR}"


def _draw(what: tuple[str, int, int]) -> tuple[str, Row]:
    split, seed, index = what
    image, masks = scenes.draw(seed, index, SIDE)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    name = f"scene-{seed}-{index:06d}"
    return split, Row(
        id=name,
        group="",
        image=buffer.getvalue(),
        mask=encode_layers(masks),
        height=SIDE,
        width=SIDE,
        foreground_above=0,
        source=name,
        layers=len(masks),
        coding="layers",
    )
