"""The verbs ``leaderboard`` and ``predict``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from orchestrator.cli.common import add_json, add_storage, add_verb, bar, console, print_json
from orchestrator.errors import UserError


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "leaderboard",
        leaderboard,
        "the best of every method on every dataset, beside published numbers",
        "samsweep leaderboard --export latex > table.tex",
    )
    p.add_argument("--export", choices=("csv", "md", "latex"), help="in the layout of the papers' tables, to stdout")
    add_storage(p)
    add_json(p)
    p = add_verb(
        verbs,
        "predict",
        predict,
        "write masks and overlays for a folder of images",
        "samsweep predict --run mca-cod10k-20261120-214325 --images photos --out masks",
    )
    p.add_argument("--run", required=True, metavar="RUN", help="a run's name (its best trial), or RUN/TRIAL")
    p.add_argument("--images", required=True, metavar="DIR")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--checkpoint", metavar="PATH", help="the backbone's weights, where they have moved")
    add_storage(p)
    add_json(p)


def leaderboard(a: argparse.Namespace) -> None:
    from orchestrator.leaderboard import leaderboard as rank
    from orchestrator.leaderboard import published_for, render
    from orchestrator.results import read_rows
    from orchestrator.storage import Storage

    if a.json and a.export:
        raise UserError(f"--export {a.export}: there is --json too; give one of them")
    entries = rank(read_rows(Storage(a.storage)))
    if a.export:
        from orchestrator.export import export

        if not entries:
            raise UserError(f"{a.storage}: no completed trial to export; start with: make sweep")
        print(export(entries, a.export), end="")
        return
    if a.json:
        datasets = sorted({e["dataset"] for e in entries})
        print_json({"results": entries, "published": published_for(datasets)})
        return
    out = console()
    if not entries:
        out.print(f"no completed trial under {a.storage}; start with: make sweep METHOD=mca DATASET=cod10k")
    for table in render(entries):
        out.print(table)


def predict(a: argparse.Namespace) -> None:
    from orchestrator.predict import Predictor, find_images, predict_folder
    from orchestrator.storage import Storage

    find_images(Path(a.images))
    predictor = Predictor.load(Storage(a.storage), a.run, a.checkpoint)
    with bar("predicting") as progress:
        count = predict_folder(predictor, Path(a.images), Storage(a.out), progress)
    if a.json:
        print_json({"images": count, "masks": f"{a.out}/masks", "overlays": f"{a.out}/overlays"})
        return
    console().print(f"{count} images: {a.out}/masks, {a.out}/overlays")
