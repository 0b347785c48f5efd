"""Machines that are there already: ending on them what was started there, and nothing else."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

from orchestrator.cluster.launch import Cluster
from orchestrator.errors import UserError, last_line

SECONDS = 120


def stop_nodes(cluster: Cluster) -> None:
    """Run the launch file's ``metadata.stop`` on every node, the head last.

    Not Ray's own `ray down`, which would end every Ray of the head's machine, and none on the others.

    Raises:
        UserError: the file does not say how to stop, or a node could not be reached.
    """
    config = cluster.config
    stop = config.get("metadata", {}).get("stop")
    if not stop:
        raise UserError(f"{cluster.file}: metadata.stop: the command is missing that ends Ray on a node")
    provider = config["provider"]
    head = provider.get("external_head_ip") or provider["head_ip"]
    wrong = []
    for node in [*provider.get("worker_ips", []), None]:  # a worker is reached through the head, as Ray does
        words = ssh(config["auth"], head, node)
        done = subprocess.run(
            [*words, stop], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            wrong.append(f"{node or head}: {last_line(done.stderr or done.stdout, done.returncode)}")
    if wrong:
        raise UserError(f"cluster '{cluster.name}' may still run on {'; '.join(wrong)}")


def ssh(auth: dict[str, Any], head: str, node: str | None = None) -> list[str]:
    """The words that reach the head, or a node behind it; a command follows."""
    key = Path(str(auth["ssh_private_key"])).expanduser()
    options = ["-i", str(key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=20"]
    port = ["-p", str(auth["ssh_port"])] if "ssh_port" in auth else []
    jump = ["ssh", *options, *port, "-W", "%h:%p", f"{auth['ssh_user']}@{head}"]
    through = ["-o", f"ProxyCommand={shlex.join(jump)}"] if node else port
    return ["ssh", *options, *through, f"{auth['ssh_user']}@{node or head}"]
