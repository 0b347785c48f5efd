"""What a study of very many trials costs its driver: processor time and memory, trial by trial.

    make bench-driver     twenty minutes on two cores; exit code 1 above 0.1 s a trial or 2 GiB

The sweep is the real one, on a real Ray: Tune, its actors for trials, Optuna's TPE over mca's ten dimensions, ASHA, the
mailbox, a row for each trial. What is pretended are the workers: as many slots as a cluster of 512 GPUs has answer at
once, by the mailbox, in one process. Of each trial there are three epochs, which get better by its
choices; so ASHA stops the worse ones. Ray is told that it has the resources.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SECONDS, BYTES = 0.1, 2 * 2**30  #: a trial's processor time and the driver's memory at most
EPOCHS = 3


class Crowd:
    """An actor: all workers of the cluster. Each answers at once, once all the first ones are there."""

    def __init__(self, mailbox: Any, most: int) -> None:
        self.mailbox, self.missing = mailbox, most
        self.all_there = asyncio.Event()

    async def train(self, job: Any) -> None:
        # Tune's processes take seconds to start; a trial that ended before would leave the others without any
        self.missing -= 1
        if self.missing <= 0:
            self.all_there.set()
        await self.all_there.wait()
        for epoch in range(1, EPOCHS + 1):
            await self.mailbox.put.remote(job.name, "epoch", epoch_of(job, epoch))
            if epoch < EPOCHS and not await self.mailbox.may_go_on.remote(job.name, epoch):
                return
        await self.mailbox.put.remote(job.name, "done")


class Pretended:
    """In the place of ``Slots``: hands each job to the crowd."""

    def __init__(self, name: str, folder: Any, mailbox: Any, most: int, work: Any = None) -> None:
        import ray

        self.crowd = ray.remote(num_cpus=0, max_concurrency=1000)(Crowd).remote(mailbox, most)

    def __enter__(self) -> Pretended:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, job: Any) -> None:
        self.crowd.train.remote(job)

    def close(self, seconds: float = 10) -> None:
        pass


def epoch_of(job: Any, epoch: int) -> dict[str, Any]:
    """What a worker tells of an epoch: as large as a real one, and better where the learning rate is near 1e-3."""
    off = abs(math.log10(job.settings["train.lr"]) + 3)
    noise = random.Random(f"{job.name}-{epoch}").gauss(0, 0.01)
    quality = 0.8 / (1 + off) * (1 - 0.5**epoch) + noise
    record = {
        "epoch": epoch, "lr": 1e-3, "losses": {"bce": 0.1, "iou": 0.2, "tc": 0.3, "sc": 0.4}, "val": {"s": quality},
        "best": quality, "best_epoch": epoch, "seconds": 1.0, "wait_seconds": 0.1, "eval_seconds": 0.1, "samples": 4040,
        "steps": 1010, "order": "0" * 64, "peak_memory_mb": 2000.0, "world": 1,
    }  # fmt: skip
    return record | ({"test": {"s": quality, "e": 0.5, "wf": 0.5, "mae": 0.1}} if epoch == EPOCHS else {})


class Watch:
    """The driver's processor time and memory as trials end."""

    def __init__(self, every: int) -> None:
        self.every, self.count = every, 0
        self.began = self.wall = 0.0
        self.points: list[tuple[int, float, float, float]] = []  # trials, processor seconds, wall seconds, MiB

    def start(self) -> None:
        self.began, self.wall = time.process_time(), time.perf_counter()

    def begun(self, trial: str) -> None:
        pass

    def epoch(self, trial: str, choices: dict[str, Any], record: dict[str, Any]) -> None:
        pass

    def steps(self, told: Any) -> None:
        pass

    def ended(self, row: Any) -> None:
        self.count += 1
        if self.count % self.every == 0:
            used, wall = time.process_time() - self.began, time.perf_counter() - self.wall
            self.points.append((self.count, used, wall, resident()))
            print(
                f"{self.count:6} trials  {used:8.1f} s of processor time  {wall:8.1f} s  {resident():6.0f} MiB",
                flush=True,
            )


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def simulate(trials: int, at_once: int, folder: Path) -> Watch:
    import ray

    from orchestrator import sweep
    from orchestrator.data import standin
    from orchestrator.data.ingest import ingest
    from orchestrator.plan import make_plan
    from orchestrator.runtime import ray_cluster
    from orchestrator.storage import Storage

    standin.write_folders("binary", folder / "raw", train=4, test=2, seed=0)
    data = Storage(str(folder / "data"))
    ingest("tiny", folder / "raw", data, layout="folders", task="binary")
    changes = {"train.epochs": EPOCHS}
    plan = make_plan("mca", "tiny", changes, data, Storage(str(folder / "results")), "driver")
    plan.run.local().mkdir(parents=True)
    watch = Watch(max(1, trials // 20))
    sweep.Slots = Pretended  # type: ignore[assignment,misc]
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with ray_cluster(folder / "ray.log", dashboard=False):
        watch.start()
        outcome = sweep.run_sweep(plan, trials, changes, at_once, folder, watch)  # type: ignore[arg-type]
        watch.points.append((trials, time.process_time() - watch.began, time.perf_counter() - watch.wall, resident()))
        assert ray.is_initialized()
    states = [row.status for row in outcome.rows]
    assert len(states) == trials and set(states) <= {"completed", "pruned"}, {row.cause for row in outcome.rows}
    print(f"{states.count('completed')} completed, {states.count('pruned')} pruned by ASHA")
    return watch


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=16, help="trials side by side: a process of Tune's each")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with TemporaryDirectory(prefix="samsweep-bench-") as folder:
        watch = simulate(a.trials, a.at_once, Path(folder))
    count, used, wall, _ = watch.points[-1]
    most = max(memory for *_, memory in watch.points)
    print(
        f"a trial: {used / count:.3f} s of the driver's processor time (at most {SECONDS}), {wall / count:.3f} s in all"
    )
    print(f"the driver: {most:.0f} MiB (at most {BYTES / 2**20:.0f})")
    if a.json:
        print(json.dumps(watch.points))
    return int(used / count > SECONDS or most * 2**20 > BYTES)


if __name__ == "__main__":
    sys.exit(main())
