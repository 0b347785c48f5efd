"""The way to a cluster's dashboard, which listens on its head's loopback alone: an ssh tunnel."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO

from orchestrator.cluster.launch import RAY, Cluster
from orchestrator.errors import UserError, last_line

SECONDS = 90.0  #: for ssh to get through
PROBE_SECONDS = 5.0


@contextlib.contextmanager
def reach(cluster: Cluster, port: int | None = None) -> Iterator[str]:
    """The address of a cluster's dashboard while the block lasts; ``port``: on this machine, by default a free one.

    Raises:
        UserError: there is no cluster, or it cannot be reached.
    """
    if cluster.address:
        if not answers(cluster.address):
            raise UserError(f"{cluster.address}: nothing answers there; is the tunnel open?")
        yield cluster.address
        return
    if cluster.is_kubernetes:
        raise UserError(
            f"CLUSTER={cluster.name}: kubectl port-forward service/NAME-head-svc 8265, then CLUSTER=http://127.0.0.1:8265"
        )
    port = port or _free_port()
    address = f"http://127.0.0.1:{port}"
    there = ["--remote-port", str(cluster.dashboard_port)]
    words = [RAY, "dashboard", "--no-config-cache", "--port", str(port), *there, str(cluster.file)]
    with tempfile.TemporaryFile() as log:
        # a session of its own: Ctrl-C is for us to understand, and ssh must go with its parent
        tunnel = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(tunnel, address, cluster, log)
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tunnel.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                tunnel.wait(10)


def is_up(cluster: Cluster) -> bool:
    """Whether a cluster is there and its dashboard answers."""
    if cluster.address or cluster.is_kubernetes:
        return False
    try:
        with reach(cluster):
            return True
    except UserError:
        return False


def answers(address: str) -> bool:
    """Whether a dashboard answers there, be it only that it wants a token."""
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except (OSError, ValueError):
        return False
    return True


def _wait(tunnel: subprocess.Popen[bytes], address: str, cluster: Cluster, log: IO[bytes]) -> None:
    end = time.monotonic() + SECONDS
    while not answers(address):
        if tunnel.poll() is not None or time.monotonic() > end:
            log.seek(0)
            said = last_line(log.read().decode(errors="replace"), "no answer")
            raise UserError(
                f"cluster '{cluster.name}' cannot be reached ({said}); is it up? make up CLUSTER={cluster.name}"
            )
        time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
