"""An ingest whose shards Ray tasks write: the same bytes as one in this process, also when it is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_samples import files, put_pair
from ray.cluster_utils import Cluster

from orchestrator.data.ingest import ingest
from orchestrator.data.on_ray import on_ray
from orchestrator.data.progress import FILE
from orchestrator.errors import UserError
from orchestrator.runtime import ray_cluster
from orchestrator.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]  # two Rays at once share two cores badly
HOW = {"layout": "folders", "task": "binary", "skip_bad": True, "shard_bytes": 6000}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    for split, count in (("train", 60), ("test", 12)):
        for i in range(count):
            put_pair(root / f"{split}/images/{i:03d}.jpg", root / f"{split}/masks/{i:03d}.png", i)
    (root / "train/images/007.jpg").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of one core each, joined as any cluster is."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = nodes.address
    try:
        with ray_cluster(tmp_path_factory.mktemp("log") / "ray.log") as (capacity, _):
            assert len(capacity.nodes) == 2
            yield nodes
    finally:
        os.environ.pop("RAY_ADDRESS") if before is None else os.environ.update(RAY_ADDRESS=before)
        nodes.shutdown()


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    ingest("own", source, Storage(str(out)), **HOW)  # type: ignore[arg-type]
    return out


def test_the_same_bytes(source: Path, whole: Path, tmp_path: Path, cluster: Cluster) -> None:
    seen: list[int] = []
    out = Storage(str(tmp_path))
    ingest("own", source, out, runner=on_ray, progress=lambda d, t, i: seen.append(d), **HOW)  # type: ignore[arg-type]
    assert files(tmp_path) == files(whole)
    assert seen == sorted(seen) and seen[-1] == 72


def test_errors_of_the_tasks_are_the_users(source: Path, tmp_path: Path, cluster: Cluster) -> None:
    how = {**HOW, "skip_bad": False}
    with pytest.raises(UserError, match=r"train/images/007.jpg: not an image of a known format"):
        ingest("own", source, Storage(str(tmp_path / "out")), runner=on_ray, **how)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_lost_node_takes_no_shard_with_it(source: Path, whole: Path, tmp_path: Path, cluster: Cluster) -> None:
    lost = cluster.add_node(num_cpus=1)

    def lose(done: int, total: int, item: str) -> None:
        if done > 20 and lost in cluster.list_all_nodes():
            cluster.remove_node(lost, allow_graceful=False)

    ingest("own", source, Storage(str(tmp_path)), runner=on_ray, progress=lose, **HOW)  # type: ignore[arg-type]
    assert lost not in cluster.list_all_nodes()
    assert files(tmp_path) == files(whole)


KILLED = """
import os, sys, threading, time
from pathlib import Path
from orchestrator.data.ingest import ingest
from orchestrator.data.on_ray import on_ray
from orchestrator.runtime import ray_cluster
from orchestrator.storage import Storage
import json
how = json.loads(sys.argv[3])
with ray_cluster(Path(sys.argv[4]), dashboard=False):
    print("up", flush=True)
    ingest("own", sys.argv[1], Storage(sys.argv[2]), runner=on_ray, progress=lambda d, t, i: time.sleep(0.2), **how)
"""


def noted(out: Path) -> int:
    """How many portions the note says are finished."""
    note = out / "own" / FILE
    return len(json.loads(note.read_text())["done"]) if note.exists() else 0


def test_kills_lose_and_double_nothing(source: Path, whole: Path, tmp_path: Path) -> None:
    out, chance = tmp_path / "out", random.Random(3)
    for wanted in (2, 5, 9):
        command = [sys.executable, "-c", KILLED, str(source), str(out), json.dumps(HOW), str(tmp_path / "ray.log")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert child.stdout and child.stdout.readline().strip() == "up"
        while noted(out) < wanted and child.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.3))
        assert child.poll() is None, "it was to be killed before its end"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert noted(out) >= wanted
    ingest("own", source, Storage(str(out)), **HOW)  # type: ignore[arg-type]
    assert files(out) == files(whole)
