"""``python -m orchestrator.cluster.notice SECONDS``: tell the cluster of RAY_ADDRESS that its nodes are about to go.

As a cloud does that takes a spot instance back: every trial writes its state at its next step. Comes back after
``SECONDS``, within which that should have happened.
"""

from __future__ import annotations

import subprocess
import sys
import time

from orchestrator.cluster.launch import RAY

DEADLINE = 3600  #: seconds in which Ray itself ends no node: who gives notice ends the cluster


def give_notice() -> list[str]:
    """What Ray said where it did not take the notice, by node."""
    import ray

    ray.init(log_to_driver=False)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    address = ray.get_runtime_context().gcs_address
    ray.shutdown()
    wrong = []
    for node in nodes:
        words = [RAY, "drain-node", "--address", address, "--node-id", node]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the job is about to end"]
        done = subprocess.run(
            [*words, "--deadline-remaining-seconds", str(DEADLINE)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            wrong.append(f"node {node[:8]}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return wrong


if __name__ == "__main__":
    for line in give_notice():
        print(line, file=sys.stderr)
    time.sleep(float(sys.argv[1]))
