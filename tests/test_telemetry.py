"""What a sweep tells Prometheus, and what a dashboard may ask of it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import yaml
from test_console import plan, record
from test_results import epochs

from orchestrator import telemetry as module
from orchestrator.data import cache
from orchestrator.results import make_row
from orchestrator.telemetry import METRICS, RUN, TRIAL, Telemetry

MONITORING = Path(__file__).parents[1] / "clusters/monitoring"
TAGS = {"run": "run-x", "method": "decoder", "dataset": "vals"}


class Series:
    """In place of Ray's metrics: what was set last and counted, as of Prometheus."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> None:
        self.now: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self.calls, self.fails = 0, fails
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        for kind in ("Gauge", "Counter"):
            monkeypatch.setattr(f"ray.util.metrics.{kind}", self._kind)
        monkeypatch.setattr(module, "_report_seconds", lambda: 0.05)

    def _kind(self, name: str, what: str, tags: tuple[str, ...]) -> Any:
        def put(value: float, labels: dict[str, str], add: bool) -> None:
            self.calls += 1
            if self.fails:
                raise RuntimeError("no such port")
            assert set(labels) == set(tags) and all(isinstance(one, str) for one in labels.values())
            key = (name, frozenset(labels.items()))
            self.now[key] = value + (self.now.get(key, 0) if add else 0)

        return SimpleNamespace(set=lambda v, labels: put(v, labels, False), inc=lambda v, labels: put(v, labels, True))

    def of(self, name: str, **labels: str) -> float | None:
        return self.now.get((name, frozenset({**TAGS, **labels}.items())))

    def forget(self) -> None:
        """As Ray forgets what is not set again; and time for somebody to do so."""
        self.now.clear()
        time.sleep(0.2)


FULL = {"samples": 30, "wait_seconds": 0.75, "peak_memory_mb": 2.0, "encoded": 3, "embedded": 4, "found": 5}


def test_a_sweep_tells_of_its_trials_while_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series, p = Series(monkeypatch), plan(tmp_path)
    with Telemetry(p, 9) as told:
        told.begun("000")
        told.begun("001")
        told.epoch("000", {}, record(2, 0.625) | FULL)
        assert series.of("samsweep_epoch", trial="000") == 2
        assert series.of("samsweep_loss", trial="000", loss="iou") == 0.25
        assert series.of("samsweep_quality", trial="000", objective="mdice") == 0.625
        assert series.of("samsweep_samples_per_second", trial="000") == 10
        assert series.of("samsweep_data_wait_share", trial="000") == 0.25
        assert series.of("samsweep_peak_memory_bytes", trial="000") == 2**21
        assert series.of("samsweep_samples") == 30 and series.of("samsweep_eval_seconds") == 1
        assert series.of("samsweep_cache_hits", cache="embeddings") == 4
        assert series.of("samsweep_cache_misses", cache="embeddings") == 3
        assert series.of("samsweep_cache_hits", cache="shards") == 5
        series.forget()
        assert series.of("samsweep_trials_running") == 2 and series.of("samsweep_trials_wanted") == 9
        assert series.of("samsweep_epoch", trial="000") == 2, "set again and again"
        told.ended(make_row(p, "000", "completed", epochs(0.7), seconds=1))
        assert series.of("samsweep_trials_ended", status="completed") == 1
        series.forget()
        assert series.of("samsweep_trials_running") == 1 and series.of("samsweep_run_best", objective="mdice") == 0.625
        assert not [key for key in series.now if ("trial", "000") in key[1]], "what is over goes away"
    calls = series.calls
    time.sleep(0.2)
    assert series.calls == calls, "Ray is gone by now"


def test_ten_thousand_trials_leave_no_more_series_than_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, p = Series(monkeypatch), plan(tmp_path)
    row = make_row(p, "0", "completed", [], seconds=1)
    with Telemetry(p, 10_000) as told:
        began = time.process_time()
        for number in range(10_000):
            row.trial = str(number)
            told.begun(row.trial)
            told.epoch(row.trial, {}, record(1, 0.5) | FULL)
            if number < 9_990:
                told.ended(row)
        spent = time.process_time() - began
        series.forget()
        assert len({labels for _, labels in series.now if "trial" in dict(labels)}) <= 10 * 4
        assert series.of("samsweep_trials_running") == 10
    assert spent / 10_000 < 0.001, "of the driver's 0.1 s a trial"


@pytest.mark.parametrize("broken", [{}, {"epoch": 1, "losses": None}, {"epoch": 1, "losses": {}, "best": "x"}])
def test_metrics_that_fail_end_nothing(
    broken: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Series(monkeypatch, fails=True)
    with Telemetry(plan(tmp_path)) as told:
        for _ in range(2):
            told.begun("000")
            told.epoch("000", {}, broken)
            told.ended(make_row(plan(tmp_path), "000", "failed", [], seconds=1))
        time.sleep(0.1)
    assert len(caplog.records) == 1, "said once"


def test_without_ray_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with Telemetry(plan(tmp_path)) as told:
        told.begun("000")
        told.epoch("000", {}, record(1, 0.5))
        assert not told._metrics and told._thread is None


def test_the_best_of_an_earlier_process_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series, p = Series(monkeypatch), plan(tmp_path)
    before = [make_row(p, "000", "completed", epochs(0.9), seconds=1), make_row(p, "001", "failed", [], seconds=1)]
    with Telemetry(p, 3, before) as told:
        told.epoch("002", {}, record(1, 0.5))
        series.forget()
        assert series.of("samsweep_run_best", objective="mdice") == 0.9


def test_lookups_count_what_was_there_and_what_was_fetched(tmp_path: Path) -> None:
    lookups = cache.Lookups()
    for _ in range(3):
        cache.cached("a.arrow", 4, lambda aside: aside.write_bytes(b"abcd") and None)
    assert lookups.take() == (2, 1) and lookups.take() == (0, 0)


def test_grafana_asks_for_metrics_that_are_told() -> None:
    text = (MONITORING / "grafana.json").read_text()
    board = json.loads(text)
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert asked and all(panel["title"] for panel in board["panels"])
    named = {name for expr in asked for name in re.findall(r"\b(?:ray|samsweep)_\w+", expr)}
    ours = {name for name in named if not name.startswith("ray_")}
    assert ours == {metric.exported for metric in METRICS.values()}, "each is shown, and no other"
    for metric in METRICS.values():
        assert metric.tags[: len(RUN)] == RUN and ("trial" in metric.tags) == (metric.tags[: len(TRIAL)] == TRIAL)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) and all("fieldConfig" in p for p in board["panels"] if p["type"] == "timeseries")


def test_prometheus_takes_ray_off_our_names_alone() -> None:
    text = (MONITORING / "prometheus.yml").read_text()
    assert "--web.listen-address=127.0.0.1" in text.split("\n\n")[0], "how it is started, on top"
    (job,) = yaml.safe_load(text)["scrape_configs"]
    (nodes,) = job["file_sd_configs"]
    assert nodes["files"] == ["/tmp/ray/prom_metrics_service_discovery.json"]
    (rename,) = [rule for rule in job["metric_relabel_configs"] if rule.get("target_label") == "__name__"]
    for name, becomes in (("ray_samsweep_epoch", "samsweep_epoch"), ("ray_node_cpu_utilization", None)):
        match = re.fullmatch(rename["regex"], name)
        assert (match and match.group(1)) == becomes
