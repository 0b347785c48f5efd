"""The project's own metrics for Prometheus, through Ray, told by the driver out of what it hears of each epoch.

Ray exports them on each node's metrics port with ``ray_`` before their names, which clusters/monitoring/prometheus.yml
takes off again. Ray forgets a gauge that is not set for two of its reports, so those of trials that run are set again
and again, and those of a trial that is over go away by themselves: however many trials a study has, there are series of
those that run, and a few of each run. Counters last as long as the driver.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.plan import Plan
from orchestrator.results import Row

RUN = ("run", "method", "dataset")
TRIAL = (*RUN, "trial")
SHARE = 0.4  #: of the time between two of Ray's reports, after which gauges are set again
REPORT_SECONDS = 10.0  #: between these where Ray does not tell


@dataclass(frozen=True)
class Metric:
    """``tags``: the names of its labels. A ``counter`` only grows, and Prometheus calls it NAME_total."""

    name: str
    what: str
    tags: tuple[str, ...]
    counter: bool = False

    @property
    def exported(self) -> str:
        """Its name in Prometheus."""
        return self.name + "_total" * self.counter


METRICS = {
    metric.name: metric
    for metric in (
        Metric("samsweep_trials_wanted", "Trials that a run shall have in all", RUN),
        Metric("samsweep_trials_running", "Trials that have begun and are not over", RUN),
        Metric("samsweep_trials_ended", "Trials that are over", (*RUN, "status"), counter=True),
        Metric("samsweep_run_best", "The best validation objective of a run so far", (*RUN, "objective")),
        Metric("samsweep_samples", "Training samples seen by all trials of a run", RUN, counter=True),
        Metric("samsweep_train_seconds", "Seconds in epochs of training, over all trials", RUN, counter=True),
        Metric("samsweep_eval_seconds", "Seconds of validation, test and checkpoints", RUN, counter=True),
        Metric("samsweep_data_wait_seconds", "Seconds of training that waited for data", RUN, counter=True),
        Metric("samsweep_cache_hits", "What a cache had: shards, or images' embeddings", (*RUN, "cache"), counter=True),
        Metric("samsweep_cache_misses", "What had to be fetched, or encoded", (*RUN, "cache"), counter=True),
        Metric("samsweep_epoch", "The last epoch that a trial has finished", TRIAL),
        Metric("samsweep_loss", "A loss, mean over the last epoch", (*TRIAL, "loss")),
        Metric("samsweep_quality", "The validation objective after the last epoch", (*TRIAL, "objective")),
        Metric("samsweep_quality_best", "The best validation objective of a trial so far", (*TRIAL, "objective")),
        Metric("samsweep_samples_per_second", "Training samples a second in the last epoch, of all ranks", TRIAL),
        Metric("samsweep_data_wait_share", "The share of the last epoch that waited for data", TRIAL),
        Metric("samsweep_peak_memory_bytes", "Peak memory of a rank: the GPU's, or resident without one", TRIAL),
    )
}


class Telemetry:
    """What a run tells of itself while it goes on; a context manager around it, within Ray's life.

    Whatever fails here is logged once, and ends nothing.

    Args:
        trials: that the run shall have in all.
        before: the rows of those that ended in an earlier process.
    """

    def __init__(self, plan: Plan, trials: int = 1, before: Sequence[Row] = ()) -> None:
        self.plan, self.trials = plan, trials
        self.tags = {"run": plan.name, "method": plan.settings.method, "dataset": plan.settings.dataset}
        self._metrics: dict[str, Any] = {}
        self._running: dict[str, dict[tuple[str, str], float]] = {}  # by trial: its gauges, by name and last label
        self._best = math.nan
        for row in before:
            self._best = _better(self._best, row.best, plan.task.mode)
        self._lock = threading.Lock()
        self._over, self._complained = threading.Event(), False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Telemetry:
        self._safely(self._open)
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()  # Ray is about to go
        self._metrics = {}

    def begun(self, trial: str) -> None:
        with self._lock:
            self._running[trial] = {}

    def epoch(self, trial: str, choices: dict[str, Any], record: dict[str, Any]) -> None:
        self._safely(lambda: self._epoch(trial, record))

    def steps(self, told: Mapping[str, tuple[int, int, int]]) -> None:
        """Steps are nobody's metric."""

    def ended(self, row: Row) -> None:
        with self._lock:
            self._running.pop(row.trial, None)
        self._safely(lambda: self._count("samsweep_trials_ended", 1, row.status))

    def _open(self) -> None:
        import ray
        from ray.util import metrics

        if not ray.is_initialized():
            return
        kinds = {True: metrics.Counter, False: metrics.Gauge}
        self._metrics = {m.name: kinds[m.counter](m.name, m.what, m.tags) for m in METRICS.values()}
        self._thread = threading.Thread(target=self._go_on, args=(SHARE * _report_seconds(),), daemon=True)
        self._thread.start()

    def _go_on(self, seconds: float) -> None:
        while not self._over.is_set():
            self._safely(self._set_again)
            self._over.wait(seconds)

    def _set_again(self) -> None:
        with self._lock:
            gauges = [(trial, *key, value) for trial, values in self._running.items() for key, value in values.items()]
            running, best = len(self._running), self._best
        self._set("samsweep_trials_wanted", self.trials)
        self._set("samsweep_trials_running", running)
        if math.isfinite(best):
            self._set("samsweep_run_best", best, self.plan.task.objective)
        for trial, name, label, value in gauges:
            self._set(name, value, label, trial)

    def _epoch(self, trial: str, record: dict[str, Any]) -> None:
        numbers = ("seconds", "samples", "wait_seconds", "peak_memory_mb")
        seconds, samples, waited, memory = (record.get(name) or 0 for name in numbers)
        objective = self.plan.task.objective
        values = {("samsweep_epoch", ""): record["epoch"]}
        values |= {("samsweep_loss", name): value for name, value in record.get("losses", {}).items()}
        told = {
            ("samsweep_quality", objective): record.get("objective"),
            ("samsweep_quality_best", objective): record.get("best"),
            ("samsweep_samples_per_second", ""): samples / seconds if seconds else None,
            ("samsweep_data_wait_share", ""): waited / seconds if seconds else None,
            ("samsweep_peak_memory_bytes", ""): memory * 2**20 if memory else None,
        }
        values |= {key: value for key, value in told.items() if value is not None}
        with self._lock:
            self._running[trial] = values
            self._best = _better(self._best, record.get("best", math.nan), self.plan.task.mode)
        for (name, label), value in values.items():  # a trial may be over before the thread looks again
            self._set(name, value, label, trial)
        self._count("samsweep_samples", samples)
        self._count("samsweep_train_seconds", seconds)
        self._count("samsweep_data_wait_seconds", waited)
        self._count("samsweep_eval_seconds", record.get("eval_seconds") or 0)
        for cache, hit, miss in (("shards", "found", "fetched"), ("embeddings", "embedded", "encoded")):
            self._count("samsweep_cache_hits", record.get(hit) or 0, cache)
            self._count("samsweep_cache_misses", record.get(miss) or 0, cache)

    def _count(self, name: str, value: float, label: str = "") -> None:
        if value > 0 and name in self._metrics:
            self._metrics[name].inc(value, self._labels(name, label))

    def _set(self, name: str, value: float, label: str = "", trial: str = "") -> None:
        if name in self._metrics:
            self._metrics[name].set(value, self._labels(name, label, trial))

    def _labels(self, name: str, label: str, trial: str = "") -> dict[str, str]:
        """A metric's labels: the run's, the trial where it is of one, and its own last one where it has one."""
        own = METRICS[name].tags
        last = {own[-1]: label} if label else {}
        return {**self.tags, **({"trial": trial} if "trial" in own else {}), **last}

    def _safely(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            if not self._complained:
                self._complained = True
                logging.getLogger("samsweep").warning("metrics fail, and are told of no more: %s", error)


def _report_seconds() -> float:
    """The time between two of Ray's reports to its metrics port."""
    try:
        import ray

        return max(1.0, ray._config.metrics_report_interval_ms() / 1000)  # nothing public tells
    except Exception:
        return REPORT_SECONDS


def _better(old: float, new: float, mode: str) -> float:
    if math.isnan(old) or math.isnan(new):
        return new if math.isnan(old) else old
    return max(old, new) if mode == "max" else min(old, new)
