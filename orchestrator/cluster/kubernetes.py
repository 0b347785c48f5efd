"""A command as a RayJob: Kubernetes starts a cluster for it, runs it, and takes the cluster away again."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from orchestrator.cluster.launch import CHANGE, Cluster
from orchestrator.errors import UserError, last_line

LONGEST = 47  #: characters of a RayJob's name, which KubeRay adds to


def run(cluster: Cluster, name: str, words: Sequence[str], say: Callable[[str], None]) -> int:
    """Create the RayJob; returns 0 once Kubernetes has it. It is watched with kubectl, which a line tells.

    Raises:
        UserError: there is no kubectl, or Kubernetes does not take the job.
    """
    if not shutil.which("kubectl"):
        raise UserError(f"CLUSTER={cluster.name}: kubectl is not installed; see docs/clusters.md")
    job = as_rayjob(cluster.config, name, words)
    text = yaml.safe_dump(job, sort_keys=False)
    if CHANGE in text:
        line = next(line.strip() for line in text.splitlines() if CHANGE in line)
        raise UserError(f"{cluster.file}: '{line}': put your own value in {CHANGE}'s place")
    done = subprocess.run(["kubectl", "create", "-f", "-"], input=text, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"kubectl create: {last_line(done.stderr, done.returncode)}")
    called = job["metadata"]["name"]
    say(f"RayJob {called} is created; follow it with: kubectl logs -f job/{called}")
    say(f"end it, with its cluster: kubectl delete rayjob {called}")
    return 0


def as_rayjob(config: dict[str, Any], name: str, words: Sequence[str]) -> dict[str, Any]:
    """The launch file's RayJob with this command; Kubernetes' names have small letters, digits and '-' alone.

    Raises UserError for a word with a space in it.
    """
    words = [
        word for word, after in zip(words, [*words[1:], "-"], strict=True) if word and after
    ]  # `--set ''`: nothing
    if spaced := next((word for word in words if re.search(r"\s", word)), None):
        raise UserError(f"'{spaced}': KubeRay takes a command apart at spaces; give one setting, without spaces")
    job = copy.deepcopy(config)
    called = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[-LONGEST:].strip("-")
    job.setdefault("metadata", {})["name"] = called if called[:1].isalpha() else f"r-{called}"
    job["spec"]["entrypoint"] = " ".join(["python", "-u", "-m", "orchestrator.cli", *words])
    return job
