"""Sweeps of several methods and datasets, a study a cell: what ``sweep`` does with ``all`` or lists, and ``plan``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import console, notes, print_json
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.grid import Cell

#: Runs one cell's sweep (method, dataset and name are in the arguments); returns its exit code.
RunCell = Callable[[argparse.Namespace], int]


def sweep_grid(a: argparse.Namespace, trials: int, run_cell: RunCell) -> int:
    """Every cell's sweep, one after the other; a cell that fails leaves the others alone.

    Called again under the same NAME it goes on where it was. Exit code 1 where cells failed, 130 where it was
    interrupted.
    """
    from orchestrator.grid import cells
    from orchestrator.seeds import has_seeds
    from orchestrator.storage import Storage

    storage = Storage(a.storage)
    found = cells(a.method, a.dataset, Storage(a.data))
    grid = a.name or f"grid-{datetime.now():%Y%m%d-%H%M%S}"
    notes().print(f"{len(found)} cells of {trials} trials, as runs {grid}-METHOD-DATASET; the same NAME goes on")
    failed: list[tuple[Cell, str]] = []
    for number, cell in enumerate(found, 1):
        name, head = cell.run_name(grid), f"[{number}/{len(found)}] {cell.method} on {cell.dataset}"
        if _is_done(storage, name, trials) and (not a.seeds or has_seeds(storage, name, a.seeds)):
            notes().print(f"{head}: done before")
            continue
        notes().print(head, style="bold")
        one = argparse.Namespace(**{**vars(a), "method": cell.method, "dataset": cell.dataset, "name": name})
        try:
            if run_cell(one) == 130:
                return 130
        except UserError as error:
            failed.append((cell, str(error)))
            notes().print(f"{head} failed: {error}", style="red", soft_wrap=True)
    _tell(storage, grid, found, failed, a.json)
    return 1 if failed else 0


def _is_done(storage: Any, name: str, trials: int) -> bool:
    """Whether a cell has a row for each of its trials (or of all the points that its space has)."""
    from orchestrator import runfile
    from orchestrator.sweep import ended_rows

    begun = runfile.load(storage, name)
    return begun is not None and len(ended_rows(storage / name)) >= min(begun.trials, trials)


def _tell(storage: Any, grid: str, found: Sequence[Cell], failed: Sequence[tuple[Cell, str]], as_json: bool) -> None:
    """The grid's own leaderboard, and the cells that failed."""
    from orchestrator.leaderboard import leaderboard, render
    from orchestrator.results import read_rows
    from orchestrator.seeds import SUFFIX

    runs = [cell.run_name(grid) + suffix for cell in found for suffix in ("", SUFFIX)]
    rows = [row for run in runs for row in read_rows(storage, run)]
    entries = leaderboard(rows)
    if as_json:
        print_json(
            {
                "grid": grid,
                "cells": len(found),
                "failed": [{"method": c.method, "dataset": c.dataset, "cause": why} for c, why in failed],
                "leaderboard": entries,
            }
        )
        return
    for table in render(entries):
        console().print(table)
    for cell, why in failed:
        console().print(f"failed: {cell.method} on {cell.dataset}: {why}", style="red", soft_wrap=True)


def print_plan(a: argparse.Namespace, trials: int) -> None:
    """Cells, trials, hours and money before a sweep; starts nothing."""
    from orchestrator.cli.run import changes_of
    from orchestrator.config import make_settings
    from orchestrator.data.catalogue import resolve
    from orchestrator.data.schema import load_manifest
    from orchestrator.data.tasks import TASKS
    from orchestrator.grid import cells, estimate
    from orchestrator.plan import STAND_IN_TRAIN, with_defaults
    from orchestrator.results import read_rows
    from orchestrator.space import Space
    from orchestrator.storage import Storage
    from orchestrator.sweep import trials_of

    data, changes = Storage(a.data), changes_of(a)
    rows = read_rows(Storage(a.storage))
    estimates = []
    for cell in cells(a.method, a.dataset, data):
        entry = resolve(cell.dataset, data)
        settings = with_defaults(make_settings(cell.method, cell.dataset, changes), TASKS[entry.task], changes)
        images = entry.train if load_manifest(data, cell.dataset) else STAND_IN_TRAIN
        fixed = {key: settings.flat()[key] for key in changes}
        points = trials_of(Space(settings, fixed), trials) + (a.seeds or 0)
        estimates.append(estimate(cell, points, settings.train.epochs, images, settings.backbone.name, rows))
    _show(estimates, a)


def _show(estimates: Sequence[Any], a: argparse.Namespace) -> None:
    from rich.table import Table

    known = [e.hours for e in estimates if e.hours is not None]
    hours, unknown = sum(known), len(estimates) - len(known)
    money = hours * a.price if a.price else None
    if a.json:
        print_json(
            {
                "cells": [
                    {"method": e.cell.method, "dataset": e.cell.dataset, "trials": e.trials, "hours": e.hours}
                    for e in estimates
                ],
                "trials": sum(e.trials for e in estimates),
                "hours": hours,
                "unknown": unknown,
                "money": money,
            }
        )
        return
    table = Table()
    for title in ("method", "dataset", "trials", "epochs", "hours at most"):
        table.add_column(title)
    for e in estimates:
        shown = "not measured yet" if e.hours is None else f"{e.hours:.2f}"
        table.add_row(e.cell.method, e.cell.dataset, str(e.trials), str(e.epochs), shown)
    out = console()
    out.print(table)
    more = f", and {unknown} cells that nothing was measured for" if unknown else ""
    out.print(f"{len(estimates)} cells, {sum(e.trials for e in estimates)} trials, {hours:.2f} hours of a worker{more}")
    if money is not None:
        out.print(f"at {a.price:g} an hour: {money:.2f}")
