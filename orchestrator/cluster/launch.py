"""What CLUSTER names: a launch file for Ray, a RayJob for Kubernetes, or the address of a dashboard; up and down."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UserError, unknown

FOLDER = "clusters"  #: of the checkout
CHANGE = "EDIT-ME"  #: what stands in a launch file where nobody but the user can know
RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Cluster:
    """A cluster, by what the user calls it: ``aws`` (a file in clusters/), a YAML file, or ``http://127.0.0.1:PORT``."""

    name: str

    @property
    def address(self) -> str | None:
        """Of its dashboard, where that is given; it is reached through a tunnel otherwise."""
        return self.name.rstrip("/") if self.name.startswith(("http://", "https://")) else None

    @cached_property
    def file(self) -> Path:
        """Its launch file. Raises UserError where there is none."""
        if self.name.endswith((".yaml", ".yml")):
            path = Path(self.name).expanduser()
            if not path.is_file():
                raise UserError(f"CLUSTER={self.name}: no such file")
            return path
        found = {path.stem: path for folder in _folders() for path in sorted(folder.glob("*.yaml"))}
        if self.name not in found:
            raise unknown("cluster", self.name, found)
        return found[self.name]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The launch file's content. Raises UserError where it is no YAML."""
        text = self.file.read_text()
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{self.file}: no YAML ({' '.join(str(error).split())})") from error
        if not isinstance(config, dict):
            raise UserError(f"{self.file}: no launch file")
        return config

    def check(self) -> None:
        """Raise UserError where there is no such cluster, or values of its launch file are still to be filled in."""
        if self.address:
            return
        for number, line in enumerate(self.file.read_text().splitlines(), 1):
            if CHANGE in line.partition("#")[0]:
                raise UserError(f"{self.file}, line {number}: '{line.strip()}': put your own value in {CHANGE}'s place")
        _ = self.config

    @property
    def dashboard_port(self) -> int:
        """Of the dashboard, on the head's loopback."""
        found = re.search(r"--dashboard-port[= ](\d+)", " ".join(self.config.get("head_start_ray_commands", [])))
        return int(found[1]) if found else 8265

    @property
    def is_kubernetes(self) -> bool:
        """Whether it is a RayJob, whose cluster comes and goes with the job."""
        return self.address is None and self.config.get("kind") == "RayJob"

    @property
    def is_onprem(self) -> bool:
        """Whether its machines are there already, and are not ours to end."""
        return self.address is None and self.config.get("provider", {}).get("type") == "local"


def _folders() -> list[Path]:
    """Where launch files lie; the later ones win: the checkout's own, those where the user stands."""
    checkout = Path(__file__).resolve().parents[2] / FOLDER
    return [folder for folder in (checkout, Path.cwd() / FOLDER) if folder.is_dir()]


def check_schema(cluster: Cluster) -> None:
    """Raise UserError where Ray would not take the launch file; nothing is asked for over the network."""
    import json
    from importlib.resources import files

    import jsonschema

    schema = json.loads(files("ray.autoscaler").joinpath("ray-schema.json").read_text())
    try:
        jsonschema.validate(cluster.config, schema)
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "its top"
        raise UserError(f"{cluster.file}: {where}: {error.message.splitlines()[0]}") from error


def up(cluster: Cluster) -> None:
    """Start a cluster; Ray's output goes to the screen.

    Raises:
        UserError: the launch file is wrong, or Ray could not start it.
    """
    if cluster.address or cluster.is_kubernetes:
        raise UserError(f"CLUSTER={cluster.name}: {_NOT_OURS if cluster.address else _BY_JOB}")
    cluster.check()
    check_schema(cluster)
    extra = _EXTRAS.get(cluster.config["provider"]["type"])
    if extra and not find_spec(extra[1]):
        raise UserError(
            f"CLUSTER={cluster.name}: {extra[1]} is not installed; "
            f".venv/bin/python -m pip install -c constraints.txt -e '.[{extra[0]}]'"
        )
    ensure_token()
    _run([RAY, "up", "--yes", "--no-config-cache", str(cluster.file.resolve())], cluster, "was not started")


def down(cluster: Cluster) -> None:
    """End a cluster with all its nodes; of machines of one's own, the processes that ``up`` started there.

    Raises:
        UserError: it could not be ended.
    """
    if cluster.address or cluster.is_kubernetes:
        raise UserError(f"CLUSTER={cluster.name}: {_NOT_OURS if cluster.address else _BY_JOB}")
    if cluster.is_onprem:
        from orchestrator.cluster.onprem import stop_nodes

        stop_nodes(cluster)
        return
    _run([RAY, "down", "--yes", str(cluster.file.resolve())], cluster, "may still run: look in the cloud's console")


#: By kind of provider: the extra of ours that brings what Ray needs to speak with it, and a module of that.
_EXTRAS = {"aws": ("aws", "boto3"), "gcp": ("gcp", "googleapiclient")}
_NOT_OURS = "an address is no cluster of ours to start or end"
_BY_JOB = "on Kubernetes each job brings its cluster and ends it; see `kubectl get rayjobs`"


def ensure_token() -> None:
    """Make the token by which this user's clusters know them, unless there is one; only the user may read it."""
    path = Path.home() / ".ray" / "auth_token"
    if not path.exists():
        subprocess.run([RAY, "get-auth-token", "--generate"], check=True, capture_output=True)
    path.chmod(0o600)


def _run(words: Sequence[str], cluster: Cluster, failed: str) -> None:
    """Where the launch file lies in a checkout's clusters/, paths in it are relative to the checkout."""
    checkout = cluster.file.resolve().parent.parent
    in_checkout = cluster.file.resolve().parent.name == FOLDER and (checkout / "pyproject.toml").exists()
    if code := subprocess.run(words, cwd=checkout if in_checkout else None).returncode:
        raise UserError(f"`{' '.join(['ray', *words[1:]])}` ended with {code}: the cluster {failed}")
