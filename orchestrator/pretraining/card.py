"""The model card that lies beside the weights, and the table of figures that `pretrain-eval` prints."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orchestrator.config import make_settings
from orchestrator.plan import Plan
from orchestrator.pretraining.recipe import METHOD, PLACE, SCENES, with_recipe
from orchestrator.prompted import MEANINGS

Figures = Mapping[str, Mapping[str, float]]  #: set -> (``MEANINGS`` and ``masks``)


def card(figures: Figures, parameters: int, history: str) -> str:
    """Markdown: what the weights are, what they reach, and how they came about (``history``)."""
    lines = [
        "# vit_t: a small promptable SAM",
        "",
        "Trained on scenes that this project draws itself, with SAM's recipe (methods/promptable.py says where",
        "it differs). No picture of any data set was used, but the kinds of scenes were chosen with such pictures",
        "in mind: a quarter are cells, a fifth bumps on wet tissue, the rest everyday shapes. It is meant for",
        f"laptops and tests: {parameters:,} parameters in half precision, far below the official checkpoints, which",
        "want 1024 px and a GPU.",
        "",
        "## Figures",
        "",
        *figures_table(figures),
        "",
        "Mean IoU over masks at original resolution. None of these pictures was trained on;",
        "`make pretrain-eval` prints the table.",
    ]
    return "\n".join([*lines, "", history, ""])


def history(plan: Plan, row: Mapping[str, Any], about: Mapping[str, Any], scenes: str) -> str:
    """One part of a card for each run that made the weights, the last one's from its row.

    ``about`` is what the run was begun with; ``scenes`` the data set's own sentence about itself.
    """
    t = plan.settings.train
    epochs = row["epochs"]
    trained = sum(e["seconds"] for e in epochs) / 3600
    measured = sum(e["eval_seconds"] for e in epochs) / 3600
    samples = sum(e["samples"] for e in epochs)
    best = next(e for e in epochs if e["epoch"] == row["best_epoch"])
    before = about["begun_from"]
    lines = [
        f"## Run {before.count('## Run ') + 1}",
        "",
        f"- command: `{command(row['settings'], about['recipe'], scenes)}`, at commit {about['code']}",
        f"- begun from {'the weights of the run before' if before else 'random weights'}",
        f"- steps: {sum(-(-e['samples'] // t.batch) for e in epochs):,} of {t.batch} images "
        f"({samples:,} views, {samples * plan.settings.method_options.masks:,} prompts), seed {t.seed}",
        f"- time: {trained:.2f} h of training and {measured:.2f} h of measuring in {len(epochs)} epochs",
        f"- hardware: {about['hardware']}, {row['workers']} rank(s); torch {about['torch']}",
        f"- data: {scenes}; fingerprint {plan.fingerprint[:16]}",
        f"- chosen: epoch {best['epoch']}, the best box IoU on drawn scenes that were not trained on",
        "",
        "| epoch | hours | lr | focal | dice | iou | box IoU | point IoU | ranking |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    hours = 0.0
    for e in epochs:
        hours += (e["seconds"] + e["eval_seconds"]) / 3600
        losses = " | ".join(f"{e['losses'][name]:.4f}" for name in ("focal", "dice", "iou"))
        val = " | ".join(f"{e['val'][name]:.3f}" for name in ("box_iou", "point_iou", "ranking"))
        lines.append(f"| {e['epoch']} | {hours:.2f} | {e['lr']:.2e} | {losses} | {val} |")
    return "\n".join(([before, ""] if before else []) + lines)


def figures_table(figures: Figures) -> list[str]:
    """One row for each thing that is measured, one column for each set."""
    sets = list(figures)
    head = ["| | " + " | ".join(f"{name} ({figures[name]['masks']:.0f} masks)" for name in sets) + " |"]
    head.append("|---" * (len(sets) + 1) + "|")
    return head + [
        f"| {meaning} | " + " | ".join(f"{figures[name][key]:.3f}" for name in sets) + " |"
        for key, meaning in MEANINGS.items()
    ]


def command(settings: Mapping[str, Any], recipe: str, scenes: str) -> str:
    """What makes the same run: the recipe's own values need no words. ``settings`` are dotted."""
    usual = make_settings(METHOD, settings["dataset"], with_recipe(recipe, {}, 1)).flat()
    workers = settings["train.workers"]
    drawn = int(scenes.split()[1])  # "drawn: N scenes ..."
    words = ["make pretrain", f"RECIPE={recipe}", f"WORKERS={workers}"]
    words += [f"SCENES={drawn}"] if drawn != SCENES else []
    named = {**settings, "backbone.checkpoint": "FILE" if settings["backbone.checkpoint"] else None}
    other = [f"{k}={v}" for k, v in named.items() if usual.get(k) != v and k not in PLACE]
    return " ".join([*words, f"SET={shlex.quote(' '.join(other))}"] if other else words)


def hardware() -> str:
    """The processor, its cores, and the GPU where there is one."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return f"{os.cpu_count()} cores of {name}{gpu}"
