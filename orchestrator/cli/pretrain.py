"""The verbs ``pretrain`` and ``pretrain-eval``: vit_t's own weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from orchestrator.cli.common import (
    add_data,
    add_json,
    add_storage,
    add_verb,
    bar,
    console,
    notes,
    print_json,
)
from orchestrator.errors import UserError
from orchestrator.pretraining import recipe

REAL = "../shared/data"


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "pretrain",
        pretrain,
        "train vit_t from random weights on drawn scenes; a second call goes on",
        "samsweep pretrain --storage results",
    )
    p.add_argument("--recipe", choices=list(recipe.RECIPES), help="default: gpu where there is one, else cpu")
    p.add_argument(
        "--scenes", type=int, default=recipe.SCENES, metavar="N", help=f"how many to draw (default {recipe.SCENES})"
    )
    p.add_argument("--epochs", metavar="N", help="default: the recipe's")
    p.add_argument("--workers", metavar="N", help="DDP ranks (default: one for each core, or GPU)")
    p.add_argument("--seed", metavar="N", help="default 0")
    p.add_argument("--set", default="", metavar='"KEY=VALUE ..."', help="any setting")
    p.add_argument("--name", default=recipe.RUN, metavar="NAME", help=f"of the run (default {recipe.RUN})")
    p.add_argument("--out", type=Path, metavar="DIR", help="of the weights and their card (default: the run's folder)")
    p.add_argument("--real", type=Path, metavar="DIR", help=f"real pictures for the card (default {REAL}, if there)")
    p.add_argument("--local", action="store_true", help="in this process, one rank, without Ray; so it is on one GPU")
    add_data(p)
    add_storage(p)
    p = add_verb(
        verbs,
        "pretrain-eval",
        pretrain_eval,
        "how well vit_t answers boxes and points on real pictures",
        "samsweep pretrain-eval --real ../shared/data",
    )
    p.add_argument("--weights", type=Path, metavar="FILE", help="default: those that ship with the project")
    p.add_argument("--real", type=Path, default=Path(REAL), metavar="DIR", help=f"default {REAL}")
    add_json(p)


def pretrain(a: argparse.Namespace) -> int:
    from orchestrator.cli.run import with_command
    from orchestrator.data.reader import open_dataset
    from orchestrator.pretraining import run
    from orchestrator.pretraining.card import card, history
    from orchestrator.pretraining.scenes import NAME
    from orchestrator.storage import Storage

    if a.real:
        _check_real(a.real)
    which = a.recipe or ("gpu" if _gpus() else "cpu")
    changes = recipe.with_recipe(which, _changes(a), most_ranks=1 if a.local else _ranks())
    data = Storage(a.data)
    with bar("drawing scenes") as progress:
        run.prepare_scenes(data, a.scenes, recipe.SEED, progress)
    plan = with_command(run.make_pretraining_plan(changes, which, data, Storage(a.storage), a.name), a)
    say = notes()
    row = run.finished(plan)
    if row is None:
        begun = "going on with" if run.is_begun(plan) else "beginning"
        say.print(f"{begun} run '{plan.name}'; stop it at any time, the same command goes on", soft_wrap=True)
        _train(plan, a)
        row = run.finished(plan)
        assert row is not None
    else:
        say.print(f"run '{plan.name}' is complete; its weights are written again", soft_wrap=True)
    scenes = open_dataset(data, NAME).manifest.split_rule
    past = history(plan, row, run.about_run(plan), scenes)
    weights = run.export(plan, past)
    out = Storage(str(a.out)) if a.out else plan.run
    sam = run.load_exported(weights)
    figures = _figures(sam, a.real or Path(REAL), say)
    text = card(figures, sum(p.numel() for p in sam.parameters()), past)
    out.write(run.WEIGHTS_FILE, weights)
    out.write(run.CARD_FILE, text.encode())
    console().print(f"weights  {out.path(run.WEIGHTS_FILE)}", soft_wrap=True)
    console().print(f"card     {out.path(run.CARD_FILE)}", soft_wrap=True)
    _show(figures)
    return 0


def _train(plan: Any, a: argparse.Namespace) -> None:
    from orchestrator import single
    from orchestrator.alive import Heartbeat, check_alone
    from orchestrator.runtime import session

    check_alone(plan.run, plan.name)
    if a.local or (_gpus() == 1 and plan.settings.train.workers == 1):
        with Heartbeat(plan.run):
            single.train_here(plan, notes(), keep=True)
        return
    given = "train.gpus_per_worker" in _changes(a)
    with (
        session(plan, given, lambda text: notes().print(text, style="dim", soft_wrap=True)) as ray,
        Heartbeat(plan.run),
    ):
        single.train_on_ray(ray.plan, ray.screen, keep=True)


def pretrain_eval(a: argparse.Namespace) -> int:
    from methods.backbone.build import build

    _check_real(a.real)
    try:
        sam = build("vit_t", a.weights)
    except ValueError as error:
        raise UserError(str(error)) from error
    figures = _figures(sam, a.real, notes())
    print_json(figures) if a.json else _show(figures)
    return 0


def _check_real(folder: Path) -> None:
    from orchestrator.pretraining.real import SETS

    if missing := [name for name in SETS if not (folder / name / "images").is_dir()]:
        raise UserError(f"{folder}: has no {' and no '.join(missing)}; give their folder with --real (REAL=)")


def _figures(sam: Any, real: Path, say: Any) -> dict[str, dict[str, float]]:
    """The figures of every real set that is there."""
    from orchestrator.build import pick_device, pick_precision
    from orchestrator.pretraining.real import SETS, read_set
    from orchestrator.prompted import mean_scores

    device = pick_device()
    dtype = pick_precision("auto", device)
    figures = {}
    for name in SETS:
        if not (real / name).is_dir():
            say.print(f"{real / name}: not there; its figures are left out", soft_wrap=True)
            continue
        with bar(name) as progress:
            samples = read_set(name, real, progress)
            figures[name] = mean_scores(sam.to(device), samples, device, dtype)
    return figures


def _show(figures: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    from orchestrator.prompted import MEANINGS

    table = Table("mean IoU at original resolution", *(f"{n} ({f['masks']:.0f})" for n, f in figures.items()))
    for key, meaning in MEANINGS.items():
        table.add_row(meaning, *(f"{f[key]:.3f}" for f in figures.values()))
    console().print(table)


def _changes(a: argparse.Namespace) -> dict[str, Any]:
    from orchestrator.cli.run import given_changes

    return given_changes({"train.epochs": a.epochs, "train.workers": a.workers, "train.seed": a.seed}, a.set)


def _ranks() -> int:
    """One for each core or GPU: small images and many steps share better as ranks than as threads."""
    from orchestrator.cores import available_cores

    return _gpus() or available_cores()


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
