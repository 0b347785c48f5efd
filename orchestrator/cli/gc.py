"""The verb ``gc``."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import add_json, add_storage, add_verb, console, notes, print_json, size_words

if TYPE_CHECKING:
    from orchestrator.gc import Found


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "gc",
        gc,
        "show what nobody needs any more under STORAGE (stored embeddings, too), and remove it once that is confirmed",
        "samsweep gc --storage results",
    )
    p.add_argument("names", nargs="*", metavar="NAME", help="of runs (default: all)")
    p.add_argument("--yes", action="store_true", help="remove without asking")
    p.add_argument("--pruned", action="store_true", help="the weights of pruned and failed trials, too")
    add_storage(p)
    add_json(p)


def gc(a: argparse.Namespace) -> int:
    from orchestrator.gc import find_orphans, remove
    from orchestrator.storage import Storage

    storage = Storage(a.storage)
    found = find_orphans(storage, a.names, a.pruned)
    if not a.json:
        _show(found, a)
    agreed = bool(found.orphans) and (a.yes or (not a.json and _confirmed(a)))
    removed = remove(storage, found, a.pruned) if agreed else []
    freed = sum(orphan.bytes for orphan in removed)
    if a.json:
        print_json(
            {
                "orphans": [asdict(orphan) for orphan in found.orphans],
                "kept": [asdict(kept) for kept in found.kept],
                "bytes": found.bytes,
                "removed": [orphan.path for orphan in removed],
                "freed": freed,
            }
        )
    elif agreed:
        console().print(f"removed {len(removed)} of {len(found.orphans)}: {size_words(freed)}")
    return 0


def _show(found: Found, a: argparse.Namespace) -> None:
    """Every orphan with its size and why, the sum, and what is left alone."""
    from rich.table import Table

    out = console()
    for kept in found.kept:
        notes().print(f"{kept.run}: {kept.why}", style="dim", soft_wrap=True)
    if not found.orphans:
        out.print(f"nothing to remove under {a.storage}")
        return
    table = Table("orphan", "size", "why")
    for column in table.columns:
        column.overflow = "fold"
    for orphan in found.orphans:
        table.add_row(orphan.path, size_words(orphan.bytes), orphan.why)
    out.print(table)
    out.print(f"{len(found.orphans)} orphans, {size_words(found.bytes)} under {a.storage}")


def _confirmed(a: argparse.Namespace) -> bool:
    """Ask on a terminal; elsewhere say how to."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        words = ["samsweep", "gc", *a.names, *(["--pruned"] if a.pruned else []), "--yes", "--storage", a.storage]
        notes().print(f"nothing was removed; to remove them: {shlex.join(words)}", soft_wrap=True)
        return False
    try:
        return input("remove? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
