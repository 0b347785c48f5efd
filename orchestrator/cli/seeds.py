"""The verb ``seeds``, and what ``--seeds`` does after a sweep or a training."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.cli.common import (
    add_cluster,
    add_json,
    add_storage,
    add_verb,
    check_local,
    console,
    notes,
    print_json,
    storage_option,
)

if TYPE_CHECKING:
    from orchestrator.results import Row
    from orchestrator.seeds import Seeds


def add_verbs(verbs: Any) -> None:
    p = add_verb(
        verbs,
        "seeds",
        seeds,
        "run the best settings of a finished run with more seeds: mean and spread",
        "samsweep seeds mca-cod10k-20261120-223605 --seeds 5",
    )
    p.add_argument("run", metavar="RUN", help="a sweep or a training")
    add_seeds(p, "how many (default 5); those that are there are not run again")
    p.add_argument("--local", action="store_true", help="in this process, one rank, without Ray")
    add_cluster(p)
    p.add_argument("--data", metavar="URI", help="where its data lie now (default: where they lay)")
    add_storage(p)
    add_json(p)


def add_seeds(p: argparse.ArgumentParser, help: str) -> None:
    p.add_argument("--seeds", type=_count, metavar="N", help=help)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"SEEDS={text}: a whole number, at least 1")
    return int(text)


@dataclass(frozen=True)
class SeedsRun:
    """What came of the seeds of a run."""

    seeds: Seeds
    rows: list[Row]
    interrupted: bool
    advice: str  #: the command that goes on with it

    @property
    def code(self) -> int:
        """The exit code: 0 where all seeds completed."""
        return 130 if self.interrupted else int(any(row.status != "completed" for row in self.rows))

    def show(self) -> None:
        """The table on stdout, and what to do next on stderr."""
        from orchestrator.leaderboard import seeds_table

        task = self.seeds.plan.task
        console().print(seeds_table(self.rows, self.seeds.of, task.objective, task.metrics))
        if self.interrupted:
            notes().print(f"interrupted; go on with: {self.advice}", soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        from orchestrator.leaderboard import spreads

        tests = [row.test for row in self.rows if row.status == "completed" and row.test]
        trials = [
            {"trial": r.trial, "seed": r.settings["train.seed"], "status": r.status, "cause": r.cause, "test": r.test}
            for r in self.rows
        ]
        head = {"of": self.seeds.of, "run": self.seeds.plan.name, "interrupted": self.interrupted}
        return {**head, **spreads(tests), "trials": trials}


def seeds(a: argparse.Namespace) -> int:
    from orchestrator.alive import check_alone
    from orchestrator.cli.prepare import prepare_here, prepare_on
    from orchestrator.cli.run import ray_session
    from orchestrator.seeds import DEFAULT_SEEDS
    from orchestrator.storage import Storage

    a.seeds = a.seeds or DEFAULT_SEEDS
    wanted = _planned(a, Storage(a.storage), a.run, a.data)
    plan = wanted.plan
    check_local(a, plan.settings.train.workers)
    check_alone(plan.run, plan.name)
    if a.local or not wanted.missing():
        if wanted.missing():
            prepare_here(plan)
        done = _run_here(a, wanted)
    else:
        advice = f"; go on with: {_advice(a, wanted)}"
        with ray_session(plan, plan.settings.flat(), advice=advice) as ray:
            prepare_on(ray)
            done = _run_on(a, ray, wanted)
    if a.json:
        print_json(done.to_json())
    else:
        done.show()
    return done.code


def seeds_on(a: argparse.Namespace, ray: Any) -> SeedsRun:
    """What ``--seeds`` asks for once a sweep or a training is over, in its Ray session."""
    return _run_on(a, ray, _planned(a, ray.plan.storage, ray.plan.name))


def seeds_here(a: argparse.Namespace, plan: Any) -> SeedsRun:
    """The same in this process."""
    return _run_here(a, _planned(a, plan.storage, plan.name))


def _planned(a: argparse.Namespace, storage: Any, name: str, data: str | None = None) -> Seeds:
    from orchestrator.cli.run import with_command
    from orchestrator.seeds import plan_seeds

    wanted = plan_seeds(storage, name, a.seeds, data)
    return dataclasses.replace(wanted, plan=with_command(wanted.plan, a))


def _run_on(a: argparse.Namespace, ray: Any, wanted: Seeds) -> SeedsRun:
    from orchestrator import single

    def say(text: str) -> None:
        print(text, file=ray.screen)

    return _run(a, wanted, lambda plan, errand: single.train_on_ray(plan, ray.screen, True, errand), say)


def _run_here(a: argparse.Namespace, wanted: Seeds) -> SeedsRun:
    from orchestrator import single

    return _run(a, wanted, lambda plan, errand: single.train_here(plan, notes(), True, errand), notes().print)


def _run(a: argparse.Namespace, wanted: Seeds, train: Callable[..., Row], say: Callable[[str], None]) -> SeedsRun:
    """An interrupt leaves the rows of those that are over."""
    from orchestrator.alive import Heartbeat, check_alone
    from orchestrator.seeds import run_seeds

    run = wanted.plan.run
    check_alone(run, wanted.plan.name)
    try:
        with Heartbeat(run) if wanted.missing() else nullcontext():
            return SeedsRun(wanted, run_seeds(wanted, train, say), False, _advice(a, wanted))
    except KeyboardInterrupt:
        return SeedsRun(wanted, wanted.rows(), True, _advice(a, wanted))


def _advice(a: argparse.Namespace, wanted: Seeds) -> str:
    """The command that goes on with these seeds."""
    return f"samsweep seeds {wanted.of.split('/')[0]} --seeds {len(wanted.trials)}{storage_option(a)}"
