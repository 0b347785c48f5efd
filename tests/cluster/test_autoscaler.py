"""A cluster without workers, on Ray's real autoscaler with nodes that are processes of the head's host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hosts import PORT, RAY, hosts

from orchestrator.results import read_rows
from orchestrator.storage import Storage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]
CONFIG = {
    "cluster_name": "fake",
    "max_workers": 1,
    "upscaling_speed": 10,
    "idle_timeout_minutes": 1,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    },
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}


def test_a_sweep_asks_for_workers_and_waits(tiny_data: Path) -> None:
    """Not by Ray's AutoscalingCluster, which calls ``ray stop``: whatever Ray runs on this machine would end."""
    # not in /tmp, of which a host has its own
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, hosts(1) as (host,):
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        subprocess.run(["cp", "-r", str(tiny_data), str(folder / "data")], check=True)
        environment = {
            **os.environ, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32, "PATH": f"{Path(RAY).parent}:{os.environ['PATH']}",
            "RAY_ADDRESS": f"{host.address}:{PORT}", "SAMSWEEP_TO_COME": '[{"CPU": 1, "most": 1}]',
        }  # fmt: skip
        words = ["start", "--head", "--block", f"--node-ip-address={host.address}", f"--port={PORT}", "--num-cpus=0"]
        words += ["--dashboard-host=127.0.0.1", f"--autoscaling-config={folder / 'config.json'}"]
        started = {key: value for key, value in environment.items() if key != "RAY_ADDRESS"}
        with (folder / "ray.log").open("wb") as log:
            subprocess.Popen(host.words(RAY, *words), env=started, stdout=log, stderr=log, start_new_session=True)
        time.sleep(5)
        script = "import sys; from orchestrator.cli import main; sys.exit(main())"
        sweep = ["sweep", "decoder", "tiny", "--trials", "2", "--epochs", "1", "--name", "waited"]
        sweep += ["--data", str(folder / "data"), "--storage", str(folder / "results")]
        wait = host.words(sys.executable, "-m", "orchestrator.cluster.wait", "1", "120")
        subprocess.run(wait, env=environment, check=True)
        done = subprocess.run(
            host.words(sys.executable, "-c", script, *sweep),
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert "waiting for nodes: room for 0 of 1 workers" in done.stderr and "room for 1 workers" in done.stderr
        rows = read_rows(Storage(str(folder / "results")), "waited")
        assert [row["status"] for row in rows] == ["completed"] * 2
