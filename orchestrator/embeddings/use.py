"""A job's embeddings: what it needs of them, filled and checked before it trains; or none, and why."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.base import Method
from orchestrator.config import Settings
from orchestrator.data.order import epoch_part
from orchestrator.data.reader import Dataset, DataSplit
from orchestrator.embeddings.encode import encoding, forms_of
from orchestrator.embeddings.fill import Unit
from orchestrator.embeddings.key import EMBEDDING, FILE, Key, shard_rows
from orchestrator.embeddings.room import IDLE, make_room
from orchestrator.embeddings.shards import BF16, FP32
from orchestrator.embeddings.sound import fill_soundly, tidy
from orchestrator.embeddings.store import Embeddings
from orchestrator.errors import UserError
from orchestrator.storage import Storage

if TYPE_CHECKING:
    from orchestrator.engine import Engine

FEW = 0.5  #: the share of a split's rows below which they have shards of their own

Wanted = set[tuple[str, bool, int]]  #: split, mirrored or not, row of the split


def stored_as(method: Method, settings: Settings, computed: torch.dtype) -> str:
    """'fp32' or 'bf16' where embeddings of this method may be stored and are wanted; '' where not."""
    wanted = settings.data.embeddings
    trains = any(parameter.requires_grad for parameter in method.sam.image_encoder.parameters())
    if wanted == "off" or not method.frozen_encoder or trains or method.augment not in ("none", "flip"):
        return ""
    if wanted == "auto":
        return BF16 if computed is torch.bfloat16 else FP32
    return wanted


def open_embeddings(
    storage: Storage, engine: Engine, dataset: Dataset, measured: Iterable[DataSplit], weights: str
) -> Embeddings | None:
    """The embeddings of all that an engine trains on and is ``measured`` by, computed where nobody has.

    None where the method has none that last, or where they cannot be stored, which is logged: the trial then runs
    the encoder. On all ranks at once, with the same answer. ``weights``: the backbone's fingerprint.
    """
    stored = stored_as(engine.method, engine.settings, engine.dtype)
    if not stored:
        return None
    forms = forms_of(engine.method, stored)
    key = Key(
        backbone=engine.settings.backbone.name,
        weights=weights,
        side=engine.side,
        resize=engine.method.resize,
        computed=BF16 if engine.dtype is torch.bfloat16 else FP32,
        stored=stored,
        dataset=engine.settings.dataset,
        data=dataset.manifest.fingerprint,
    )
    sizes = {name: dataset.manifest.rows(name) for name in dataset.manifest.splits}
    units = units_of(_wanted(engine, measured), sizes, shard_rows(forms[EMBEDDING].bytes))
    embeddings = Embeddings(storage / key.folder, forms, units)
    trouble = ""
    try:
        if engine.ranks.first:
            _prepare(storage, key, embeddings)
    except (UserError, OSError) as error:
        trouble = str(error)
    trouble = engine.ranks.gather(trouble)[0]
    if not trouble:
        try:
            _fill(embeddings, engine, dataset)
        except (UserError, OSError) as error:
            trouble = str(error)
        trouble = next((told for told in engine.ranks.gather(trouble) if told), "")
    if trouble and engine.ranks.first:
        logging.getLogger("samsweep").warning("going on without stored embeddings: %s", trouble)
    return None if trouble else embeddings


def units_of(wanted: Wanted, sizes: Mapping[str, int], rows: int) -> list[Unit]:
    """The shards of these rows, ``rows`` in each; ``sizes``: of the splits.

    Every shard holds its part of the split whole, so that it serves whoever holds out other rows; but where few of
    a split are asked for (its held-out part, by a method that trains nothing), they have shards of their own.
    """
    found: list[Unit] = []
    for split, flipped in sorted({(split, flipped) for split, flipped, _ in wanted}):
        asked = sorted(row for s, f, row in wanted if (s, f) == (split, flipped))
        if len(asked) < FEW * sizes[split]:
            some = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
            parts = {i // rows: asked[i : i + rows] for i in range(0, len(asked), rows)}
        else:
            some, last = "", sizes[split]
            parts = {n: list(range(n * rows, min(last, (n + 1) * rows))) for n in {row // rows for row in asked}}
        found += [Unit(split, flipped, number, tuple(parts[number]), some) for number in sorted(parts)]
    return found


def _wanted(engine: Engine, measured: Iterable[DataSplit]) -> Wanted:
    """Every row that some epoch trains on or is measured by."""
    train, t = engine.train_split, engine.settings.train
    wanted = {(split.name, False, split.source_row(i)) for split in measured for i in range(len(split))}
    if engine.optimizer is not None:
        flips = (False, True) if engine.method.augment == "flip" else (False,)
        seen: Iterable[int] = range(len(train))
        if 0 < t.samples * t.epochs < len(train):
            seen = np.concatenate([epoch_part(len(train), t.seed, e, t.samples) for e in range(1, t.epochs + 1)])
        wanted |= {(train.name, flip, train.source_row(int(i))) for i in seen for flip in flips}
    return wanted


def _prepare(storage: Storage, key: Key, embeddings: Embeddings) -> None:
    """Clean up, make room for what is missing, and let the entry begin. Raises UserError where there is none."""
    there, forms = tidy(embeddings, IDLE), embeddings.forms
    missing = sum(len(u.rows) * forms[part].bytes for u in embeddings.units for part in u.missing(list(forms), there))
    if missing:
        make_room(storage, key.folder, missing)
    if FILE not in there:
        embeddings.folder.write(FILE, key.to_json().encode())
    embeddings.touch()


def _fill(embeddings: Embeddings, engine: Engine, dataset: Dataset) -> None:
    """Run the encoder where nobody has. Raises UserError where the shards come out damaged."""
    torch.set_flush_denormal(True)  # as the engine does: the same numbers as without the cache
    make = encoding(
        engine.method, dataset.split, embeddings.forms, engine.device, engine.dtype, engine.settings.data.threads
    )
    fill_soundly(embeddings, make, Told(engine.on_step))


class Told:
    """Tells of a filling as steps of an epoch 0, where there is something to fill."""

    def __init__(self, on_step: Callable[[int, int, int], None]) -> None:
        self._on_step, self._told = on_step, -1

    def __call__(self, done: int, of: int) -> None:
        if self._told < 0:
            self._told = done
        elif done > self._told:
            self._told = done
            self._on_step(0, done, of)
