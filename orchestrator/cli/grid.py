"""Sweeps of several methods and datasets, a study a cell: what ``sweep`` does with ``all`` or lists."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import console, notes, print_json
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.grid import Cell

#: Runs one cell's sweep (method, dataset and name are in the arguments) and hands on what came of it where --json is
#: given; returns its exit code.
RunCell = Callable[[argparse.Namespace, Callable[[Any], None]], int]


def sweep_grid(a: argparse.Namespace, trials: int, run_cell: RunCell) -> int:
    """Every cell's sweep, one after the other; a cell that fails leaves the others alone.

    Called again under the same NAME it goes on where it was. Exit code 1 where cells failed, 130 where it was
    interrupted.
    """
    from orchestrator.grid import cells
    from orchestrator.leaderboard import leaderboard
    from orchestrator.results import read_rows
    from orchestrator.seeds import SUFFIX, has_seeds
    from orchestrator.storage import Storage

    storage = Storage(a.storage)
    found = cells(a.method, a.dataset, Storage(a.data))
    grid = a.name or f"grid-{datetime.now():%Y%m%d-%H%M%S}"
    notes().print(f"{len(found)} cells of {trials} trials, as runs {grid}-METHOD-DATASET; the same NAME goes on")
    failed: list[tuple[Cell, str]] = []
    runs: list[Any] = []
    interrupted = False
    for number, cell in enumerate(found, 1):
        name, head = cell.run_name(grid), f"[{number}/{len(found)}] {cell.method} on {cell.dataset}"
        if _is_done(storage, name, trials) and (not a.seeds or has_seeds(storage, name, a.seeds)):
            notes().print(f"{head}: done before")
            continue
        notes().print(head, style="bold")
        one = argparse.Namespace(**{**vars(a), "method": cell.method, "dataset": cell.dataset, "name": name})
        try:
            interrupted = run_cell(one, runs.append) == 130
        except UserError as error:
            failed.append((cell, str(error)))
            notes().print(f"{head} failed: {error}", style="red", soft_wrap=True)
        if interrupted:
            break
    names = [cell.run_name(grid) + suffix for cell in found for suffix in ("", SUFFIX)]
    rows = [row for name in names for row in read_rows(storage, name)]
    if a.json:
        causes = [{"method": c.method, "dataset": c.dataset, "cause": why} for c, why in failed]
        about = {"grid": grid, "cells": len(found), "interrupted": interrupted, "failed": causes, "runs": runs}
        print_json({**about, "leaderboard": leaderboard(rows)})
    elif not interrupted:
        _show_grid([] if a.dry_run else leaderboard(rows), failed)
    return 130 if interrupted else 1 if failed else 0


def _is_done(storage: Any, name: str, trials: int) -> bool:
    """Whether a cell has a row for each of its trials (or of all the points that its space has)."""
    from orchestrator import runfile
    from orchestrator.sweep import ended_rows

    begun = runfile.load(storage, name)
    return begun is not None and len(ended_rows(storage / name)) >= min(begun.trials, trials)


def _show_grid(entries: list[dict[str, Any]], failed: Sequence[tuple[Cell, str]]) -> None:
    """The grid's own leaderboard, and the cells that failed."""
    from orchestrator.leaderboard import render

    for table in render(entries):
        console().print(table)
    for cell, why in failed:
        console().print(f"failed: {cell.method} on {cell.dataset}: {why}", style="red", soft_wrap=True)
