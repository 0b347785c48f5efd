"""The console command ``samsweep``: one verb a function, thin: parse, call, print."""

from orchestrator.cli.main import main

__all__ = ["main"]
