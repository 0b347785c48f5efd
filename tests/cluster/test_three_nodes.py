"""Three Ray nodes with addresses of their own: a sweep by a job, data and results in S3, and a node that dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import ceph
import pytest
from hosts import BRIDGE, DASHBOARD, Cluster, hosts, ray_on

from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CLUSTER = f"http://127.0.0.1:{DASHBOARD}"
SWEEP = ["sweep", "decoder", "tiny", "--trials", "2", "--epochs", "12", "--workers", "2", "--name", "across"]
SETTINGS = ["--set", "train.batch=4 train.precision=fp32 train.lr=1e-3", "--data", "s3://bucket/data"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Iterator[Cluster]:
    """Ray on three hosts, a Ceph on their bridge, the dataset in it."""
    if missing := ceph.missing():
        pytest.fail(f"not installed: {', '.join(missing)}; make test-cluster installs them")
    with hosts(3) as three, ceph.gateway(tmp_path_factory.mktemp("ceph"), BRIDGE) as store:
        before = dict(os.environ)
        os.environ.update(store.environment)
        try:
            import s3fs

            files = s3fs.S3FileSystem()
            files.mkdir("bucket")
            files.put(str(tiny_data), "bucket/data", recursive=True)
            with ray_on(three, store.environment, tmp_path_factory.mktemp("nodes")) as found:
                yield found
        finally:
            os.environ.clear()
            os.environ.update(before)


def command(cluster: Cluster, *words: str) -> list[str]:
    """samsweep on the head's own machine, where the dashboard's loopback is: as through a tunnel."""
    script = "import sys; from orchestrator.cli import main; sys.exit(main())"
    return cluster.head.words(sys.executable, "-c", script, *words)


def samsweep(cluster: Cluster, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(cluster, *words), env=cluster.environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def test_all_nodes_are_well(cluster: Cluster) -> None:
    done = samsweep(
        cluster, "doctor", "--cluster", CLUSTER, "--json", "--data", "s3://bucket/data", "--storage", "s3://bucket/r"
    )
    checks = {check["name"]: check for check in json.loads(done.stdout[done.stdout.index("[\n") :])}
    assert "3 answer" in checks["nodes"]["found"] and all(check["ok"] for check in checks.values()), checks
    assert "gloo" in checks["all-reduce"]["found"] and "401" in checks["refusal"]["found"]


def test_who_has_no_token_is_refused(cluster: Cluster) -> None:
    ask = (
        "import sys, urllib.request as u, urllib.error as e\n"
        f"r = u.Request('{CLUSTER}/api/jobs/', data=b'{{\"entrypoint\": \"true\"}}', method='POST')\n"
        "try: u.urlopen(r, timeout=20); print(200)\n"
        "except e.HTTPError as x: print(x.code)"
    )
    done = subprocess.run(cluster.head.words(sys.executable, "-c", ask), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "401"
    wrong = {**cluster.environment, "RAY_AUTH_TOKEN": "0" * 32}
    words = command(cluster, "train", "decoder", "tiny", "--cluster", CLUSTER, *SETTINGS, "--storage", "s3://bucket/r")
    done = subprocess.run(words, env=wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "token" in done.stderr, done.stderr


def test_the_dashboard_listens_on_the_heads_loopback_alone(cluster: Cluster) -> None:
    for host in cluster.hosts:
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://{host.address}:{DASHBOARD}/api/version", timeout=5)


def test_a_sweep_across_nodes_outlives_one_of_them(cluster: Cluster, tmp_path: Path) -> None:
    """DDP over two nodes; the laptop goes away and comes back; a node with a rank dies; the sweep ends well."""
    storage = ["--storage", "s3://bucket/results"]
    log = tmp_path / "log"
    with log.open("wb") as out:
        words = command(cluster, *SWEEP, *SETTINGS, *storage, "--cluster", CLUSTER)
        laptop = subprocess.Popen(words, env=cluster.environment, stdout=out, stderr=out)
    run = Storage("s3://bucket/results") / "across"
    until(lambda: list(run.names("trials")), 240, log)
    until(lambda: len(ranks(cluster)) == 2, 120, log)
    laptop.kill()
    laptop.wait()
    time.sleep(5)
    victim = next(host for host in cluster.hosts[1:] if host.name in ranks(cluster))
    victim.die()
    follow = samsweep(cluster, "logs", "across", "--cluster", CLUSTER)
    assert "leaderboard of this run" in follow.stdout
    rows = read_rows(run.parent, "across")
    assert [row["status"] for row in rows] == ["completed"] * 2, [row["cause"] for row in rows]
    assert all(len(row["epochs"]) == 12 for row in rows)
    assert "SUCCEEDED" in samsweep(cluster, "jobs", "--cluster", CLUSTER).stdout


def test_a_job_is_stopped_as_by_ctrl_c_and_gone_on_with(cluster: Cluster, tmp_path: Path) -> None:
    name, storage = "halted", ["--storage", "s3://bucket/results"]
    words = [*SWEEP[:-1], name, *SETTINGS, *storage, "--cluster", CLUSTER]
    with (tmp_path / "log").open("wb") as out:
        laptop = subprocess.Popen(command(cluster, *words), env=cluster.environment, stdout=out, stderr=out)
    run = Storage("s3://bucket/results") / name
    until(lambda: list(run.names("trials")), 240, tmp_path / "log")
    again = subprocess.run(
        command(cluster, *words), env=cluster.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert again.returncode == 2 and "is running there already" in again.stderr
    assert "stopped" in samsweep(cluster, "stop", name, "--cluster", CLUSTER).stdout
    assert laptop.wait(60) == 130
    done = samsweep(cluster, *words)
    assert "going on with sweep 'halted'" in done.stdout
    assert [row["status"] for row in read_rows(run.parent, name)] == ["completed"] * 2


def ranks(cluster: Cluster) -> list[str]:
    """The hosts on which a rank trains, by name."""
    return [host.name for host in cluster.hosts for line in host.commands() if "RayTrainWorker" in line]


def until(check, seconds: float, log: Path) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.5)
