"""What ``--dry-run`` of ``sweep`` and ``train`` prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import console, notes, print_json, size_words
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.cost import Cost
    from orchestrator.preview import Preview

SHOWN = 3  #: points of the search


def add_dry_run(p: argparse.ArgumentParser) -> None:
    p.add_argument("--dry-run", action="store_true", help="check everything and print what would run; starts nothing")


def tell_preview(
    plan: Any,
    a: argparse.Namespace,
    changes: dict[str, Any],
    tell: Callable[[Any], None] = print_json,
    **about: Any,
) -> int:
    """Print what a plan would run, or ``tell`` it where --json is given. ``about`` the run: as ``preview`` takes it."""
    from orchestrator.preview import preview

    found = preview(plan, "train.gpus_per_worker" in changes, rows_for_hours(plan.storage), **about)
    if a.json:
        tell(found.to_json())
    else:
        _show(found)
    return 0


def rows_for_hours(storage: Any) -> list[dict[str, Any]]:
    """All rows under STORAGE; a damaged one is said, and then there are no hours."""
    from orchestrator.results import read_rows

    try:
        return read_rows(storage)
    except UserError as error:
        notes().print(f"no hours: {error}", style="yellow", soft_wrap=True)
        return []


def hours_words(cost: Cost) -> str:
    """``1.20 of workers at most, 0.60 by the clock``."""
    if cost.hours is None:
        return "not measured yet"
    clock = "" if cost.wall_hours is None else f", {cost.wall_hours:.2f} by the clock"
    return f"{cost.hours:.2f} of workers{clock}, at most"


def _show(found: Preview) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _lines(found):
        table.add_row(key, value)
    console().print(table)
    notes().print("nothing was started (--dry-run)", style="dim")


def _lines(found: Preview) -> list[tuple[str, str]]:
    plan, cost = found.plan, found.cost
    images = ", ".join(f"{split} {count}" for split, count in found.images.items())
    size = "" if found.data_bytes is None else f"; {size_words(found.data_bytes)}"
    known = f"fingerprint {plan.fingerprint[:12]}" if plan.fingerprint else "would be drawn"
    side_by_side = "as many at once as the cluster takes" if cost.at_once is None else f"{cost.at_once} at once"
    more = f" more ({found.done} are done)" if found.done else ""
    workers = f"{cost.workers} worker{'s' if cost.workers > 1 else ''}"
    lines = [
        ("run", plan.name),
        ("results", plan.run.uri),
        ("method", f"{plan.settings.method} on {plan.settings.backbone.name}"),
        ("data", f"{plan.settings.dataset}{' (STAND-IN)' if plan.stand_in else ''}, {known}"),
        ("images", images + size),
        *[("set" if not i else "", f"{key}={value}") for i, (key, value) in enumerate(found.changed.items())],
        *[("search" if not i else "", dimension) for i, dimension in enumerate(found.dimensions)],
        *[("first" if not i else "", _point(point)) for i, point in enumerate(found.first_points[:SHOWN])],
        ("trials", f"{cost.trials}{more}, each of {cost.epochs} epochs with {workers}, {side_by_side}"),
        ("hours", hours_words(cost)),
        ("storage", f"{size_words(cost.kept_bytes)} stay, {size_words(cost.peak_bytes)} while it runs"),
    ]
    if len(found.first_points) > SHOWN:
        at = next(i for i, (key, _) in enumerate(lines) if key == "trials")
        lines.insert(at, ("", f"and {len(found.first_points) - SHOWN} more points"))
    return lines


def _point(point: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in point.items())
