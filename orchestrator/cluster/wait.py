"""``python -m orchestrator.cluster.wait NODES SECONDS``: until so many nodes have joined the cluster of RAY_ADDRESS."""

from __future__ import annotations

import os
import sys
import time


def wait_for(nodes: int, seconds: float) -> str | None:
    """None once so many nodes are there; else, after so many seconds, what is wrong, in one line.

    A process of its own a try, since Ray ends the one that cannot join.
    """
    import subprocess

    look = "import ray; ray.init(log_to_driver=False); print(sum(node['Alive'] for node in ray.nodes()))"
    end, found = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        left = max(1.0, end - time.monotonic())
        try:
            done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            break
        lines = done.stdout.split()
        found = int(lines[-1]) if done.returncode == 0 and lines else found
        if found >= nodes:
            return None
        time.sleep(1)
    return f"{os.environ.get('RAY_ADDRESS')}: {found} of {nodes} nodes after {seconds:.0f} s; see the log of Ray"


if __name__ == "__main__":
    wrong = wait_for(int(sys.argv[1]), float(sys.argv[2]))
    if wrong:
        sys.exit(f"error: {wrong}")
