"""Hosts of their own on one machine: namespaces with addresses, joined by a bridge; a Ray node on each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"  #: the bridge has .254, the hosts .1, .2 and so on
BRIDGE = f"{NETWORK}.254"
RAY = str(Path(sys.executable).with_name("ray"))
PORT, DASHBOARD = 6379, 8265


@dataclass
class Host:
    """One of them: what runs in it sees its own loopback and the bridge, and shares neither /tmp nor /dev/shm."""

    name: str
    address: str
    keeper: int = 0  #: a process in it

    def begin(self) -> None:
        """A process that keeps it, to which others come."""
        private = "mount -t tmpfs none /tmp && mount -t tmpfs none /dev/shm && echo well && exec sleep infinity"
        command = ["ip", "netns", "exec", self.name, "unshare", "--mount", "sh", "-c", private]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
        assert process.stdout and process.stdout.readline() == "well\n"
        process.stdout.close()
        self.keeper = process.pid

    def words(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.keeper}", "--mount", "--net", *words]

    def processes(self) -> list[int]:
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(pid) for pid in done.stdout.split()]

    def die(self) -> None:
        """As when somebody pulls the plug."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def commands(self) -> list[str]:
        """The command lines of what runs on it."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return found


@dataclass
class Cluster:
    """Ray on some hosts; the first is the head."""

    hosts: list[Host]
    environment: dict[str, str]
    folder: Path
    _open: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def head(self) -> Host:
        return self.hosts[0]

    def start(self, host: Host, *words: str) -> None:
        with (self.folder / f"{host.name}.log").open("ab") as log:
            command = host.words(RAY, "start", "--block", f"--node-ip-address={host.address}", *words)
            self._open.append(
                subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
            )

    def alive(self) -> int:
        """How many nodes have joined."""
        look = "import ray; ray.init(log_to_driver=False); print(sum(node['Alive'] for node in ray.nodes()))"
        environment = {**self.environment, "RAY_ADDRESS": f"{self.head.address}:{PORT}"}
        command = self.head.words(sys.executable, "-c", look)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return int(done.stdout.split()[-1]) if done.returncode == 0 else 0

    def wait_for(self, nodes: int) -> None:
        end = time.monotonic() + 120
        while self.alive() < nodes:
            logs = "\n".join(path.read_text()[-1000:] for path in sorted(self.folder.glob("*.log")))
            assert time.monotonic() < end and self._open[-1].poll() is None, f"{nodes} nodes did not come:\n{logs}"
            time.sleep(1)

    def reap(self) -> None:
        for process in self._open:
            process.wait(20)


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Make them, and take them away with all that runs in them. Needs root and iproute2."""
    mark = os.getpid() % 10000
    bridge, found = f"sw{mark}", [Host(f"sw{mark}n{n}", f"{NETWORK}.{n}") for n in range(1, count + 1)]
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{BRIDGE}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, host in enumerate(found):
            outside = f"sw{mark}v{number}"
            _ip("netns", "add", host.name)
            _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", outside, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
            host.begin()
        yield found
    finally:
        for host in found:
            host.die()
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextlib.contextmanager
def ray_on(hosts: list[Host], environment: dict[str, str], folder: Path, cpus: int = 1) -> Iterator[Cluster]:
    """A Ray node on each host, with a token."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.urandom(16).hex(), "RAY_USAGE_STATS_ENABLED": "0"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    cluster = Cluster(
        hosts, {**os.environ, **environment, **token, "PATH": path, "SAMSWEEP_CACHE": "/tmp/cache"}, folder
    )
    resources = [f"--num-cpus={cpus}", "--object-store-memory=100000000", "--disable-usage-stats"]
    try:
        cluster.start(
            cluster.head, "--head", f"--port={PORT}", "--dashboard-host=127.0.0.1", f"--dashboard-port={DASHBOARD}",
            *resources,
        )  # fmt: skip
        cluster.wait_for(1)
        for number, host in enumerate(hosts[1:], 2):  # one by one: Ray gives each half a minute, on a busy machine, too
            cluster.start(host, f"--address={cluster.head.address}:{PORT}", *resources)
            cluster.wait_for(number)
        yield cluster
    finally:
        for host in hosts:
            host.die()
        cluster.reap()
