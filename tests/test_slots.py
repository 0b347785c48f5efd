"""Workers that stay for many jobs: the same process, a clean one after a failure, fewer of them after a lost node."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError

from orchestrator.config import make_settings
from orchestrator.errors import NO_ROOM
from orchestrator.job import Job
from orchestrator.mailbox import open_mailbox
from orchestrator.runtime import ray_cluster
from orchestrator.slots import JobFailed, Slot, Slots, cause, what_died
from orchestrator.storage import Storage

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


@pytest.mark.parametrize(
    ("failure", "died"),
    [
        (ValueError("bad"), ""),
        (ray.exceptions.ActorDiedError(), "process"),
        (ray.exceptions.ActorUnavailableError("The actor died because its node has died. Node Id: 7", None), "node"),
    ],
)
def test_what_died(failure: Exception, died: str) -> None:
    error = ray.train.WorkerGroupError("failed", {0: RuntimeError("Connection closed by peer"), 1: failure})
    assert what_died(error) == died


def test_ranks_that_only_lost_sight_of_each_other_say_nothing_of_the_code() -> None:
    """A node that is dead tells nobody: the ranks on others notice before Ray does."""
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [10.77.0.2]:4711")
    assert what_died(ray.train.WorkerGroupError("failed", {0: lost})) == "peer"
    assert what_died(ray.train.WorkerGroupError("failed", {0: lost, 1: ValueError("bad")})) == ""


def test_no_room_is_no_fault_of_the_trial() -> None:
    error = ray.train.ControllerError(WorkerGroupStartupTimeoutError(2))
    assert what_died(error) == "room" and cause(error) == NO_ROOM


def test_the_cause_is_that_of_the_rank_which_failed_first() -> None:
    error = ray.train.WorkerGroupError(
        "failed", {0: RuntimeError("[gloo] Connection closed by peer"), 1: ValueError("first\n the last line ")}
    )
    assert cause(error) == "ValueError: the last line" and cause(JobFailed("as it is")) == "as it is"


def test_a_worker_that_ray_ended_for_want_of_memory_says_so() -> None:
    told = "Task was killed due to the node running low on memory.\nMemory on the node was 22GB / 23GB (0.95)\nSet max_"
    error = ray.train.WorkerGroupError("failed", {0: WorkerHealthCheckFailedError("no answer", RuntimeError(told))})
    assert cause(error).startswith("out of memory: ")


def job(name: str, folder: Path, **train: Any) -> Job:
    settings = make_settings("decoder", "x", {f"train.{key}": value for key, value in train.items()})
    return Job(settings.flat(), "nowhere", str(folder / name), "")


def tell_process(job: Job, ranks: Any, device: Any, report: Any, on_step: Any, on_notice: Any) -> None:
    report({"epoch": 1, "test": {}, "pid": os.getpid()})
    if job.name.startswith("bad"):
        raise ValueError(f"{job.name} is bad")
    if job.name == "long":
        time.sleep(600)


def wait_for_room(job: Job, ranks: Any, device: Any, report: Any, on_step: Any, on_notice: Any) -> None:
    """Tells the number of ranks, and trains until there is one rank; tells a notice, too."""
    report({"epoch": 1, "test": {}, "world": ranks.world, "rank": ranks.rank})
    while ranks.world > 1:
        time.sleep(0.05)
        if on_notice():
            report({"epoch": 2, "test": {}, "world": ranks.world, "notice": True})
    report({"epoch": 3, "test": {}, "world": ranks.world})


def letters(mailbox: Any, trial: str, seconds: float) -> Iterator[tuple[str, Any]]:
    while True:
        letter = ray.get(mailbox.take.remote(trial), timeout=seconds)
        yield letter
        if letter[0] in ("done", "failed"):
            return


@pytest.fixture
def local_ray(tmp_path: Path) -> Iterator[None]:
    with ray_cluster(tmp_path / "ray.log", dashboard=False):
        yield


@pytest.mark.slow
@pytest.mark.xdist_group("slots")
def test_jobs_share_their_workers_until_one_fails(local_ray: None, tmp_path: Path) -> None:
    mailbox = open_mailbox()
    names = ["one", "two", "bad", "three", "long"]
    with Slots("run", Storage(str(tmp_path / "slots")), mailbox, most=1, work=tell_process) as slots:
        for name in names:
            slots.start(job(name, tmp_path))
        told = {name: list(letters(mailbox, name, 120)) for name in names[:-1]}
        last = next(letters(mailbox, "long", 120))
        log = (tmp_path / "ray.log").read_text()[-4000:]
        assert last[1]["pid"] == told["three"][0][1]["pid"], f"{last}, {told}: why has a process died?\n{log}"
    assert not any(thread.is_alive() for thread in slots._threads), "left in the middle of a job"
    assert slots._slots[0]._fit is None or slots._slots[0]._fit.done()
    pids = {name: letter[0][1]["pid"] for name, letter in told.items()}
    assert pids["one"] == pids["two"] == pids["bad"] != pids["three"]
    assert told["bad"][1] == ("failed", "ValueError: bad is bad") and told["three"][1] == ("done", None)
    assert ray.get(mailbox.close.remote("bad")) == "ValueError: bad is bad"


@pytest.mark.cluster
def test_other_resources_are_other_workers(local_ray: None, tmp_path: Path) -> None:
    mailbox = open_mailbox()
    slot = Slot("run", Storage(str(tmp_path / "slots")), mailbox, tell_process)
    slot.run(job("one", tmp_path))
    slot.run(job("two", tmp_path, lr=0.5))
    slot.run(job("half", tmp_path, cpus_per_worker=0.5))
    pids = [next(letters(mailbox, name, 1))[1]["pid"] for name in ("one", "two", "half")]
    assert pids[0] == pids[1] != pids[2]
    with pytest.raises(JobFailed, match="bad again is bad"):
        slot.run(job("bad again", tmp_path))
    slot.run(job("last", tmp_path))
    slot.close()
    assert slot._fit is None


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A cluster of two nodes with one core each; ``node`` is the one that may go."""
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1")  # which a local Ray before may have turned off
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        with ray_cluster(tmp_path / "ray.log"):
            yield SimpleNamespace(cluster=cluster, node=node)
    finally:
        cluster.shutdown()


def run_until_alone(tmp_path: Path, lose: Callable[[], None], **train: Any) -> list[dict[str, Any]]:
    """The records of a job on two nodes, of which one goes."""
    mailbox = open_mailbox()
    slot = Slot("run", Storage(str(tmp_path / "slots")), mailbox, wait_for_room)
    runner = Thread(target=lambda: slot.run(job("one", tmp_path, workers=2, **train)), daemon=True)
    runner.start()
    records = [ray.get(mailbox.take.remote("one"), timeout=120)[1]]
    assert records[0]["world"] == 2
    lose()
    while records[-1]["epoch"] < 3:
        records.append(ray.get(mailbox.take.remote("one"), timeout=240)[1])
    runner.join(20)
    assert not runner.is_alive()
    return records


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_a_lost_node_leaves_the_ranks_that_have_room(two_nodes: SimpleNamespace, tmp_path: Path) -> None:
    records = run_until_alone(tmp_path, lambda: two_nodes.cluster.remove_node(two_nodes.node), min_workers=1)
    assert records[-1]["world"] == 1


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_a_node_that_is_to_go_is_noticed(two_nodes: SimpleNamespace, tmp_path: Path) -> None:
    """As a spot instance that the cloud takes back: the notice comes while both ranks still train."""

    def drain() -> None:
        words = ["drain-node", "--address", two_nodes.cluster.address, "--node-id", two_nodes.node.node_id]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        command = [str(Path(sys.executable).with_name("ray")), *words, "--deadline-remaining-seconds", "12"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    records = run_until_alone(tmp_path, drain, min_workers=1)
    assert [r for r in records if r.get("notice") and r["world"] == 2], records
    assert records[-1]["world"] == 1
