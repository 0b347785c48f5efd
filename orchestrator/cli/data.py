"""The verbs ``ingest`` and ``datasets``."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from orchestrator.cli.common import add_data, add_json, add_verb, bar, console, notes, print_json


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "ingest",
        ingest,
        "turn a folder of images and masks into Arrow shards",
        "samsweep ingest cod10k --source ~/COD10K-v3 --out data",
    )
    p.add_argument("name", metavar="NAME", help="a catalogued dataset, or any name for your own")
    p.add_argument("--source", required=True, metavar="DIR", help="the folder as it was downloaded")
    p.add_argument("--out", default="data", metavar="URI", help="root of ingested datasets (default data/)")
    p.add_argument("--layout", metavar="NAME", help="how the folder is laid out (default: that of NAME, else folders)")
    p.add_argument("--task", metavar="NAME", help="camouflage, shadow, polyp or binary (default: that of NAME)")
    p.add_argument("--seed", type=int, default=42, help="of the split, where the layout has none (default 42)")
    p.add_argument("--skip-bad", action="store_true", help="leave bad files out and list them")
    p.add_argument("--replace", action="store_true", help="ingest anew what is there already")
    add_json(p)
    p = add_verb(verbs, "datasets", datasets, "list known and ingested datasets", "samsweep datasets --data data")
    add_data(p)
    add_json(p)


def ingest(a: argparse.Namespace) -> None:
    from orchestrator.data.catalogue import CATALOGUE, TASKS
    from orchestrator.data.ingest import ingest as run
    from orchestrator.data.layouts import LAYOUTS
    from orchestrator.errors import UserError, unknown
    from orchestrator.storage import Storage

    entry = CATALOGUE.get(a.name)
    layout = a.layout or (entry.layout if entry else "folders")
    task = a.task or (entry.task if entry else "binary")
    if a.seed < 0:
        raise UserError(f"--seed {a.seed}: must be at least 0")
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    pairs = {name for name, t in TASKS.items() if not t.prompted}
    if task not in pairs:
        raise unknown("task", task, pairs)
    with bar(f"ingesting {a.name}") as progress:
        manifest = run(
            a.name,
            a.source,
            Storage(a.out),
            layout,
            task,
            seed=a.seed,
            skip_bad=a.skip_bad,
            replace=a.replace,
            progress=progress,
        )
    for skipped in manifest.skipped:
        notes().print(f"left out {skipped.file}: {skipped.reason}", style="yellow", soft_wrap=True)
    if a.json:
        import json

        print_json(json.loads(manifest.to_json()))
        return
    sizes = ", ".join(f"{split} {manifest.rows(split)}" for split in manifest.splits)
    out = console()
    out.print(f"{a.name}: {sizes} images, fingerprint {manifest.fingerprint[:12]}")
    out.print(f"split: {manifest.split_rule}", style="dim")
    out.print(f"next: make sweep METHOD=mca DATASET={a.name} DATA={shlex.quote(a.out)}")


def datasets(a: argparse.Namespace) -> None:
    from rich.table import Table

    from orchestrator.data.catalogue import CATALOGUE, resolve
    from orchestrator.data.schema import ingested_names, load_manifest
    from orchestrator.errors import UserError
    from orchestrator.storage import Storage

    root = Storage(a.data)
    entries: list[dict[str, Any]] = []
    for name in sorted({*CATALOGUE, *ingested_names(root)}):
        try:
            e, manifest = resolve(name, root), load_manifest(root, name)
        except UserError as error:
            notes().print(str(error), style="red", soft_wrap=True)
            continue
        entries.append(
            {
                "name": name,
                "title": e.title,
                "task": e.task,
                "layout": e.layout,
                "train": e.train,
                "test": e.test,
                "home": e.home,
                "licence": e.licence,
                "notes": e.notes,
                "ingested": (root / name).path() if manifest else None,
                "fingerprint": manifest.fingerprint if manifest else None,
            }
        )
    if a.json:
        print_json(entries)
        return
    table = Table()
    for title in ("name", "task", "layout", "train", "test", "ingested", "licence", "home"):
        table.add_column(title, overflow="fold")
    for row in entries:
        table.add_row(
            row["name"],
            row["task"],
            row["layout"],
            str(row["train"] or "-"),
            str(row["test"] or "-"),
            row["ingested"] or "no: runs on a STAND-IN",
            row["licence"],
            row["home"],
        )
    console().print(table)
