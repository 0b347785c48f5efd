"""Sweeps of several methods and datasets, a study a cell: what ``sweep`` does with ``all`` or lists."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.cells import Outcome, side_by_side
from orchestrator.cli.common import console, notes, print_json
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.grid import Cell

#: Runs one cell's sweep (method, dataset and name are in the arguments) and hands on what came of it where --json is
#: given; returns its exit code.
RunCell = Callable[[argparse.Namespace, Callable[[Any], None]], int]


def sweep_grid(a: argparse.Namespace, trials: int, dry_run: RunCell) -> int:
    """Every cell's sweep, side by side as they fit; a cell that fails leaves the others alone.

    Called again under the same NAME it goes on where it was. Exit code 1 where cells failed, 130 where it was
    interrupted. ``dry_run`` tells of one cell what would be done.
    """
    from orchestrator.cli.run import asks_for_objects
    from orchestrator.grid import cells
    from orchestrator.seeds import has_seeds
    from orchestrator.storage import Storage

    storage = Storage(a.storage)
    found = cells(a.method, a.dataset, Storage(a.data), per_object=asks_for_objects(a))
    grid = a.name or f"grid-{datetime.now():%Y%m%d-%H%M%S}"
    notes().print(
        f"{len(found)} cells of {trials} trials, as runs {grid}-METHOD-DATASET; NAME={grid} goes on with them"
    )
    heads = []
    for number, cell in enumerate(found, 1):
        name, head = cell.run_name(grid), f"[{number}/{len(found)}] {cell.method} on {cell.dataset}"
        done = False
        with contextlib.suppress(UserError):  # of a damaged run, which its own sweep will name
            done = _is_done(storage, name, trials) and (not a.seeds or has_seeds(storage, name, a.seeds))
        if done:
            notes().print(f"{head}: done before")
        else:
            heads.append((cell, head, name))
    outcome = Outcome()
    if a.dry_run:
        outcome = _in_turn(a, heads, dry_run)
    elif heads:
        with side_by_side(a, [cell for cell, *_ in heads], grid) as lanes:
            outcome = lanes.run(a, heads, trials)
    return _tell(a, grid, found, outcome)


def _in_turn(a: argparse.Namespace, heads: Sequence[tuple[Cell, str, str]], run: RunCell) -> Outcome:
    """Each cell in this process."""
    outcome = Outcome()
    for cell, head, name in heads:
        notes().print(head, style="bold")
        one = argparse.Namespace(**{**vars(a), "method": cell.method, "dataset": cell.dataset, "name": name})
        try:
            run(one, outcome.runs.append)
        except UserError as error:
            outcome.failed.append((cell, str(error)))
            notes().print(f"{head} failed: {error}", style="red", soft_wrap=True)
    return outcome


def _tell(a: argparse.Namespace, grid: str, found: Sequence[Cell], outcome: Outcome) -> int:
    """The grid's own leaderboard and the cells that failed; the exit code."""
    from orchestrator.leaderboard import leaderboard
    from orchestrator.results import read_rows
    from orchestrator.seeds import SUFFIX
    from orchestrator.storage import Storage

    names = [cell.run_name(grid) + suffix for cell in found for suffix in ("", SUFFIX)]
    rows = [row for name in names for row in read_rows(Storage(a.storage), name)]
    if a.json:
        causes = [{"method": c.method, "dataset": c.dataset, "cause": why} for c, why in outcome.failed]
        about = {"grid": grid, "cells": len(found), "interrupted": outcome.interrupted, "failed": causes}
        print_json({**about, "runs": outcome.runs, "leaderboard": leaderboard(rows)})
    else:
        _show_grid([] if a.dry_run else leaderboard(rows), outcome.failed)
        if outcome.interrupted:
            notes().print(f"interrupted; the same command with NAME={grid} goes on", soft_wrap=True)
    return 130 if outcome.interrupted else 1 if outcome.failed else 0


def _is_done(storage: Any, name: str, trials: int) -> bool:
    """Whether a cell has a row for each of its trials (or of all the points that its space has)."""
    from orchestrator import runfile
    from orchestrator.config import from_flat
    from orchestrator.space import Space
    from orchestrator.sweep import ended_rows, trials_of

    begun = runfile.load(storage, name)
    if begun is None:
        return False
    settings = from_flat(begun.settings)
    space = Space(settings, {key: settings.flat()[key] for key in begun.changes})
    rows = ended_rows(storage / name)
    # where none completed, the sweep says once more why
    return len(rows) >= trials_of(space, trials) and any(row.status == "completed" for row in rows)


def _show_grid(entries: list[dict[str, Any]], failed: Sequence[tuple[Cell, str]]) -> None:
    """The grid's own leaderboard, and the cells that failed."""
    from orchestrator.leaderboard import render

    for table in render(entries):
        console().print(table)
    for cell, why in failed:
        console().print(f"failed: {cell.method} on {cell.dataset}: {why}", style="red", soft_wrap=True)
