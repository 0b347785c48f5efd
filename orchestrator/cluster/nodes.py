"""Checks of all nodes of a cluster, each with what to do where it fails."""

from __future__ import annotations

import contextlib
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.cluster.probe import Facts, Probe
from orchestrator.doctor import Check
from orchestrator.errors import last_line
from orchestrator.storage import Storage

SECONDS = 90.0  #: for a node to answer
SKEW = 2.0  #: seconds between two clocks; a driver that is silent for a minute counts as gone
ROOM = 10 * 10**9  #: bytes of a node's disk
SLOW = 10e6  #: bytes a second of a store
NETWORK = 100e6  #: bytes a second between nodes, below which gradients wait
_MB, _GB = 1e6, 1e9


@dataclass(frozen=True)
class Node:
    """One that answered."""

    address: str
    gpus: float  #: that Ray counts
    probe: Any
    facts: Facts


def examine_nodes(data: Storage, storage: Storage, dashboard: str | None) -> list[Check]:
    """All checks of the cluster that this process has joined; none raises.

    ``dashboard``: its address as the cluster's head sees it.
    """
    with _nodes() as (nodes, silent):
        answered = Check(
            "nodes",
            bool(nodes) and not silent,
            f"{len(nodes)} answer" + (f"; silent: {', '.join(silent)}" if silent else ""),
            "look at the dashboard's Cluster page; is the image the same everywhere?",
        )
        if not nodes:
            return [answered]
        checks: dict[str, Callable[[], Check]] = {
            "versions": lambda: _versions(nodes),
            "GPUs": lambda: _gpus(nodes),
            "token": lambda: _tokens(nodes),
            "refusal": lambda: _refusal(dashboard),
            "clocks": lambda: _clocks(nodes),
            "disks": lambda: _disks(nodes),
            "STORAGE": lambda: _storage(nodes, storage),
            "DATA": lambda: _data(nodes, data),
            "all-reduce": lambda: _network(nodes),
        }
        return [answered, *(_guarded(name, check) for name, check in checks.items())]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """A node that dies while it is asked is a line, too."""
    try:
        return check()
    except Exception as error:
        return Check(name, False, _line(error), "look at the dashboard's Cluster page, and ask again")


@contextlib.contextmanager
def _nodes() -> Iterator[tuple[list[Node], list[str]]]:
    """A probe on every node; and the addresses of those that are silent."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    probes = {}
    for node in alive:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        probes[node["NodeID"]] = ray.remote(num_cpus=0, scheduling_strategy=there)(Probe).remote()
    asked = {key: probe.facts.remote() for key, probe in probes.items()}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=SECONDS)
    found, silent = [], []
    for node in alive:
        key, address = node["NodeID"], node["NodeManagerAddress"]
        try:
            facts = ray.get(asked[key], timeout=0)
        except Exception as error:
            silent.append(f"{address} ({_line(error)})")
            continue
        found.append(Node(address, node["Resources"].get("GPU", 0), probes[key], facts))
    try:
        yield found, silent
    finally:
        for probe in probes.values():
            ray.kill(probe)


def _line(error: BaseException) -> str:
    return last_line(str(error), type(error).__name__)[:160]


def _versions(nodes: Sequence[Node]) -> Check:
    """Ray refuses other versions of itself and of Python by itself as a rule; torch it does not look at."""
    wrong, found = [], []
    for name in ("python", "ray", "torch"):
        by = {getattr(node.facts, name): node.address for node in nodes}
        found.append(f"{name} {', '.join(by)}")
        if len(by) > 1:
            wrong.append(f"{name}: " + ", ".join(f"{version} on {address}" for version, address in by.items()))
    return Check("versions", not wrong, "; ".join(wrong or found), "use one image on all nodes")


def _gpus(nodes: Sequence[Node]) -> Check:
    wrong = [
        f"{node.address}: Ray counts {node.gpus:g}, torch sees {node.facts.gpus}"
        for node in nodes
        if node.gpus != node.facts.gpus and not (node.gpus == 0 and node.facts.gpus == 0)
    ]
    total = sum(node.gpus for node in nodes)
    found = "; ".join(wrong) or (f"{total:g} on {sum(n.gpus > 0 for n in nodes)} node(s)" if total else "none")
    return Check("GPUs", not wrong, found, "nvidia-smi there: does the driver fit torch's CUDA?")


def _tokens(nodes: Sequence[Node]) -> Check:
    open_ = [node.address for node in nodes if not node.facts.token]
    found = f"not set on {', '.join(open_)}" if open_ else "set on all nodes"
    return Check("token", not open_, found, "export RAY_AUTH_MODE=token before `ray start`, and the same token there")


def _refusal(dashboard: str | None) -> Check:
    """Whether somebody without a token is sent away."""
    if not dashboard:
        return Check("refusal", True, "no dashboard that could be asked")
    try:
        urllib.request.urlopen(f"http://{dashboard}/api/jobs/", timeout=10).close()
    except urllib.error.HTTPError as error:
        refused = error.code in (401, 403)
        return Check("refusal", refused, f"without a token: {error.code}", "set RAY_AUTH_MODE=token on the head")
    except OSError as error:
        return Check("refusal", True, f"{dashboard} is out of reach from here ({_line(error)})")
    return Check("refusal", False, "the dashboard serves whoever asks", "set RAY_AUTH_MODE=token on the head")


def _clocks(nodes: Sequence[Node]) -> Check:
    """How far each clock is from this process's, half the way there and back taken off."""
    skews = {}
    for node in nodes:
        tries = []
        for _ in range(3):
            began = time.time()
            there = ray.get(node.probe.clock.remote(), timeout=SECONDS)
            end = time.time()
            tries.append((end - began, there - (began + end) / 2))
        skews[node.address] = min(tries)[1]
    worst = max(skews, key=lambda address: abs(skews[address]))
    found = f"at most {abs(skews[worst]):.2f} s, on {worst}"
    return Check("clocks", abs(skews[worst]) <= SKEW, found, "run chrony or systemd-timesyncd there")


def _disks(nodes: Sequence[Node]) -> Check:
    free = {(node.address, folder): size for node in nodes for folder, size in node.facts.free.items()}
    (address, folder), least = min(free.items(), key=lambda item: item[1])
    found = f"at least {least / _GB:.0f} GB free ({folder} on {address})"
    return Check("disks", least >= ROOM, found, "free 10 GB there, or set SAMSWEEP_CACHE to a larger disk")


def _storage(nodes: Sequence[Node], storage: Storage) -> Check:
    """Rates of every node by itself, one after another: what a node alone has of the store."""
    rates, wrong = [], []
    for node in nodes:
        try:
            rates.append(ray.get(node.probe.store.remote(storage.uri), timeout=SECONDS))
        except Exception as error:
            wrong.append(f"{node.address}: {_line(error)}")
    if wrong:
        return Check("STORAGE", False, "; ".join(wrong), "are credentials and AWS_ENDPOINT_URL set there?")
    write, read = (min(rate[way] for rate in rates) for way in (0, 1))
    found = f"{storage.uri} from every node: write {write / _MB:.0f} MB/s, read {read / _MB:.0f} MB/s at least"
    if min(write, read) < SLOW:
        return Check("STORAGE", False, found, "10 MB/s are little: is the store in the nodes' region?")
    mark = f".probe-{uuid.uuid4().hex}"  # of this process, which every node must see
    try:
        storage.write(mark, b"")
        return _shared("STORAGE", nodes, storage, found)
    finally:
        storage.remove(mark)


def _data(nodes: Sequence[Node], data: Storage) -> Check:
    return _shared("DATA", nodes, data, f"{data.uri}, the same from every node")


def _shared(what: str, nodes: Sequence[Node], storage: Storage, found: str) -> Check:
    """Whether all nodes see the same there: a folder that they do not share would look well from each."""
    names = {}
    for node in nodes:
        try:
            names[node.address] = ray.get(node.probe.names.remote(storage.uri), timeout=SECONDS)
        except Exception as error:
            return Check(
                what, False, f"{node.address}: {_line(error)}", "are credentials and AWS_ENDPOINT_URL set there?"
            )
    first = next(iter(names))
    other = next((address for address, seen in names.items() if seen != names[first]), None)
    if other:
        wrong = f"{storage.uri}: {first} and {other} do not see the same"
        return Check(what, False, wrong, "a folder must be shared by all nodes; or use s3://")
    return Check(what, True, found)


def _network(nodes: Sequence[Node]) -> Check:
    """An all-reduce over all nodes: by NCCL where all have a GPU, over the processors otherwise."""
    title = "all-reduce"
    workers = [node for node in nodes if node.gpus] or list(nodes)
    if len(workers) < 2:
        return Check(title, True, "one node: nothing to add up; an autoscaler starts others when a trial wants them")
    cuda = all(node.gpus and node.facts.gpus for node in workers)
    try:
        host, port = ray.get(workers[0].probe.meet.remote(), timeout=SECONDS)
        asked = [n.probe.add_up.remote(rank, len(workers), host, port, cuda) for rank, n in enumerate(workers)]
        rate = min(ray.get(asked, timeout=SECONDS))
    except Exception as error:
        advice = "are all ports open between the nodes? NCCL_DEBUG=INFO, NCCL_SOCKET_IFNAME=..."
        return Check(title, False, _line(error), advice)
    found = f"{rate / _GB:.2f} GB/s over {len(workers)} nodes ({'NCCL' if cuda else 'gloo, without GPUs'})"
    return Check(title, rate >= NETWORK, found, "100 MB/s are little: does NCCL use the right interface?")
