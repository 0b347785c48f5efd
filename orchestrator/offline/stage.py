"""A method's offline stage: which rows need it, where it is stored, and how whoever comes fills it.

It lies beside the data set, under ``DATA/.offline/``, in a folder for each (stage, settings of it, SAM's weights,
input size, data): shards of a few images, each made by one process, found again by all trials, methods and nodes. A
process that is killed leaves whole shards and none that is half; SAM runs in full precision, so what is made anew is
the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.backbone.build import fingerprint
from methods.base import Method
from methods.parts.labeller import REFERENCE, Labeller, Offline
from orchestrator.data.frames import Frame
from orchestrator.data.loader import Loader
from orchestrator.data.reader import Dataset
from orchestrator.embeddings.fill import Images, Progress, Unit
from orchestrator.embeddings.shards import U8, Encoded, Form, to_bits
from orchestrator.embeddings.sound import fill_soundly, tidy
from orchestrator.embeddings.store import Parts
from orchestrator.storage import Storage

ROOT = ".offline"  #: under DATA; no data set is called so
FILE = "key.json"
ROWS = 8  #: images of a shard: what a kill costs at most
IDLE = 600.0  #: seconds after which a file without its last name is nobody's


@dataclass(frozen=True)
class Key:
    """Names an entry."""

    stage: str
    settings: dict[str, Any]
    backbone: str  #: SAM's size
    weights: str  #: ``methods.backbone.build.fingerprint``
    frame: Frame
    dataset: str
    data: str  #: the dataset's fingerprint
    torch: str = torch.__version__

    @property
    def folder(self) -> str:
        """Relative to DATA."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()[:12]
        return f"{ROOT}/{self.dataset}-{self.stage}-{digest}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


@dataclass(frozen=True)
class Stage:
    """A method's stage on a data set, to be filled and read."""

    method: Labeller
    dataset: Dataset
    frame: Frame
    offline: Offline
    parts: Parts
    key: Key

    @property
    def images(self) -> int:
        """How many there are in all."""
        return sum(len(unit.rows) for unit in self.parts.units)

    def missing(self) -> int:
        """Images that nobody has computed yet."""
        there = set(self.parts.folder.names())
        return sum(len(unit.rows) for unit in self.parts.units if unit.missing(list(self.parts.forms), there))

    def of(self, *splits: str) -> Stage:
        """The same for some splits alone."""
        units = [unit for unit in self.parts.units if unit.split in splits]
        return replace(self, parts=Parts(self.parts.folder, self.parts.forms, units))

    def fill(self, device: torch.device, threads: int, told: Progress = lambda done, of: None) -> Parts:
        """What is stored, once all of it is there, whoever computed it. Raises UserError where it cannot be stored."""
        there = tidy(self.parts, IDLE)
        if FILE not in there:
            self.parts.folder.write(FILE, self.key.to_json().encode())
        torch.set_flush_denormal(True)  # as the engine does
        self.method.sam.to(device)
        fill_soundly(self.parts, self._making(device, threads), told)
        return self.parts

    def _making(self, device: torch.device, threads: int) -> Callable[[Unit, list[str]], Images]:
        forms = self.parts.forms

        def make(unit: Unit, parts: list[str]) -> Iterator[Encoded]:
            split, rows = self.dataset.split(unit.split), np.array(unit.rows, dtype=np.int64)
            batches = [(rows[i : i + 1], np.ones(1, np.float32)) for i in range(len(rows))]
            side = int(self.method.sam.image_encoder.img_size)
            loader = Loader(split, side, "pad", batches, 0, 0, train=False, threads=threads, frame=self.frame)
            with closing(iter(loader)) as stream:
                for batch in stream:
                    made = self.offline.make(batch.image[0].to(device))
                    yield Encoded({part: to_bits(made[part], forms[part].stored) for part in parts}, self.frame)

        return make


class Shelf:
    """A method's stages for whoever trains: each split of them is filled when it is first asked for."""

    def __init__(
        self, stages: Mapping[str, Stage], device: torch.device, threads: int, told: Callable[[], Progress]
    ) -> None:
        self._stages, self._device, self._threads, self._told = stages, device, threads, told
        self._filled: dict[tuple[str, str], Parts] = {}

    def reader(self, split: str, training: bool) -> Callable[[int], dict[str, Tensor]]:
        """What gives all that is stored of a row of a whole split; the reference's parts are not for training.

        Raises UserError where it cannot be stored.
        """
        wanted = {start: self._parts(start, split) for start in self._stages if not (training and start)}

        def read(row: int) -> dict[str, Tensor]:
            return {f"{start}{n}": t for start, parts in wanted.items() for n, t in parts.tensors(split, row).items()}

        return read

    def _parts(self, start: str, split: str) -> Parts:
        stage = self._stages[start]
        key = stage.parts.folder.uri, split
        if key not in self._filled:
            self._filled[key] = stage.of(split).fill(self._device, self._threads, self._told())
        return self._filled[key]


def stages_of(data: Storage, method: Method, backbone: str, dataset: Dataset) -> dict[str, Stage]:
    """What a method wants to know of a data set's images before it trains, by how its parts' names begin in a batch."""
    if not isinstance(method, Labeller):
        return {}
    manifest = dataset.manifest
    first = "train" if "train" in manifest.splits else next(iter(manifest.splits))
    frame = method.frame(*dataset.split(first).first_size())
    wanted = {"": method.offline(*frame), REFERENCE: method.reference(*frame)}
    weights = fingerprint(method.sam)
    return {
        start: _stage(data, method, backbone, dataset, frame, offline, weights)
        for start, offline in wanted.items()
        if offline is not None
    }


def _stage(
    data: Storage, method: Labeller, backbone: str, dataset: Dataset, frame: Frame, offline: Offline, weights: str
) -> Stage:
    manifest = dataset.manifest
    settings = json.loads(json.dumps(dict(offline.key)))
    key = Key(offline.name, settings, backbone, weights, frame, manifest.name, manifest.fingerprint)
    forms = {name: Form(part.shape, U8) for name, part in offline.parts.items()}
    units = [
        Unit(split, False, number, tuple(range(start, min(start + ROWS, manifest.rows(split)))))
        for split in manifest.splits
        for number, start in enumerate(range(0, manifest.rows(split), ROWS))
    ]
    return Stage(method, dataset, frame, offline, Parts(data / key.folder, forms, units), key)
