"""Portions of an ingest as Ray tasks: any node that sees the source writes any shard."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError

from orchestrator.data.portions import OnRows, Portion, Portioner, Written
from orchestrator.data.schema import first_line
from orchestrator.errors import UserError
from orchestrator.storage import writing_failed

AHEAD = 2  #: portions that wait beside each one at work


def on_ray(
    portioner: Portioner, portions: Sequence[Portion], on_rows: OnRows
) -> Generator[tuple[Portion, Written], None, None]:
    """Each portion as it is finished, on whichever node; one core each.

    A portion whose node is lost is written anew. Leaving early cancels what is at work. Raises UserError for
    what a worker could not write, or a node that does not see the source.
    """
    task = ray.remote(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")(_write)
    alone = replace(portioner, threads=1)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    rest = iter(portions)
    at_work: dict[ray.ObjectRef[Written], Portion] = {}
    try:
        while True:
            while len(at_work) < AHEAD * cores and (portion := next(rest, None)) is not None:
                at_work[task.remote(alone, portion)] = portion
            if not at_work:
                return
            ready, _ = ray.wait(list(at_work))
            portion = at_work.pop(ready[0])
            written = _got(ready[0], portioner.folder.uri)
            on_rows(len(portion.items), portion.items[-1].id)
            yield portion, written
    finally:
        for reference in at_work:
            ray.cancel(reference, force=True)
        if at_work:
            ray.wait(list(at_work), num_returns=len(at_work), timeout=30)  # nobody writes after the clean-up


def _write(portioner: Portioner, portion: Portion) -> Written:
    root = Path(portioner.source.root)
    if not root.is_dir():
        raise UserError(
            f"{root}: node {ray.util.get_node_ip_address()} does not see it; ingest from a folder that all nodes share"
        )
    folder = portioner.folder
    if folder.is_local and not folder.local().is_dir():
        raise UserError(
            f"{folder.uri}: node {ray.util.get_node_ip_address()} does not see it; give an --out that all share"
        )
    return portioner(portion)


def _got(reference: ray.ObjectRef[Written], uri: str) -> Written:
    try:
        written: Written = ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from error
        if isinstance(error.cause, OSError):
            raise writing_failed(uri, error.cause) from error
        raise
    except RayError as error:
        raise UserError(f"{uri}: a worker of Ray died ({first_line(error)}); the same command goes on") from error
    return written
