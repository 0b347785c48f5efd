"""The verb ``plan``: what a sweep, or a grid of them, will cost."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.cli.cells import MOST
from orchestrator.cli.common import console, print_json, size_words
from orchestrator.cli.preview import rows_for_hours
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.cost import Cost
    from orchestrator.data.catalogue import Known
    from orchestrator.grid import Cell
    from orchestrator.runtime import Capacity

NOT_MEASURED = "not measured yet"


@dataclass(frozen=True)
class Totals:
    """Of all cells. The trials that fit at once are the same, whether of one cell or of several."""

    cells: int
    trials: int
    hours: float | None  #: of workers, of the cells that were measured; None where none was
    wall_hours: float | None
    unknown: int  #: cells that nothing was measured for
    kept_bytes: int
    peak_bytes: int
    data_bytes: int | None  #: of the datasets that are there; None where none is

    def money(self, price: float | None) -> float | None:
        """``price``: of an hour of a worker."""
        return None if price is None or self.hours is None else self.hours * price


def print_plan(a: argparse.Namespace, trials: int) -> None:
    """Cells, trials, hours, bytes and money before a sweep; starts nothing."""
    from orchestrator.cli.run import asks_for_objects
    from orchestrator.data.catalogue import look_up
    from orchestrator.grid import cells
    from orchestrator.storage import Storage

    if a.price is not None and not a.price >= 0:
        raise UserError(f"--price {a.price}: at least 0")
    data = Storage(a.data)
    known = cache(lambda name: look_up(name, data))  # a manifest is read once, however many cells share it
    found = cells(a.method, a.dataset, data, lambda name: known(name).entry, asks_for_objects(a))
    rows = rows_for_hours(Storage(a.storage))
    costs = [(cell, _cost(a, cell, known(cell.dataset), trials, rows)) for cell in found]
    manifests = [known(name).manifest for name in dict.fromkeys(cell.dataset for cell in found)]
    sizes = [manifest.size() for manifest in manifests if manifest]
    _show(costs, _totals([cost for _, cost in costs], sum(sizes) if sizes else None), a)


def _cost(a: argparse.Namespace, cell: Cell, known: Known, trials: int, rows: list[dict[str, Any]]) -> Cost:
    from orchestrator.cli.run import changes_of
    from orchestrator.config import make_settings
    from orchestrator.cost import Cost, images_of_epoch, stored_bytes, trial_seconds
    from orchestrator.data.tasks import judged_as
    from orchestrator.plan import STAND_IN_TRAIN, with_defaults
    from orchestrator.runtime import local_capacity
    from orchestrator.space import Space
    from orchestrator.sweep import trials_of

    changes, entry, capacity = changes_of(a), known.entry, local_capacity()
    settings = make_settings(cell.method, cell.dataset, changes)
    settings = with_defaults(settings, judged_as(entry.task, settings.per_object), changes)
    if capacity and capacity.gpus and "train.gpus_per_worker" not in changes:
        settings = settings.replace({"train.gpus_per_worker": 1.0})
    points = trials_of(Space(settings, {key: settings.flat()[key] for key in changes}), trials)
    train, has_val = (entry.train, entry.val is not None) if known.manifest else (STAND_IN_TRAIN, False)
    images = images_of_epoch(settings, train, has_val)
    at_once = a.at_once or (_fitting(capacity, settings) if capacity else None)
    return Cost(
        trials=points,
        epochs=settings.train.epochs,
        workers=settings.train.workers,
        at_once=min(at_once, points) if at_once else None,
        seconds=trial_seconds(settings, images, rows, settings.train.gpus_per_worker > 0 if capacity else None),
        bytes=stored_bytes(settings),
    )


def _fitting(capacity: Capacity, settings: Settings) -> int | None:
    """How many trials fit on this machine; None where not even one does: they may be meant for another."""
    try:
        return capacity.concurrent(settings.train)
    except UserError:
        return None


def _totals(costs: list[Cost], data_bytes: int | None) -> Totals:
    hours = [cost.hours for cost in costs if cost.hours is not None]
    clock = [cost.wall_hours for cost in costs if cost.wall_hours is not None]
    beside = min(len(costs), MOST, max(cost.at_once or 1 for cost in costs))
    kept = sum(cost.kept_bytes for cost in costs)
    return Totals(
        cells=len(costs),
        trials=sum(cost.trials for cost in costs),
        hours=sum(hours) if hours else None,
        wall_hours=sum(clock) if clock else None,
        unknown=len(costs) - len(hours),
        kept_bytes=kept,
        # cells run side by side, as many as trials fit at once
        peak_bytes=kept + max(cost.peak_bytes - cost.kept_bytes for cost in costs) * beside,
        data_bytes=data_bytes,
    )


def _show(costs: list[tuple[Cell, Cost]], totals: Totals, a: argparse.Namespace) -> None:
    from rich.table import Table

    from orchestrator.preview import cost_facts

    money = totals.money(a.price)
    if a.json:
        cells = [{"method": cell.method, "dataset": cell.dataset, **cost_facts(cost)} for cell, cost in costs]
        print_json({**vars(totals), "cells": cells, "money": money})
        return
    table = Table()
    for title in ("method", "dataset", "trials", "epochs", "hours of workers", "by the clock", "at once", "storage"):
        table.add_column(title)
    for cell, cost in costs:
        hours = NOT_MEASURED if cost.hours is None else f"{cost.hours:.2f}"
        clock = "-" if cost.wall_hours is None else f"{cost.wall_hours:.2f}"
        at_once = "?" if cost.at_once is None else str(cost.at_once)
        numbers = (str(cost.trials), str(cost.epochs), hours, clock, at_once, size_words(cost.kept_bytes))
        table.add_row(cell.method, cell.dataset, *numbers)
    out = console()
    out.print(table)
    out.print(f"{totals.cells} cells, {totals.trials} trials, {_hours(totals)}", soft_wrap=True)
    data = "not ingested yet" if totals.data_bytes is None else size_words(totals.data_bytes)
    out.print(
        f"storage: {size_words(totals.kept_bytes)} stay, {size_words(totals.peak_bytes)} while it runs; data: {data}"
    )
    if a.price is not None:
        out.print(f"at {a.price:g} an hour of a worker: {NOT_MEASURED if money is None else f'{money:.2f}'}")


def _hours(totals: Totals) -> str:
    if totals.hours is None:
        return f"hours {NOT_MEASURED}: train or sweep one of them first"
    clock = "" if totals.wall_hours is None else f" ({totals.wall_hours:.2f} by the clock)"
    more = f", and {totals.unknown} cells that nothing was measured for" if totals.unknown else ""
    return f"{totals.hours:.2f} hours of workers{clock} at most{more}"
