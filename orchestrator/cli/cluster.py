"""The verbs ``up``, ``down``, ``jobs``, ``logs`` and ``stop``, and any other verb that is sent to a cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import CLUSTER_HELP, add_cluster, add_json, add_verb, console, notes, print_json
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.cluster.launch import Cluster

NAMED = {"sweep", "train"}  #: verbs whose run has a name, by which it is gone on with
STORED = ("data", "storage")


def add_verbs(verbs: Any) -> None:
    p = add_verb(verbs, "up", up, "start a cluster", "samsweep up aws")
    p.add_argument("cluster", metavar="CLUSTER", help=CLUSTER_HELP)
    p = add_verb(verbs, "down", down, "end a cluster, with all that runs on it", "samsweep down aws")
    p.add_argument("cluster", metavar="CLUSTER", help=CLUSTER_HELP)
    p = add_verb(verbs, "jobs", jobs, "what runs and ran on a cluster", "samsweep jobs --cluster aws")
    add_cluster(p, sent=False)
    add_json(p)
    p = add_verb(
        verbs, "logs", logs, "follow a job on a cluster, from its beginning", "samsweep logs JOB --cluster aws"
    )
    p.add_argument("job", metavar="JOB", help="see `samsweep jobs`")
    add_cluster(p, sent=False)
    p = add_verb(verbs, "stop", stop, "end a job on a cluster, as Ctrl-C would", "samsweep stop JOB --cluster aws")
    p.add_argument("job", metavar="JOB", help="see `samsweep jobs`")
    add_cluster(p, sent=False)
    p = add_verb(
        verbs, "slurm", slurm, "a command on nodes of a Slurm cluster", "samsweep slurm --nodes 4 sweep mca cod10k"
    )
    p.add_argument("--nodes", type=int, default=1, metavar="N", help="whole ones (default 1)")
    p.add_argument("--options", default="", metavar='"..."', help="of sbatch, before those of clusters/slurm.sbatch")
    p.add_argument("command", nargs=argparse.REMAINDER, metavar="VERB ...", help="what samsweep shall do there")


def up(a: argparse.Namespace) -> None:
    from orchestrator.cluster import launch
    from orchestrator.cluster.tunnel import is_up, reach

    cluster, out = cluster_of(a), console()
    cluster.check()
    if not is_up(cluster):  # Ray would start what runs there anew, and end its jobs
        launch.up(cluster)
        with reach(cluster) as address:  # Ray may say that all is well where a port was taken
            notes().print(f"its dashboard answers ({address}, while a command asks)", style="dim")
    else:
        out.print(f"cluster '{a.cluster}' is up already; to start it anew: make down CLUSTER={a.cluster} first")
    out.print(f"next      make sweep METHOD=mca DATASET=cod10k CLUSTER={a.cluster} DATA=s3://... STORAGE=s3://...")
    out.print(f"to see    make dashboard CLUSTER={a.cluster}")
    out.print(f"to end    make down CLUSTER={a.cluster}")


def down(a: argparse.Namespace) -> None:
    from orchestrator.cluster import launch

    launch.down(cluster_of(a))
    console().print(f"cluster '{a.cluster}' is down")


def jobs(a: argparse.Namespace) -> None:
    from rich.table import Table

    from orchestrator.cluster import jobs as on_cluster
    from orchestrator.cluster.tunnel import reach

    with reach(cluster_of(a)) as address:
        found = on_cluster.jobs(address)
    if a.json:
        print_json([vars(job) for job in found])
        return
    if not found:
        console().print(f"no job on cluster '{a.cluster}'")
        return
    table = Table("job", "status", "began", "command")
    for job in found:
        began = datetime.fromtimestamp(job.began).strftime("%Y-%m-%d %H:%M:%S") if job.began else ""
        table.add_row(job.name, job.status, began, job.command)
    console().print(table)


def logs(a: argparse.Namespace) -> int:
    return _follow(cluster_of(a), a.job)


def stop(a: argparse.Namespace) -> None:
    from orchestrator.cluster import jobs as on_cluster
    from orchestrator.cluster.tunnel import reach

    with reach(cluster_of(a)) as address:
        ended = on_cluster.stop(address, a.job)
    if not ended.over:
        raise UserError(f"job '{a.job}' does not end; see: samsweep logs {a.job} --cluster {a.cluster}")
    console().print(f"job '{a.job}': {ended.status.lower()}")


def slurm(a: argparse.Namespace) -> None:
    from orchestrator.cli.main import build_parser
    from orchestrator.cluster import slurm as on_slurm
    from orchestrator.cluster.jobs import name_of_job

    words = [word for word in a.command if word != "--"]
    there = build_parser()[0].parse_args(words)  # what is wrong is told now, not when the job starts
    if there.verb is None:
        raise UserError("slurm: which command? e.g. samsweep slurm --nodes 4 sweep mca cod10k")
    if there.verb in NAMED and not there.name:
        words += ["--name", name_of_job(words, None)]
    number = on_slurm.submit(words, a.nodes, a.options)
    out = console()
    out.print(f"Slurm job {number} is queued on {a.nodes} node(s): samsweep {' '.join(words)}", soft_wrap=True)
    out.print(f"to see    tail -F samsweep-{number}.log")
    out.print(f"to end    scancel {number}")


def send(a: argparse.Namespace) -> int:
    """Run a verb on the cluster that ``--cluster`` names, as a job; follow it until it ends or Ctrl-C."""
    from orchestrator.cluster import jobs as on_cluster
    from orchestrator.cluster.tunnel import reach

    cluster, words = cluster_of(a), words_there(a.words)
    if not cluster.is_kubernetes:
        cluster.check()
    if getattr(a, "local", False):
        raise UserError("--local is this process; leave out --cluster")
    _check_shared(a)
    name = on_cluster.name_of_job(words, getattr(a, "name", None))
    if a.verb == "doctor":
        words += ["--nodes"]
    if a.verb in NAMED and not a.name:
        words += ["--name", name]  # so that it can be gone on with
    if cluster.is_kubernetes:
        from orchestrator.cluster import kubernetes

        return kubernetes.run(cluster, name, words, notes().print)
    with reach(cluster) as address:
        job = on_cluster.submit(address, name, words)
    say = notes()
    say.print(f"job {job} runs on cluster '{a.cluster}'; Ctrl-C leaves it running", style="dim", soft_wrap=True)
    return _follow(cluster, job)


def cluster_of(a: argparse.Namespace) -> Cluster:
    from orchestrator.cluster.launch import Cluster

    return Cluster(a.cluster)


def words_there(words: Sequence[str]) -> list[str]:
    """A command without the word that sends it elsewhere."""
    kept, skip = [], False
    for word in words:
        if not (skip or word == "--cluster" or word.startswith("--cluster=")):
            kept.append(word)
        skip = word == "--cluster"
    return kept


def _check_shared(a: argparse.Namespace) -> None:
    """Raise UserError where DATA or STORAGE is a folder of this machine alone."""
    for what in STORED:
        uri = getattr(a, what, None)
        if uri is not None and "://" not in uri:
            raise UserError(
                f"{what.upper()}={uri}: a folder of this machine, which a cluster does not see; give a URI like "
                f"s3://bucket/{what}, or file:///... of a folder that all its nodes share"
            )


def _follow(cluster: Cluster, job: str) -> int:
    from orchestrator.cluster import jobs as on_cluster

    say = notes()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        return on_cluster.follow(cluster, job, write, lambda text: say.print(text, style="dim"))
    except KeyboardInterrupt:
        say.print(
            f"\njob {job} goes on; follow it again with: samsweep logs {job} --cluster {cluster.name}", soft_wrap=True
        )
        say.print(f"end it with: samsweep stop {job} --cluster {cluster.name}", soft_wrap=True)
        return 130
