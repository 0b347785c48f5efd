"""The verbs ``weights`` and ``doctor``."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.cli.common import add_cluster, add_data, add_json, add_storage, add_verb, bar, console, print_json
from orchestrator.errors import UserError


def add_verbs(verbs: Any) -> None:
    p = add_verb(verbs, "weights", weights, "list or fetch SAM's official checkpoints", "samsweep weights fetch vit_b")
    p.add_argument("action", choices=("fetch", "list"), metavar="fetch|list")
    p.add_argument("name", nargs="?", metavar="SIZE", help="vit_b, vit_l or vit_h")
    add_json(p)
    p = add_verb(verbs, "doctor", doctor, "check this machine, or a cluster, and say what to do", "samsweep doctor")
    add_cluster(p)
    p.add_argument("--nodes", action="store_true", help="check all nodes of the Ray cluster that RAY_ADDRESS names")
    add_data(p)
    add_storage(p)
    add_json(p)


def weights(a: argparse.Namespace) -> None:
    from rich.table import Table

    from orchestrator.weights import OFFICIAL, fetch, weights_dir

    if a.action == "fetch":
        if not a.name:
            raise UserError(f"weights fetch: which one? {', '.join(OFFICIAL)}")
        with bar(f"fetching {a.name}") as progress:
            path = fetch(a.name, progress=lambda done, total: progress(done >> 20, total >> 20, "MB"))
        print_json({"path": str(path)}) if a.json else console().print(str(path), soft_wrap=True)
        return
    here = {name: weights_dir() / official.file for name, official in OFFICIAL.items()}
    if a.json:
        print_json({name: str(path) if path.exists() else None for name, path in here.items()})
        return
    table = Table("size", "MB", "here")
    for name, path in here.items():
        shown = str(path) if path.exists() else f"no: samsweep weights fetch {name}"
        table.add_row(name, f"{OFFICIAL[name].size / 1e6:.0f}", shown)
    console().print(table)


def doctor(a: argparse.Namespace) -> int:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.doctor import examine
    from orchestrator.storage import Storage

    data, storage = Storage(a.data), Storage(a.storage)
    checks = _of_nodes(data, storage) if a.nodes or a.cluster else examine(data, storage)
    if a.json:
        print_json([vars(c) for c in checks])
    else:
        table = Table("", "check", "found", "what to do")
        for c in checks:
            table.add_row(Text("ok", "green") if c.ok else Text("no", "red"), c.name, c.found, "" if c.ok else c.advice)
        console().print(table)
    return 0 if all(c.ok for c in checks) else 1


def _of_nodes(data: Any, storage: Any) -> list[Any]:
    import os
    import tempfile
    from pathlib import Path

    from orchestrator.runtime import quiet, ray_cluster

    if "RAY_ADDRESS" not in os.environ:
        raise UserError("doctor --nodes: RAY_ADDRESS names no cluster; or: samsweep doctor --cluster NAME")
    with tempfile.TemporaryDirectory(prefix="samsweep-") as folder:
        log = Path(folder) / "ray.log"
        with quiet(log), ray_cluster(log) as (_, url):
            from orchestrator.cluster.nodes import examine_nodes

            return examine_nodes(data, storage, url and url.removeprefix("http://"))
