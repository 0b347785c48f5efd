"""What a sweep optimises: quality alone, or quality against what a trial costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from orchestrator.errors import UserError, unknown
from orchestrator.results import Row

QUALITY = "quality"  #: the task's own objective: the best epoch's value

#: What a trial costs, each the smaller the better.
COSTS: dict[str, Callable[[Row], float]] = {
    "seconds": lambda row: math.fsum(e["seconds"] + (e["eval_seconds"] or 0.0) for e in row.epochs),
    "trained_parameters": lambda row: row.last.get("trained_parameters") or 0,
}


def parse(text: str) -> tuple[str, ...]:
    """The objectives of ``quality,seconds``, quality first. Raises UserError for an unknown one, or without quality."""
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for name in names:
        if name != QUALITY and name not in COSTS:
            raise unknown("objective", name, [QUALITY, *COSTS])
    if QUALITY not in names:
        raise UserError(f"OBJECTIVES={text}: without quality the cheapest trial is the best; add it: quality,{text}")
    return (QUALITY, *(name for name in names if name != QUALITY))


def costs(row: Row, objectives: Sequence[str]) -> tuple[float, ...]:
    """What a trial cost by each objective but the first, which is quality."""
    return tuple(COSTS[name](row) for name in objectives[1:])


def pareto_front(rows: Sequence[Row], objectives: Sequence[str], mode: str) -> list[Row]:
    """The completed trials that no other one equals or beats in everything and beats in something; best quality first.

    ``mode``: quality's, 'max' or 'min'.
    """
    done = [row for row in rows if row.status == "completed"]
    losses = {row.trial: (-row.best if mode == "max" else row.best, *costs(row, objectives)) for row in done}
    usable = [row for row in done if all(map(math.isfinite, losses[row.trial]))]

    def beaten(row: Row) -> bool:
        own = losses[row.trial]
        others = (losses[other.trial] for other in usable)
        return any(loss != own and all(a <= b for a, b in zip(loss, own, strict=True)) for loss in others)

    return sorted((row for row in usable if not beaten(row)), key=lambda row: (losses[row.trial], row.trial))
