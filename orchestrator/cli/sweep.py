"""The verbs ``sweep``, ``resume`` and ``status``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import (
    add_cluster,
    add_json,
    add_storage,
    add_verb,
    console,
    notes,
    print_json,
    storage_option,
)
from orchestrator.cli.prepare import prepare_on
from orchestrator.cli.preview import add_dry_run, tell_preview
from orchestrator.cli.run import add_run, changes_of, finish, plan_of, ray_session
from orchestrator.cli.seeds import add_seeds, seeds_on
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.runfile import RunFile

DEFAULT_TRIALS = 6


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "sweep",
        sweep,
        "search a method's hyper-parameters with Ray Tune and Optuna",
        'samsweep sweep mca cod10k --trials 6 --set "train.lr=1e-3"',
    )
    add_run(p)
    add_cluster(p)
    p.add_argument(
        "--trials", type=int, metavar="N", help=f"in all (default {DEFAULT_TRIALS}); more than before adds some"
    )
    p.add_argument("--at-once", type=int, metavar="N", help="trials side by side (default: as many as fit)")
    add_dry_run(p)
    p.add_argument(
        "--warm-start",
        metavar="auto|off|RUN,...",
        help="learn from these runs' trials; auto (default): finished sweeps of this method on other data, and of "
        "other methods on this data",
    )
    p.add_argument(
        "--objectives",
        metavar="quality,...",
        help="also seconds or trained_parameters: searches the Pareto front (default quality)",
    )
    p = add_verb(
        verbs,
        "plan",
        plan,
        "what a sweep, or a grid of them, will cost; starts nothing",
        "samsweep plan all all --trials 6",
    )
    add_run(p)
    p.add_argument("--trials", type=int, metavar="N", help=f"of each cell (default {DEFAULT_TRIALS})")
    p.add_argument("--price", type=float, metavar="X", help="of an hour of a worker: prints the money, too")
    p.add_argument("--at-once", type=int, metavar="N", help="trials side by side (default: as this machine can)")
    p = add_verb(
        verbs,
        "resume",
        resume,
        "go on with a sweep that was cut off, or add trials to it",
        "samsweep resume mca-cod10k-20261120-223605",
    )
    p.add_argument("name", metavar="NAME", help="of the sweep")
    p.add_argument("--trials", type=int, metavar="N", help="in all (default: as many as before)")
    p.add_argument("--at-once", type=int, metavar="N", help="trials side by side (default: as many as fit)")
    add_seeds(p, "afterwards, the best settings with N more seeds")
    p.add_argument("--data", metavar="URI", help="where its data lie now (default: where they lay)")
    add_cluster(p)
    add_dry_run(p)
    add_storage(p)
    add_json(p)
    p = add_verb(verbs, "status", status, "how far the sweeps are, and whether anybody runs them", "samsweep status")
    p.add_argument("name", nargs="?", metavar="NAME", help="of one sweep (default: all)")
    add_storage(p)
    add_json(p)


def sweep(a: argparse.Namespace) -> int:
    """Begin a sweep, or go on with the one of that NAME; of several methods or datasets a sweep each."""
    from orchestrator.grid import is_grid

    if is_grid(a.method, a.dataset):
        from orchestrator.cli.grid import sweep_grid

        return sweep_grid(a, _wanted(a, None), begin_or_go_on)
    return begin_or_go_on(a)


def plan(a: argparse.Namespace) -> None:
    """The cost of a sweep or a grid, before it."""
    from orchestrator.cli.plan import print_plan

    print_plan(a, _wanted(a, None))


def begin_or_go_on(a: argparse.Namespace, tell: Callable[[Any], None] = print_json) -> int:
    """One sweep of one method on one dataset; ``tell`` takes what came of it where --json is given."""
    from orchestrator import runfile
    from orchestrator.storage import Storage

    return _sweep(a, changes_of(a), runfile.load(Storage(a.storage), a.name) if a.name else None, tell)


def resume(a: argparse.Namespace) -> int:
    from orchestrator import runfile
    from orchestrator.storage import Storage

    storage = Storage(a.storage)
    begun = runfile.load(storage, a.name)
    if begun is None:
        raise runfile.missing(storage, a.name)
    a.method, a.dataset, a.data = begun.method, begun.dataset, a.data or begun.data
    a.warm_start = a.objectives = None
    return _sweep(a, begun.changes, begun)


def _sweep(
    a: argparse.Namespace,
    changes: dict[str, Any],
    begun: RunFile | None,
    tell: Callable[[Any], None] = print_json,
) -> int:
    from orchestrator import runfile
    from orchestrator.alive import Heartbeat
    from orchestrator.console import SweepView
    from orchestrator.sampler import Lesson
    from orchestrator.space import Space
    from orchestrator.storage import Storage
    from orchestrator.sweep import best_row, run_sweep, trials_of
    from orchestrator.warm import WarmPoint

    wanted = _wanted(a, begun)
    plan = plan_of(a, changes, continues=begun is not None, dry=a.dry_run)
    fixed = {k: plan.settings.flat()[k] for k in changes}
    space = Space(plan.settings, fixed)
    trials = trials_of(space, wanted)
    if trials < wanted:
        notes().print(f"the search space has {trials} points in all: {trials} trials")
    now = runfile.describe(plan, changes, space, Storage(a.data), trials, **_search(a, plan, space, trials, begun))
    if begun and not plan.fingerprint:  # of a stand-in that a dry run does not draw
        now = dataclasses.replace(now, fingerprint=begun.fingerprint)
    done = _continue(plan, begun, now) if begun else []
    if a.dry_run:
        warm = [point["point"] for point in now.warm]
        return tell_preview(plan, a, changes, tell, trials=trials, space=space, done=len(done), warm=warm)
    session = ray_session(
        plan,
        changes,
        begin=lambda: now.save(plan.run),
        advice=f"; go on with: samsweep resume {plan.name}{storage_option(a)}",
        at_once=a.at_once or trials,
    )
    with session as ray, Heartbeat(plan.run):
        prepare_on(ray)
        at_once = min(ray.capacity.concurrent(ray.plan.settings.train), a.at_once or trials)
        points, lessons = [WarmPoint(**p) for p in now.warm], [Lesson(**one) for one in now.lessons]
        with SweepView(ray.plan, trials, ray.screen, done, at_once) as view:
            outcome = run_sweep(ray.plan, trials, fixed, at_once, ray.folder, view, points, now.objectives, lessons)
        best = None if outcome.interrupted else best_row(outcome.rows, plan.task.mode)
        seeds = seeds_on(a, ray) if a.seeds and best else None
    return finish(plan, outcome.rows, a, outcome.interrupted, seeds, tell, now.objectives)


def _search(a: argparse.Namespace, plan: Any, space: Any, trials: int, begun: RunFile | None) -> dict[str, Any]:
    """How it searches, as ``RunFile`` has it. What a sweep starts from is decided once, when it begins."""
    from orchestrator import objectives, warm

    if begun:
        wanted = objectives.parse(a.objectives) if a.objectives is not None else begun.objectives
        kept = {"warm": begun.warm, "lessons": begun.lessons}
        return {"warm_start": a.warm_start or begun.warm_start, **kept, "objectives": list(wanted)}
    wanted = objectives.parse(a.objectives or objectives.QUALITY)
    start = a.warm_start or warm.AUTO
    points, remarks = warm.warm_points(plan, space, trials, start)
    lessons = [] if len(wanted) > 1 else warm.lessons_of(plan, space, start)  # good is good in one sense only
    for line in [*remarks, *([warm.words(points, lessons)] if points or lessons else [])]:
        notes().print(line, style="dim", soft_wrap=True)
    taken = {"warm": [point.to_json() for point in points], "lessons": [one.to_json() for one in lessons]}
    return {"warm_start": start, **taken, "objectives": list(wanted)}


def _wanted(a: argparse.Namespace, begun: RunFile | None) -> int:
    """How many trials there shall be in all."""
    if a.at_once is not None and a.at_once < 1:
        raise UserError(f"--at-once {a.at_once}: at least 1")
    wanted: int = a.trials if a.trials is not None else begun.trials if begun else DEFAULT_TRIALS
    if wanted < 1:
        raise UserError(f"TRIALS={wanted}: at least 1")
    if begun and wanted < begun.trials:
        raise UserError(f"TRIALS={wanted}: sweep '{a.name}' has {begun.trials} already; give as many or more")
    return wanted


def _continue(plan: Any, begun: RunFile, now: RunFile) -> list[Any]:
    """The rows that are there already. Raises UserError where the sweep must not be gone on with."""
    from orchestrator.alive import check_alone
    from orchestrator.sweep import ended_rows

    check_alone(plan.run, plan.name)
    begun.check_same(now, plan.name)
    done = ended_rows(plan.run)
    notes().print(f"going on with sweep '{plan.name}': {len(done)} of {now.trials} trials are done")
    return done


def status(a: argparse.Namespace) -> None:
    from rich.table import Table

    from orchestrator import runfile
    from orchestrator.leaderboard import pareto_table
    from orchestrator.status import read_status
    from orchestrator.storage import Storage

    storage = Storage(a.storage)
    found = [read_status(storage, name) for name in ([a.name] if a.name else runfile.names(storage))]
    if a.json:
        print_json([sweep.to_json() for sweep in found])
        return
    out = console()
    if not found:
        out.print(f"no sweep under {a.storage}; start with: make sweep METHOD=mca DATASET=cod10k")
        return
    table = Table()
    for title in ("sweep", "trials", "completed", "pruned", "failed", "begun", "to come", "best"):
        table.add_column(title, overflow="fold")
    for sweep in found:
        counts = [sweep.count(kind) for kind in ("completed", "pruned", "failed")]
        table.add_row(sweep.name, *map(str, (sweep.trials, *counts, len(sweep.begun), sweep.to_come)), sweep.best_words)
    out.print(table)
    for sweep in found:
        for trial in sweep.begun if a.name else ():
            out.print(f"trial {trial.trial}: epoch {trial.epoch} of {sweep.epochs}, {trial.best_words}")
        if a.name and sweep.front:
            out.print(pareto_table(sweep.front, sweep.objective))
        out.print(f"{sweep.name}: {sweep.driver_words}{storage_option(a) if sweep.abandoned else ''}", soft_wrap=True)
