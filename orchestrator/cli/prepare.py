"""The verb ``prepare``: what a method wants to know before its first trial."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.cli.common import add_cluster, add_verb, check_local, console, notes, print_json
from orchestrator.cli.run import add_run, changes_of, plan_of, ray_session
from orchestrator.errors import UserError


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "prepare",
        prepare,
        "a method's teacher and its offline stage, once for all trials; sweep and train do so by themselves",
        "samsweep prepare goodsam densepass",
    )
    add_run(p)
    p.add_argument("--local", action="store_true", help="in this process, without Ray")
    add_cluster(p)


def prepare(a: argparse.Namespace) -> None:
    """Make both, or what of them is missing; Ctrl-C and a second call go on."""
    from orchestrator.offline.prepare import needs_something

    if a.name:
        raise UserError(f"NAME={a.name}: what is prepared belongs to no run; leave it out")
    check_local(a, changes_of(a).get("train.workers", 1))
    plan = plan_of(a, changes_of(a))
    if not needs_something(plan.settings):
        console().print(f"method '{a.method}' needs nothing before its first trial")
        return
    if a.local:
        prepare_here(plan)
    else:
        try:
            with ray_session(plan, changes_of(a)) as ray:
                prepare_on(ray)
        finally:
            plan.run.remove()  # there is no run
    if a.json:
        print_json({"method": a.method, "dataset": a.dataset, "data": plan.data.uri, "storage": plan.storage.uri})
    else:
        console().print(f"{a.method} on {a.dataset}: prepared under {plan.data.uri} and {plan.storage.uri}")


def prepare_on(ray: Any) -> None:
    """On a session's Ray, before its first trial."""
    from rich.console import Console

    from orchestrator.offline.on_ray import prepare_on_ray
    from orchestrator.offline.view import PreparationView

    room = ray.capacity.ranks(ray.plan.settings.train)
    with PreparationView(Console(file=ray.screen, markup=False, highlight=False)) as view:
        prepare_on_ray(ray.plan, room, view)


def prepare_here(plan: Any) -> None:
    """In this process, with as many threads as a rank under Ray has: the numbers are the same."""
    from orchestrator.build import pick_device
    from orchestrator.offline.prepare import prepare as run
    from orchestrator.offline.view import PreparationView
    from orchestrator.single import as_a_rank

    with PreparationView(notes()) as view, as_a_rank(plan, pick_device()):
        run(plan.settings, plan.data, plan.storage, view)
