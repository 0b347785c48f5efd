"""What several verbs share: arguments, output, a progress bar."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orchestrator.errors import UserError

DATA, STORAGE = "data", "results"
CLUSTER_HELP = "a file in clusters/ (aws, gcp, onprem, kuberay), a YAML file, or a dashboard's http://127.0.0.1:PORT"

Verb = Callable[[argparse.Namespace], int | None]


def console() -> Console:
    """For results, on stdout; as wide as needed where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)


def notes() -> Console:
    """For remarks, on stderr."""
    return Console(stderr=True, markup=False, highlight=False)


def add_verb(verbs: Any, name: str, function: Verb, help: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=help, description=help, epilog=f"example: {example}", allow_abbrev=False
    )
    parser.set_defaults(function=function)
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default=DATA, metavar="URI", help=f"root of ingested datasets (default {DATA}/)")


def add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--storage", default=STORAGE, metavar="URI", help=f"root of results (default {STORAGE}/)")


def add_cluster(parser: argparse.ArgumentParser, sent: bool = True, required: bool | None = None) -> None:
    """``sent``: the verb is run there where one is given; else it is about a cluster, and as a rule one must be."""
    required = not sent if required is None else required
    parser.add_argument("--cluster", metavar="CLUSTER", required=required, help=CLUSTER_HELP)
    parser.set_defaults(sent=sent)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def storage_option(a: argparse.Namespace) -> str:
    """The option by which another command finds these results."""
    return f" --storage {shlex.quote(a.storage)}" if a.storage != "results" else ""


def check_local(a: argparse.Namespace, workers: Any) -> None:
    """Raise UserError where ``--local`` is asked for and there are several workers."""
    if a.local and str(workers) != "1":
        raise UserError(f"WORKERS={workers}: --local has one rank; leave --local out")


def print_json(value: Any) -> None:
    print(json.dumps(_plain(value), indent=2, sort_keys=True))


def size_words(count: float) -> str:
    """Bytes for the eye: ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _plain(value: Any) -> Any:
    """NaN is no JSON: null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and value != value else value


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr; yields its update ``(done, total, current)``."""
    current = TextColumn("{task.fields[current]}", markup=False)
    columns = (TextColumn(title, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), current)
    with Progress(*columns, console=notes(), transient=True) as progress:
        task = progress.add_task(title, total=None, current="")

        def update(done: int, total: int, current: str = "") -> None:
            progress.update(task, completed=done, total=total, current=current[-40:])

        yield update
