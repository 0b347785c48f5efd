"""What a trial costs before it trains anything: ours against stock Ray Tune + Ray Train's TorchTrainer.

    make bench-trials                     both, with 1 and 2 workers a trial, 8 trials each; exit 1 above a third
    make bench-trials TRIALS=1000         ours alone, one worker: do time and memory stay flat?

Training is a no-op that tells one epoch. Both run as they come: Ray's defaults there, ``run_sweep`` here (study,
ASHA, rows and all). Each case has a Ray and a process of its own; Ray's own start is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIMIT = 1 / 3  #: of stock's seconds a trial
FLAT = 1.5  #: the last hundred trials against the first


def stock(workers: int, trials: int, folder: Path) -> dict[str, Any]:
    """Ray's own way: Tune drivers that each run a TorchTrainer, with Optuna and ASHA; else all by default."""
    import ray
    import ray.train
    import ray.tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def loop(config: dict[str, Any]) -> None:
        ray.train.report({"best": 0.5, "epoch": 1})

    def driver(config: dict[str, Any]) -> None:
        TorchTrainer(
            loop,
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(num_workers=workers),
            run_config=ray.train.RunConfig(
                name=ray.tune.get_context().get_trial_id(),
                storage_path=str(folder / "train"),
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    ray.init(address="local", log_to_driver=False)
    tuner = ray.tune.Tuner(
        # as ours: a driver with a share of a CPU would leave too little for two workers on two cores, for ever
        ray.tune.with_resources(driver, {"CPU": 0, "node:__internal_head__": 0.0001}),
        param_space={"lr": ray.tune.loguniform(1e-5, 1e-2)},
        tune_config=ray.tune.TuneConfig(
            metric="best",
            mode="max",
            num_samples=trials,
            max_concurrent_trials=max(1, int(ray.cluster_resources()["CPU"]) // workers),
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(time_attr="epoch"),
        ),
        run_config=ray.tune.RunConfig(name="tune", storage_path=str(folder), verbose=0),
    )
    began = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - began
    assert len(results) == trials and not results.errors, results.errors
    return {"seconds": seconds / trials}


def ours(workers: int, trials: int, folder: Path) -> dict[str, Any]:
    """The sweep as `samsweep sweep` runs it, but for what the workers do."""
    from orchestrator.data import standin
    from orchestrator.data.ingest import ingest
    from orchestrator.plan import make_plan
    from orchestrator.runtime import session
    from orchestrator.storage import Storage
    from orchestrator.sweep import run_sweep

    standin.write_folders("binary", folder / "raw", train=4, test=2, seed=0)
    data = Storage(str(folder / "data"))
    ingest("tiny", folder / "raw", data, layout="folders", task="binary")
    changes = {"train.workers": workers, "train.epochs": 1}
    plan = make_plan("decoder", "tiny", changes, data, Storage(str(folder / "results")), "bench")
    watch = _Watch()
    with session(plan, gpus_given=True, say=lambda text: None) as ray:
        at_once = ray.capacity.concurrent(ray.plan.settings.train)
        watch.began = time.perf_counter()
        outcome = run_sweep(ray.plan, trials, changes, at_once, ray.folder, watch, work=no_op)
        seconds = time.perf_counter() - watch.began
    assert [row.status for row in outcome.rows] == ["completed"] * trials, {row.cause for row in outcome.rows}
    return {"seconds": seconds / trials, "ends": watch.ends, "memory": watch.memory}


def no_op(job: Any, ranks: Any, device: Any, report: Any, on_step: Any, on_notice: Any) -> None:
    """One epoch that trains nothing."""
    report({"epoch": 1, "lr": 0.0, "losses": {}, "val": {"s": 0.5}, "test": {"s": 0.5}, "best": 0.5, "best_epoch": 1})


class _Watch:
    """When each trial ended, and how large the driver was then."""

    def __init__(self) -> None:
        self.began = 0.0
        self.ends: list[float] = []
        self.memory: list[float] = []

    def begun(self, trial: str) -> None:
        pass

    def epoch(self, trial: str, choices: dict[str, Any], record: dict[str, Any]) -> None:
        pass

    def ended(self, row: Any) -> None:
        self.ends.append(time.perf_counter() - self.began)
        resident = Path("/proc/self/statm").read_text().split()[1]
        self.memory.append(int(resident) * 4096 / 2**20)


def measure(what: str, workers: int, trials: int) -> dict[str, Any]:
    """One case in a process of its own."""
    code = f"import json, trial_overhead as t; print(json.dumps(t.case({what!r}, {workers}, {trials})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{what:5} {workers} worker(s), {trials} trials: {found['seconds']:.2f} s a trial", flush=True)
    return found


def case(what: str, workers: int, trials: int) -> dict[str, Any]:
    with TemporaryDirectory(prefix="samsweep-bench-") as folder:
        return {"stock": stock, "ours": ours}[what](workers, trials, Path(folder))


def compare(trials: int) -> bool:
    """Whether ours costs a third of stock's or less, with one and with two workers a trial."""
    well = True
    for workers in (2, 1):
        found = {what: measure(what, workers, trials) for what in ("stock", "ours")}
        ratio = found["ours"]["seconds"] / found["stock"]["seconds"]
        ends = found["ours"]["ends"]
        later = statistics.median(b - a for a, b in itertools.pairwise(ends))
        print(f"ratio {ratio:.3f} (at most {LIMIT:.3f}); ours: first trial {ends[0]:.1f} s, a later one {later:.2f} s")
        well = well and ratio <= LIMIT
    return well


def flat(trials: int) -> bool:
    """Whether the last hundred trials cost the driver what the first hundred did, in time and memory."""
    found = measure("ours", 1, trials)
    ends, memory = found["ends"], found["memory"]
    # the first hundred without the slots' start, which they alone pay
    first, last = (ends[99] - ends[9]) / 90, (ends[-1] - ends[-101]) / 100
    print(f"a trial: first hundred {first:.3f} s, last hundred {last:.3f} s, ratio {last / first:.2f}")
    print(f"driver:  after 100 trials {memory[99]:.0f} MB, at the end {memory[-1]:.0f} MB, ", end="")
    print(f"ratio {memory[-1] / memory[99]:.2f} (at most {FLAT})")
    return last / first <= FLAT and memory[-1] / memory[99] <= FLAT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8, help="8 or more: the comparison; 200 or more: flatness, too")
    a = parser.parse_args()
    return 0 if (flat if a.trials >= 200 else compare)(a.trials) else 1


if __name__ == "__main__":
    sys.exit(main())
