"""The parser of all verbs, and how errors reach the user: one line, exit code 2."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from orchestrator import __version__
from orchestrator.cli import (
    cluster,
    dashboard,
    data,
    gc,
    machine,
    prepare,
    pretrain,
    replay,
    results,
    run,
    seeds,
    sweep,
)
from orchestrator.errors import UserError, unknown
from orchestrator.redact import redact

VERB_MODULES = (data, run, sweep, prepare, seeds, replay, results, dashboard, gc, pretrain, machine, cluster)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def build_parser() -> tuple[Parser, Any]:
    parser = Parser(
        prog="samsweep",
        description="Sweep, train and compare every way to adapt the Segment Anything Model, on Ray.",
        epilog="example: samsweep sweep mca cod10k --trials 6",
    )
    parser.add_argument("--version", action="version", version=f"samsweep {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for module in VERB_MODULES:
        module.add_verbs(verbs)
    return parser, verbs


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 well, 1 a check failed, 2 a mistake to mend, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill cleans up as Ctrl-C does
    try:
        parser, verbs = build_parser()
        if words and not words[0].startswith("-") and words[0] not in verbs.choices:
            raise unknown("verb", words[0], verbs.choices)
        arguments = parser.parse_args(words)
        if arguments.verb is None:
            parser.print_help()
            return 0
        arguments.words = words
        if getattr(arguments, "sent", False) and arguments.cluster:
            return cluster.send(arguments)
        return int(arguments.function(arguments) or 0)
    except UserError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of a pipe has gone, as with `samsweep datasets | head -1`
        sys.stderr.close()
        return 141
