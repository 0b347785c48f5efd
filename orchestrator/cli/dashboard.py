"""The verb ``dashboard``."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.cli.common import add_storage, add_verb, console

TOKEN = "it asks for the token in ~/.ray/auth_token"


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "dashboard",
        dashboard,
        "show the studies in optuna-dashboard, and where Ray's dashboard is",
        "samsweep dashboard --storage s3://bucket/results",
    )
    p.add_argument("--port", type=int, metavar="N", help="of optuna-dashboard (default: the first free one from 8080)")
    add_storage(p)


def dashboard(a: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from orchestrator.board import HOST, open_server
    from orchestrator.storage import Storage
    from orchestrator.studies import Studies

    out = console()
    with Studies(Storage(a.storage)) as studies, open_server(studies, a.port) as server:
        for line in [*addresses(), f"Optuna  http://{HOST}:{server.server_port}"]:
            out.print(line, soft_wrap=True)
        number = len(studies.get_all_studies())
        out.print(f"{number} studies under {a.storage}, new ones appear by themselves; Ctrl-C ends it", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.print("dashboard ended")


def addresses() -> list[str]:
    """Lines that tell where Ray's dashboards are."""
    from orchestrator.board import ray_dashboard

    found = ray_dashboard()
    return [f"Ray     {found} ({TOKEN})" if found else "Ray     none runs on this machine; a sweep starts one"]
