"""Nothing of a local run listens where another machine could reach it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sockets import is_loopback, listening

from orchestrator.runtime import JOINABLE, on_loopback

WORDS = ("train", "decoder", "tiny", "--workers", "2", "--epochs", "400", "--name", "heard", "--set", "train.batch=4")


def test_the_list_of_sockets_has_those_that_are_open_to_all() -> None:
    code = "import socket; s = socket.create_server(('{}', 0)); print(s.getsockname()[1], flush=True); input()"
    for address in ("0.0.0.0", "127.0.0.1"):
        command = ["sh", "-c", f'"{sys.executable}" -c "{code.format(address)}"; true']
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            assert (address, port) in listening(process.pid), "also that of a grandchild"
            process.communicate("\n")
        assert is_loopback(address) == (address == "127.0.0.1")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert is_loopback("::1") and ("::1", server.getsockname()[1]) in listening(os.getpid())


def test_ray_is_as_before_once_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants, services

    monkeypatch.setenv(JOINABLE, "1")
    before = services.get_node_ip_address()
    with on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
    assert services.get_node_ip_address() == before and ray_constants.ENABLE_RAY_CLUSTER


@pytest.mark.cluster
def test_a_local_run_with_two_ranks_listens_on_loopback_alone(tiny_data: Path, tmp_path: Path) -> None:
    """Ray's head, its agents and workers, where torch's ranks meet and how they talk: looked at while they train."""
    code = "import sys; from orchestrator.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *WORDS, "--data", str(tiny_data), "--storage", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said, end = [], time.monotonic() + 150
            for line in process.stderr:
                said.append(line)
                if line.startswith("epoch 3/") or time.monotonic() > end:
                    break
            heard = listening(process.pid)
        finally:
            process.terminate()
            process.stderr.read()
    assert line.startswith("epoch 3/"), "".join(said)
    names = set(heard.values())
    assert {"gcs_server", "raylet"} <= names and any(name.startswith("ray::RayTrainWo") for name in names), names
    open_to_others = {at: who for at, who in heard.items() if not is_loopback(at[0])}
    assert not open_to_others
