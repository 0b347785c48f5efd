"""What a run would be, if it were started: everything resolved and checked, nothing begun."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.config import make_settings
from orchestrator.cost import Cost, stored_bytes, trial_seconds
from orchestrator.data.reader import held_out_count, open_dataset
from orchestrator.data.schema import Manifest, load_manifest
from orchestrator.job import selection_splits
from orchestrator.plan import STAND_IN_TEST, STAND_IN_TRAIN, Plan
from orchestrator.runtime import local_capacity, with_gpus
from orchestrator.space import Space


@dataclass(frozen=True)
class Preview:
    """A run that is not started."""

    plan: Plan
    changed: dict[str, Any]  #: the settings that differ from the defaults
    images: dict[str, int]  #: of each split, as they will be used
    data_bytes: int | None  #: None for a stand-in that is not drawn yet
    cost: Cost
    done: int = 0  #: trials of an earlier process
    dimensions: list[str] = field(default_factory=list)  #: of the search, with their ranges
    first_points: list[dict[str, Any]] = field(default_factory=list)  #: what is tried before the sampler has a say

    def to_json(self) -> dict[str, Any]:
        """All of it, with all settings."""
        plan, cost = self.plan, self.cost
        return {
            "dry_run": True,
            "run": plan.name,
            "results": plan.run.uri,
            "settings": plan.settings.flat(),
            "changed": self.changed,
            "data": plan.data.uri,
            "stand_in": plan.stand_in,
            "fingerprint": plan.fingerprint or None,
            "images": self.images,
            "data_bytes": self.data_bytes,
            "dimensions": self.dimensions,
            "first_points": self.first_points,
            "done": self.done,
            **cost_facts(cost),
        }


def cost_facts(cost: Cost) -> dict[str, Any]:
    """A cost in plain values."""
    hours = {"hours": cost.hours, "wall_hours": cost.wall_hours}
    size = {"kept_bytes": cost.kept_bytes, "peak_bytes": cost.peak_bytes}
    return {**{k: v for k, v in asdict(cost).items() if k not in ("bytes", "seconds")}, **hours, **size}


def preview(
    plan: Plan,
    gpus_given: bool,
    rows: Iterable[dict[str, Any]],
    trials: int = 1,
    space: Space | None = None,
    done: int = 0,
    alone: bool = False,
    warm: Sequence[dict[str, Any]] = (),
) -> Preview:
    """What a checked plan would run.

    Args:
        gpus_given: whether the user said how many GPUs a worker has.
        rows: of finished trials, for the hours.
        space: of a sweep.
        done: its trials that are over.
        alone: in one process, without Ray.
        warm: points of other sweeps, tried after the first ones.

    Raises:
        UserError: no trial fits on this machine.
    """
    capacity = None if alone else local_capacity()
    at_once = 1 if alone else None
    if capacity:
        plan = with_gpus(plan, capacity, gpus_given)
        at_once = capacity.concurrent(plan.settings.train)
    settings, manifest = plan.settings, load_manifest(plan.data, plan.settings.dataset)
    images = _images(plan, manifest)
    epoch = settings.train.samples or images["train"]
    on_gpu = settings.train.gpus_per_worker > 0 if capacity else None
    rest = max(0, trials - done)
    defaults = make_settings(settings.method, settings.dataset).flat()
    return Preview(
        plan=plan,
        changed={key: value for key, value in settings.flat().items() if value != defaults[key]},
        images=images,
        data_bytes=manifest.size() if manifest else None,
        cost=Cost(
            trials=rest,
            epochs=settings.train.epochs,
            workers=settings.train.workers,
            at_once=min(at_once, max(1, rest)) if at_once else None,
            seconds=trial_seconds(settings, epoch, rows, on_gpu),
            bytes=stored_bytes(settings),
        ),
        done=done,
        dimensions=space.describe() if space else [],
        first_points=[*space.first_points(), *warm] if space and not done else [],
    )


def _images(plan: Plan, manifest: Manifest | None) -> dict[str, int]:
    """The images of each split as a run uses them; where that would fetch shards, groups are not counted on."""
    settings = plan.settings
    if manifest and plan.data.is_local:
        opened = open_dataset(plan.data, settings.dataset)
        train, val, chosen_on = selection_splits(opened, settings)
        return {"train": len(train), chosen_on: len(val), "test": len(opened.split("test"))}
    drawn = {"train": STAND_IN_TRAIN, "test": STAND_IN_TEST}
    sizes = {split: manifest.rows(split) for split in manifest.splits} if manifest else drawn
    if "val" in sizes or "train" not in sizes or not settings.data.val_fraction:
        return sizes
    val_count = held_out_count(sizes["train"], settings.data.val_fraction)
    return {**sizes, "train": sizes["train"] - val_count, "val": val_count}
