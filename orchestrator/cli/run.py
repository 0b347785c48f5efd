"""The verbs ``methods`` and ``train``, and what ``sweep`` shares with the latter."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.cli.common import (
    add_cluster,
    add_data,
    add_json,
    add_storage,
    add_verb,
    check_local,
    console,
    notes,
    print_json,
    storage_option,
)
from orchestrator.cli.preview import add_dry_run, tell_preview
from orchestrator.cli.seeds import SeedsRun, add_seeds, seeds_here, seeds_on
from orchestrator.errors import UserError

GALLERY = 8  #: test images that are drawn after a run


def add_verbs(verbs: Any) -> None:
    p = add_verb(verbs, "methods", methods, "list methods, or one method's options", "samsweep methods mca")
    p.add_argument("name", nargs="?", metavar="METHOD")
    add_json(p)
    p = add_verb(verbs, "train", train, "train one setting of a method", "samsweep train sam_adapter cod10k --epochs 4")
    add_run(p)
    p.add_argument("--local", action="store_true", help="in this process, one rank, without Ray")
    add_cluster(p)
    add_dry_run(p)


def add_run(p: argparse.ArgumentParser) -> None:
    p.add_argument("method", metavar="METHOD", help="see `samsweep methods`; sweep and plan take a,b or all")
    p.add_argument("dataset", metavar="DATASET", help="see `samsweep datasets`; the same")
    p.add_argument("--epochs", metavar="N", help="default: as the papers; fewer with vit_t")
    p.add_argument("--backbone", metavar="SIZE", help="vit_t (default), vit_b, vit_l or vit_h")
    p.add_argument("--workers", metavar="N", help="DDP ranks of a trial (default 1); 1:4 goes on with fewer than 4")
    p.add_argument("--seed", metavar="N", help="default 0")
    add_seeds(p, "afterwards, the best settings with N more seeds: mean and spread")
    p.add_argument("--set", default="", metavar='"KEY=VALUE ..."', help="any setting; fixes it in a sweep")
    p.add_argument("--name", metavar="NAME", help="of the run (default: method, dataset and time)")
    add_data(p)
    add_storage(p)
    add_json(p)


def methods(a: argparse.Namespace) -> None:
    from rich.table import Table

    from methods import registry
    from orchestrator.config import describe
    from orchestrator.errors import unknown

    if a.name and a.name not in registry.names():
        raise unknown("method", a.name, registry.names())
    if a.name:
        method = registry.load(a.name)
        options = describe(method.Options())
        if a.json:
            print_json([{"name": f"method.{n}", "default": d, "help": h} for n, d, h in options])
            return
        table = Table(title=f"{method.title} ({method.paper})", title_justify="left")
        for title in ("setting", "default", "what it is"):
            table.add_column(title, overflow="fold")
        for name, default, help in options:
            table.add_row(f"method.{name}", str(default), help)
        console().print(table)
        return
    found = [(name, registry.load(name)) for name in registry.names()]
    if a.json:
        print_json([{"name": n, "title": m.title, "paper": m.paper} for n, m in found])
        return
    table = Table()
    for title in ("name", "title", "paper"):
        table.add_column(title)
    for name, method in found:
        table.add_row(name, method.title, method.paper)
    console().print(table)


def train(a: argparse.Namespace) -> int:
    """Exactly one trial with the settings given, under Ray Train or in this process."""
    from orchestrator import single
    from orchestrator.alive import Heartbeat
    from orchestrator.cli.prepare import prepare_here, prepare_on

    check_local(a, changes_of(a).get("train.workers", 1))
    plan = plan_of(a, changes_of(a), dry=a.dry_run)
    if a.dry_run:
        return tell_preview(plan, a, changes_of(a), alone=a.local)
    if a.local:
        with Heartbeat(plan.run):
            prepare_here(plan)
            row = single.train_here(plan, notes())
        seeds = seeds_here(a, plan) if a.seeds else None
    else:
        with ray_session(plan, changes_of(a)) as ray, Heartbeat(plan.run):
            prepare_on(ray)
            row = single.train_on_ray(ray.plan, ray.screen)
            seeds = seeds_on(a, ray) if a.seeds else None
    return finish(plan, [row], a, interrupted=False, seeds=seeds)


def ray_session(plan: Any, changes: dict[str, Any], **more: Any) -> Any:
    from orchestrator.runtime import session

    def say(text: str) -> None:
        notes().print(text, style="dim", soft_wrap=True)

    return session(plan, "train.gpus_per_worker" in changes, say, **more)


def changes_of(a: argparse.Namespace) -> dict[str, Any]:
    """What the user typed, as dotted settings."""
    named = {
        "train.epochs": a.epochs,
        "backbone.name": a.backbone,
        **_workers(a.workers),
        "train.seed": a.seed,
    }
    return given_changes(named, a.set)


def asks_for_objects(a: argparse.Namespace) -> bool:
    """Whether SET has every data set's objects asked for one by one."""
    return changes_of(a).get("prompts.objects") == "always"


def _workers(text: str | None) -> dict[str, Any]:
    """``4``, or ``1:4``: from one to four, as the cluster has room."""
    least, colon, most = (text or "").partition(":")
    return {"train.min_workers": least, "train.workers": most} if colon else {"train.workers": text}


def given_changes(named: dict[str, Any], text: str) -> dict[str, Any]:
    """Variables of their own (None where not given) and SET, which must not disagree."""
    from orchestrator.config import parse_set

    changes: dict[str, Any] = {k: v for k, v in named.items() if v is not None}
    for key, value in parse_set(text).items():
        if key in changes and str(changes[key]) != value:
            raise UserError(f"{key} is given twice: {changes[key]} and {value}; give it once")
        changes[key] = value
    return changes


def plan_of(a: argparse.Namespace, changes: dict[str, Any], continues: bool = False, dry: bool = False) -> Any:
    from orchestrator.console import announce
    from orchestrator.plan import make_plan
    from orchestrator.storage import Storage

    say = notes()
    plan = make_plan(
        a.method,
        a.dataset,
        changes,
        Storage(a.data),
        Storage(a.storage),
        a.name,
        note=lambda text: say.print(text, style="dim"),
        continues=continues,
        dry=dry,
    )
    announce(plan, a.data, say)
    return with_command(plan, a)


def with_command(plan: Any, a: argparse.Namespace) -> Any:
    """The plan with what the user typed."""
    from orchestrator.provenance import command

    return dataclasses.replace(plan, command=command(a.words))


def finish(
    plan: Any,
    rows: list[Any],
    a: argparse.Namespace,
    interrupted: bool,
    seeds: SeedsRun | None = None,
    tell: Callable[[Any], None] = print_json,
    objectives: Sequence[str] = ("quality",),
) -> int:
    """Leaderboard (with several objectives the Pareto front, too), checkpoint and overlays of what has just run.

    ``seeds``: of its best trial. ``tell`` takes all of it where --json is given.
    """
    from orchestrator import checkpoint, runfile
    from orchestrator.leaderboard import STAND_IN, pareto_table, trials_table
    from orchestrator.objectives import pareto_front
    from orchestrator.results import TRIALS
    from orchestrator.sweep import best_row

    best = best_row(rows, plan.task.mode)
    gallery = _gallery(plan, best) if best else []
    front = pareto_front(rows, objectives, plan.task.mode) if len(objectives) > 1 else None
    if a.json:
        more = {"seeds": seeds.to_json()} if seeds else {}
        tell(_summary(plan, rows, best, gallery, interrupted, front) | more)
    else:
        out = console()
        if plan.stand_in:
            out.print(f"{STAND_IN}: drawn pictures, not comparable with the paper", style="bold red")
        out.print(trials_table(rows, plan.task.objective, plan.task.metrics, plan.task.mode))
        if front is not None:
            out.print(pareto_table(front, plan.task.objective))
        if seeds:
            seeds.show()
        if best:
            folder = plan.run / TRIALS / best.trial
            out.print(f"best checkpoint  {folder.path(checkpoint.FILE)}", soft_wrap=True)
            out.print(f"overlays         {plan.run.path('overlays/sheet.png')}", soft_wrap=True)
            rest = storage_option(a)
            predict = f"samsweep predict --run {plan.name} --images DIR --out DIR{rest}"  # no folder holds prompts
            then = f"samsweep leaderboard{rest}" if plan.task.per_object else predict
            out.print(f"next             {then}", soft_wrap=True)
    if interrupted:
        notes().print(f"interrupted; what was finished is kept under {plan.run.uri}", soft_wrap=True)
        if plan.run.exists(runfile.FILE):
            notes().print(f"go on with: samsweep resume {plan.name}{storage_option(a)}", soft_wrap=True)
        return 130
    if not best:
        cause = next((r.cause for r in rows if r.cause), "no trial completed")
        raise UserError(f"run '{plan.name}' has no completed trial: {cause}")
    return seeds.code if seeds else 0


def _gallery(plan: Any, best: Any) -> list[str]:
    from orchestrator.data.reader import open_dataset
    from orchestrator.job import apart
    from orchestrator.predict import Predictor, write_class_gallery, write_gallery, write_object_gallery

    predictor = Predictor.load(plan.storage, f"{plan.name}/{best.trial}")
    dataset = open_dataset(plan.data, plan.settings.dataset)
    split = dataset.split("test")
    if objects := apart(plan.task, plan.settings, dataset.manifest.classes, dataset.manifest.layout):
        return write_object_gallery(predictor, split, objects, plan.run / "overlays", GALLERY)
    if plan.task.by_class:
        return write_class_gallery(predictor, split, dataset.manifest.classes, plan.run / "overlays", GALLERY)
    return write_gallery(predictor, split, plan.run / "overlays", GALLERY)


def _summary(
    plan: Any, rows: list[Any], best: Any, gallery: list[str], interrupted: bool, front: list[Any] | None
) -> dict[str, Any]:
    """``front``: the Pareto front, of a sweep with several objectives."""
    from orchestrator import checkpoint
    from orchestrator.objectives import COSTS
    from orchestrator.results import TRIALS

    return {
        "run": plan.name,
        "stand_in": plan.stand_in,
        "interrupted": interrupted,
        "best": best.trial if best else None,
        "pareto": None if front is None else [r.trial for r in front],
        "checkpoint": (plan.run / TRIALS / best.trial).path(checkpoint.FILE) if best else None,
        "overlays": [plan.run.path(f"overlays/{name}") for name in gallery],
        "trials": [
            {
                "trial": r.trial,
                "status": r.status,
                "cause": r.cause,
                "choices": r.choices,
                "best": r.best,
                "test": r.test,
                **{name: cost(r) for name, cost in COSTS.items()},
                "epochs": [{k: e[k] for k in ("epoch", "losses", "val", "order")} for e in r.epochs],
            }
            for r in rows
        ],
    }
