"""The verb ``dashboard``."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.cli.common import add_cluster, add_storage, add_verb, console

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
    add_cluster(p, sent=False, required=False)
    add_storage(p)


def dashboard(a: argparse.Namespace) -> None:
    """Serve until Ctrl-C; with ``--cluster`` there is a tunnel to its dashboard as long."""
    from contextlib import ExitStack

    from orchestrator.board import HOST, open_server
    from orchestrator.storage import Storage
    from orchestrator.studies import Studies

    out = console()
    with ExitStack() as stack:
        there = addresses(stack, a.cluster)
        studies = stack.enter_context(Studies(Storage(a.storage)))
        server = stack.enter_context(open_server(studies, a.port))
        for line in [*there, f"Optuna  http://{HOST}:{server.server_port}"]:
            out.print(line, soft_wrap=True)
        number = len(studies.get_all_studies())
        out.print(f"{number} studies under {a.storage}, new ones appear by themselves; Ctrl-C ends it", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.print("dashboard ended")


def addresses(stack: Any, cluster: str | None) -> list[str]:
    """Lines that tell where Ray's dashboard is: a cluster's through a tunnel that stands as long as ``stack``."""
    from orchestrator.board import ray_dashboard

    if cluster:
        from orchestrator.cluster.launch import Cluster
        from orchestrator.cluster.tunnel import reach

        return [f"Ray     {stack.enter_context(reach(Cluster(cluster)))} ({TOKEN})"]
    found = ray_dashboard()
    return [f"Ray     {found} ({TOKEN})" if found else "Ray     none runs on this machine; a sweep starts one"]
