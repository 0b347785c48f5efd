"""The verbs ``ingest`` and ``datasets``."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import add_data, add_json, add_verb, bar, console, notes, print_json

if TYPE_CHECKING:
    from orchestrator.data.entries import Entry
    from orchestrator.data.ingest import Runner
    from orchestrator.data.schema import Manifest


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
    p.add_argument("--task", metavar="NAME", help="binary, semantic, instances, ... (default: that of NAME)")
    p.add_argument("--seed", type=int, default=42, help="of the split, where the layout has none (default 42)")
    p.add_argument("--skip-bad", action="store_true", help="leave bad files out and list them")
    p.add_argument("--replace", action="store_true", help="ingest anew what is there already")
    p.add_argument("--ray", action="store_true", help="write the shards on Ray (the default with RAY_ADDRESS)")
    add_json(p)
    p = add_verb(verbs, "datasets", datasets, "list known and ingested datasets", "samsweep datasets --data data")
    p.add_argument("name", metavar="NAME", nargs="?", help="tell everything about one of them")
    add_data(p)
    add_json(p)


def ingest(a: argparse.Namespace) -> None:
    from orchestrator.data.catalogue import CATALOGUE
    from orchestrator.data.ingest import ingest as run
    from orchestrator.data.layouts import LAYOUTS
    from orchestrator.data.tasks import TASKS
    from orchestrator.errors import UserError, unknown
    from orchestrator.storage import Storage

    entry = CATALOGUE.get(a.name)
    layout = a.layout or (entry.layout if entry else "folders")
    task = a.task or (entry.task if entry else "binary")
    if a.seed < 0:
        raise UserError(f"--seed {a.seed}: must be at least 0")
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    known = {name for name, t in TASKS.items() if not t.prompted}
    if task not in known:
        raise unknown("task", task, known)
    with _runner(a.ray) as runner, bar(f"ingesting {a.name}") as progress:
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
            runner=runner,
        )
    _told_of_ingest(a, manifest)


def _told_of_ingest(a: argparse.Namespace, manifest: Manifest) -> None:
    from methods import registry
    from orchestrator.data.tasks import TASKS
    from orchestrator.plan import misfit

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
    task = TASKS[manifest.task]
    if fitting := [name for name in registry.names() if not misfit(name, task)]:
        method = "mca" if "mca" in fitting else fitting[0]
        out.print(f"next: make sweep METHOD={method} DATASET={a.name} DATA={shlex.quote(a.out)}")


@contextmanager
def _runner(wanted: bool) -> Iterator[Runner]:
    """Who writes the shards: this process, or Ray where it is asked for or RAY_ADDRESS names a cluster."""
    from orchestrator.data.portions import here

    if not wanted and "RAY_ADDRESS" not in os.environ:
        yield here
        return
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from orchestrator.data.on_ray import on_ray
    from orchestrator.runtime import ray_cluster

    with ExitStack() as stack:
        log = Path(stack.enter_context(TemporaryDirectory(prefix="samsweep-"))) / "ray.log"
        notes().print("starting Ray" if "RAY_ADDRESS" not in os.environ else "joining the cluster of RAY_ADDRESS")
        stack.enter_context(ray_cluster(log, dashboard=False))
        yield on_ray


def datasets(a: argparse.Namespace) -> None:
    from orchestrator.data.catalogue import CATALOGUE, look_up
    from orchestrator.data.schema import ingested_names
    from orchestrator.errors import UserError
    from orchestrator.storage import Storage

    root = Storage(a.data)
    names = [a.name] if a.name else sorted({*CATALOGUE, *ingested_names(root)})
    entries: list[dict[str, Any]] = []
    for name in names:
        try:
            known = look_up(name, root)
        except UserError as error:
            if a.name:
                raise
            notes().print(str(error), style="red", soft_wrap=True)
            continue
        entries.append(_facts(known.entry, known.manifest, (root / name).path() if known.manifest else None))
    if a.json:
        print_json(entries[0] if a.name else entries)
    elif a.name:
        _print_one(entries[0])
    else:
        _print_table(entries)


def _facts(entry: Entry, manifest: Manifest | None, where: str | None) -> dict[str, Any]:
    """Everything that is known of a dataset, as it is printed."""
    from orchestrator.data.layouts import LAYOUTS
    from orchestrator.data.published import published
    from orchestrator.data.standin import official
    from orchestrator.data.tasks import TASKS

    layout = LAYOUTS.get(entry.layout)
    return {
        "name": entry.name,
        "title": entry.title,
        "task": entry.task,
        "masks": TASKS[entry.task].coding,
        "layout": entry.layout,
        "expected": layout.expected if layout else "",
        "split": manifest.split_rule if manifest else (layout.rule if layout and layout.rule else "drawn by seed"),
        "train": entry.train,
        "val": entry.val,
        "test": entry.test,
        "classes": list(manifest.classes if manifest and manifest.classes else entry.class_names),
        "metrics": list(entry.metrics),
        "solved": TASKS[entry.task].solved,
        "stand_in": official.is_drawn(entry.layout, entry.task),
        "home": entry.home,
        "licence": entry.licence,
        "notes": entry.notes,
        "ingested": where,
        "fingerprint": manifest.fingerprint if manifest else None,
        "published": [vars(number) for number in published(entry.name)],
    }


def _print_one(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if key == "published":
            value = "\n".join(
                f"{p['method']} {p['metric']} {p['value']:g} ({p['source']}{'; ' + p['note'] if p['note'] else ''})"
                for p in value
            )
        elif isinstance(value, list):
            value = ", ".join(value)
        table.add_row(key, "-" if value in (None, "") else str(value))
    console().print(table)


def _print_table(entries: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(caption="samsweep datasets NAME tells more: layout, classes, notes, home, published numbers")
    for title in ("name", "task", "masks", "train", "val", "test", "metrics", "ingested", "licence"):
        table.add_column(title, overflow="fold")
    for row in entries:
        stand_in = "no: runs on a STAND-IN" if row["stand_in"] else "no"
        sizes = [str(row[split] or "-") for split in ("train", "val", "test")]
        table.add_row(
            row["name"],
            row["task"],
            row["masks"],
            *sizes,
            ", ".join(row["metrics"]),
            row["ingested"] or stand_in,
            row["licence"],
        )
    console().print(table)
