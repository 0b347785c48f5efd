"""A command as a Slurm job that brings its own Ray: ``clusters/slurm.sbatch``."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import UserError, last_line

SCRIPT = Path(__file__).resolve().parents[2] / "clusters" / "slurm.sbatch"


def submit(words: Sequence[str], nodes: int, options: str = "") -> str:
    """Queue ``samsweep WORDS`` on so many nodes; returns the job's number.

    Args:
        options: of sbatch, as one would type them; they go before those of the script.

    Raises:
        UserError: there is no Slurm here, no script, or Slurm does not take the job.
    """
    if nodes < 1:
        raise UserError(f"NODES={nodes}: at least 1")
    if not SCRIPT.exists():
        raise UserError(f"{SCRIPT}: not there; run samsweep from a checkout")
    if not shutil.which("sbatch"):
        raise UserError("sbatch: not found; call this on a machine of the Slurm cluster")
    command = ["sbatch", "--parsable", f"--nodes={nodes}", *shlex.split(options), str(SCRIPT), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    number = re.match(r"\d+", done.stdout.strip())
    if done.returncode or not number:
        raise UserError(f"sbatch: {last_line(done.stderr, done.stdout.strip() or done.returncode)}")
    return number[0]
