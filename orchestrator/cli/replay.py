"""The verb ``replay``: a recorded trial once more, and whether it gives the same."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import add_json, add_storage, add_verb, check_local, console, notes, print_json

if TYPE_CHECKING:
    from orchestrator.replay import Comparison


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "replay",
        replay,
        "run a recorded trial again and compare every number; exit code 1 where one differs",
        "samsweep replay mca-cod10k-20261120-223605/001",
    )
    p.add_argument("trial", metavar="RUN/TRIAL", help="or RUN: its best trial")
    p.add_argument("--local", action="store_true", help="in this process, one rank, without Ray")
    p.add_argument("--data", metavar="URI", help="where its data lie now (default: where they lay)")
    add_storage(p)
    add_json(p)


def replay(a: argparse.Namespace) -> int:
    from orchestrator import single
    from orchestrator.again import plan_again, recorded
    from orchestrator.alive import Heartbeat
    from orchestrator.cli.prepare import prepare_here, prepare_on
    from orchestrator.cli.run import ray_session, with_command
    from orchestrator.provenance import differences
    from orchestrator.replay import compare, differences_before, errand_of, replay_name
    from orchestrator.results import read_row
    from orchestrator.storage import Storage

    storage, say = Storage(a.storage), notes()
    then = recorded(storage, a.trial)
    errand = errand_of(then)
    check_local(a, then["workers"])
    plan = with_command(plan_again(storage, then, replay_name(storage, then), a.data), a)
    told = differences_before(then, plan)
    say.print(f"replaying '{errand.of}' as run '{plan.name}'", soft_wrap=True)
    for line in told:
        say.print(f"not as it was: {line}", style="yellow", soft_wrap=True)
    if a.local:
        with Heartbeat(plan.run):
            prepare_here(plan)
            single.train_here(plan, say, errand=errand)
    else:
        with ray_session(plan, plan.settings.flat()) as ray, Heartbeat(plan.run):
            prepare_on(ray)
            single.train_on_ray(ray.plan, ray.screen, errand=errand)
    now = read_row(storage, plan.name, errand.trial)
    assert now is not None
    for line in differences(then, now):
        if line not in told:
            say.print(f"not as it was: {line}", style="yellow", soft_wrap=True)
    comparison = compare(then, now)
    if a.json:
        print_json({"trial": errand.of, "run": plan.name, "changed": differences(then, now)} | comparison.to_json())
    else:
        _show(comparison, plan.task.objective)
    return 0 if comparison.same else 1


def _show(comparison: Comparison, objective: str) -> None:
    """A line for each epoch and the test, and the verdict."""
    from rich.table import Table

    from orchestrator.metrics import METRICS

    label = METRICS[objective].label
    table = Table("", f"{label} recorded", f"{label} replayed", "numbers", "that differ", "largest difference")
    for place in dict.fromkeys(number.place for number in comparison.numbers):
        here = [number for number in comparison.numbers if number.place == place]
        shown = next((n for n in here if n.name.removeprefix("val ") == objective), None)
        values = ["-" if v is None else f"{v:.6f}" for v in ((shown.was, shown.now) if shown else (None, None))]
        differing = sum(not n.same for n in here)
        table.add_row(place, *values, str(len(here)), str(differing), f"{max(n.apart for n in here):.3g}")
    out = console()
    out.print(table)
    if comparison.same:
        out.print(f"identical to the last digit: {len(comparison.numbers)} numbers", style="green")
    elif largest := comparison.largest:
        told = f"{largest.place}, {largest.name} is {largest.now}, was {largest.was}"
        out.print(f"different: {told} ({largest.apart:.3g} apart)", style="red", soft_wrap=True)
    if not comparison.same_order:
        out.print("different: samples were seen in another order", style="red")
    if comparison.same_checkpoint is not None:
        out.print(f"the best checkpoint is {'the same' if comparison.same_checkpoint else 'another one'}, bit for bit")
