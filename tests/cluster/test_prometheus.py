"""Debian's Prometheus scrapes a real local sweep with the file that we ship, and answers what our dashboard asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

from orchestrator.telemetry import METRICS

MONITORING = Path(__file__).parents[2] / "clusters/monitoring"
SERVER = shutil.which("prometheus")
FILE = "/tmp/ray/prom_metrics_service_discovery.json"
WORDS = ("--trials", "2", "--at-once", "1", "--epochs", "30", "--set", "train.batch=4", "--name", "seen")
#: Told by no sweep on a local folder of a method that trains its encoder.
QUIET = {"samsweep_cache_hits"}

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(560)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short name: Ray's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="sp-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def sweep(tiny_data: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep with its own folder for Ray, whose metrics are reported each second."""
    own = {"RAY_TMPDIR": str(folder), "RAY_metrics_report_interval_ms": "1000"}
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | own
    code = "import sys; from orchestrator.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sweep", "mca", "tiny", *WORDS, "--data", str(tiny_data)]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [*command, "--storage", str(folder / "results")], env=environment, stdout=said, stderr=said, text=True
        )
        yield process
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def prometheus(folder: Path) -> Iterator[str]:
    """The address of a server with our configuration, which finds this sweep's Ray alone, and asks it each second."""
    if SERVER is None:
        message = "no prometheus here: make test-cluster installs Debian's"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    text = (MONITORING / "prometheus.yml").read_text()
    assert FILE in text and text.count("interval: 5s") == 2
    ours = text.replace(FILE, str(folder / "ray" / Path(FILE).name)).replace(
        "scrape_interval: 5s", "scrape_interval: 1s"
    )
    (folder / "prometheus.yml").write_text(ours)
    at = f"127.0.0.1:{free_port()}"
    command = [SERVER, f"--config.file={folder}/prometheus.yml", f"--web.listen-address={at}"]
    with (folder / "server").open("w") as log:
        process = subprocess.Popen([*command, f"--storage.tsdb.path={folder}/tsdb"], stdout=log, stderr=log)
        yield f"http://{at}"
        process.terminate()
        process.wait(timeout=30)


def ask(server: str, expression: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{server}/api/v1/query?{query}", timeout=20) as answer:
        told = json.load(answer)
    assert told["status"] == "success", told
    result: list[dict[str, Any]] = told["data"]["result"]
    return result


def test_a_sweep_is_seen_while_it_runs(prometheus: str, sweep: subprocess.Popen[str], folder: Path) -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    end = time.monotonic() + 400
    while missing := {m.exported for m in METRICS.values() if m.name not in QUIET} - found.keys():
        said = (folder / "said").read_text()
        assert time.monotonic() < end and sweep.poll() is None, f"{missing}\n{said}"
        time.sleep(1)
        with suppress(OSError):  # the server is just starting
            for name in missing:
                if series := ask(prometheus, f'{name}{{run="seen"}}'):
                    found[name] = series
    running = found["samsweep_epoch"][0]["metric"]
    assert (running["method"], running["dataset"], running["trial"]) == ("mca", "tiny", "000")
    assert {one["metric"]["loss"] for one in found["samsweep_loss"]} >= {"bce", "iou"}
    assert float(found["samsweep_samples_per_second"][0]["value"][1]) > 0
    (most,) = ask(prometheus, 'max_over_time(samsweep_trials_running{run="seen"}[5m])')
    assert most["value"][1] == "1"
    assert found["samsweep_trials_ended_total"][0]["metric"]["status"] in ("completed", "pruned")
    _dashboard(prometheus)

    while len({one["metric"]["trial"] for one in ask(prometheus, 'samsweep_epoch{run="seen"}')} - {"000"}) < 1:
        assert time.monotonic() < end and sweep.poll() is None
        time.sleep(1)
    while [one for one in ask(prometheus, 'samsweep_epoch{run="seen"}') if one["metric"]["trial"] == "000"]:
        assert time.monotonic() < end, "a trial that is over goes away"
        time.sleep(1)


def _dashboard(server: str) -> None:
    """Every question of the dashboard is understood, and those about what is there here are answered."""
    board = json.loads((MONITORING / "grafana.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            question = target["expr"].replace("$run", ".*").replace("$trial", ".*")
            answer = ask(server, question)
            assert answer or "gpus" in question or "gram" in question or "cache" in question, panel["title"]
