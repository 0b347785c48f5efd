"""The launch files: what Ray and KubeRay would refuse, what they open, and what the script on each node does."""

from __future__ import annotations

import copy
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.cli.main import build_parser
from orchestrator.redact import redact
from orchestrator.runtime import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = ROOT / "clusters"
LAUNCHED = ("aws", "gcp", "onprem")  # by `ray up`
CLOUDS = ("aws", "gcp")
COMMANDS = ("setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
NODE = CLUSTERS / "node.sh"


def text(name: str) -> str:
    return (CLUSTERS / f"{name}.yaml").read_text()


def load(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load(text(name))
    assert isinstance(loaded, dict)
    return loaded


def start(config: dict[str, Any], key: str) -> str:
    """The one command that starts Ray."""
    (command,) = [command for command in config[key] if "ray start" in command]
    return str(command)


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_takes_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(load(name))
    validate_config(prepared)
    assert prepared["head_setup_commands"][: len(prepared["setup_commands"])] == prepared["setup_commands"]


def test_ray_refuses_a_misspelt_key() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(load("aws") | {"idle_timeout": 1}))


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_ray_asks_for_the_token_and_shows_its_dashboard_on_loopback(name: str) -> None:
    config = load(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in STARTS:
        assert re.search(r"export RAY_AUTH_MODE=token\b.*&&.*\bray start", start(config, key), re.DOTALL)
        assert start(config, key).startswith(". ~/.samsweep/env && ")
    head = start(config, "head_start_ray_commands")
    assert "--dashboard-host=127.0.0.1" in head and "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    port = re.search(r"--port=(\d+)", head)
    assert port and f"--address=$RAY_HEAD_IP:{port[1]}" in start(config, "worker_start_ray_commands")


@pytest.mark.parametrize("name", LAUNCHED)
def test_nobody_elses_ray_is_stopped(name: str) -> None:
    config = load(name)
    commands = [command for key in COMMANDS + STARTS for command in config.get(key, [])]
    assert not any("ray stop" in command for command in commands)
    assert all(config[key][0].startswith("bash ~/.samsweep/node.sh stop") for key in STARTS)


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_sent_to_the_nodes_is_there(name: str) -> None:
    sources = [source for source in load(name)["file_mounts"].values() if not source.startswith("~")]
    assert all((ROOT / source).exists() for source in sources)
    assert {"pyproject.toml", "constraints.txt", "clusters/node.sh"} <= set(sources)


@pytest.mark.parametrize("name", [*LAUNCHED, "kuberay"])
def test_a_file_opens_with_the_command_that_uses_it_and_its_values_stand_on_top(name: str) -> None:
    first = text(name).splitlines()[0]
    assert first == ("# kubectl apply -f clusters/kuberay.yaml" if name == "kuberay" else f"# make up CLUSTER={name}")
    assert "EDIT-ME" in text(name)
    assert text(name).index("---- edit these") < text(name).index("EDIT-ME")


@pytest.mark.parametrize("name", [*LAUNCHED, "kuberay"])
def test_no_secret_stands_in_it(name: str) -> None:
    paths = ("~/.ray/auth_token", "~/.aws/credentials", "--from-literal=id=...")  # where one is, and how to bring one
    lines = [line for line in text(name).splitlines() if not any(path in line for path in paths)]
    assert [line for line in lines if redact(line) != line] == []
    assert not re.search(r"PRIVATE KEY|\b[0-9a-f]{32,}\b", text(name))


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_come_from_none_on_spot_and_the_head_computes_nothing(name: str) -> None:
    config = load(name)
    head, worker = (config["available_node_types"][kind] for kind in ("head", "worker"))
    assert config["head_node_type"] == "head" and head["max_workers"] == 0 and head["resources"] == {"CPU": 0}
    assert worker["min_workers"] == 0 and worker["max_workers"] == config["max_workers"]
    spot = ("InstanceMarketOptions", {"MarketType": "spot"}) if name == "aws" else ("scheduling", worker_scheduling())
    assert worker["node_config"][spot[0]] == spot[1] and spot[0] not in head["node_config"]
    assert config["idle_timeout_minutes"] <= 15


def worker_scheduling() -> dict[str, Any]:
    return {
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
    }


def test_no_port_is_opened_but_ssh() -> None:
    aws, gcp = load("aws"), load("gcp")
    assert aws["provider"]["security_group"] == {"GroupName": "samsweep"}  # Ray itself adds ssh and the group
    assert aws["provider"]["cache_stopped_nodes"] is False
    kinds = gcp["available_node_types"].values()
    assert not any("tags" in kind["node_config"] for kind in kinds)  # by which rules of firewalls find machines


def test_machines_of_ones_own_are_used_without_root() -> None:
    config = load("onprem")
    assert "sudo" not in text("onprem") and "SAMSWEEP_DISK=auto" not in text("onprem")
    assert config["metadata"]["stop"] == "bash ~/.samsweep/node.sh stop"
    ports = {int(port) for port in re.findall(r"port=(\d+)", start(config, "head_start_ray_commands"))}
    checked = config["head_start_ray_commands"][0].rpartition("node.sh free ")[2]
    assert ports == {int(port) for port in checked.split()}


def test_node_and_image_start_ray_as_a_laptop_does() -> None:
    for file in (NODE, CLUSTERS / "Dockerfile"):
        assert dict(re.findall(r"\b((?:RAY|TUNE)_\w+)=([\w.]+)", file.read_text())).items() >= ENVIRONMENT.items(), file


def test_the_image_is_pinned_and_sends_nothing_else_to_docker() -> None:
    docker = (CLUSTERS / "Dockerfile").read_text()
    installs = re.findall(r"pip install .*", docker)
    assert len(installs) == 2 and all("-c samsweep/constraints.txt" in line or "--no-deps" in line for line in installs)
    kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for line in re.findall(r"COPY --chown=ray (.*)", docker) for word in line.split()[:-1]]
    assert sorted(copied) == sorted(line[1:] for line in kept)
    assert "ARG SAMSWEEP_COMMIT" in docker and re.findall(r"^USER (.*)", docker, re.MULTILINE) == ["ray"]


# ---- Kubernetes


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    loaded = json.loads((Path(__file__).parent / "rayjob_schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(loaded)
    assert isinstance(loaded, dict)
    return loaded


def test_kuberay_takes_the_job(schema: dict[str, Any]) -> None:
    jsonschema.validate(load("kuberay"), schema)


def cluster(job: dict[str, Any]) -> Any:
    return job["spec"]["rayClusterSpec"]


def pod(job: dict[str, Any]) -> Any:
    return cluster(job)["workerGroupSpecs"][0]["template"]["spec"]


WRONG: list[Callable[[dict[str, Any]], None]] = [
    lambda job: job["spec"].update(shutdownAfterJobFinish=True),
    lambda job: cluster(job).update(authOption={"mode": "token"}),
    lambda job: cluster(job)["authOptions"].update(mode="tokens"),
    lambda job: cluster(job)["autoscalerOptions"].update(upscalingMode="default"),
    lambda job: cluster(job)["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    lambda job: cluster(job)["workerGroupSpecs"][0].update(minReplica=0),
    lambda job: pod(job).update(toleration=[]),
    lambda job: pod(job)["volumes"][0]["emptyDir"].update(size="1Gi"),
    lambda job: pod(job)["containers"][0]["resources"]["limits"].update(memory="32 GB"),
    lambda job: pod(job)["containers"][0]["env"].append({"name": "A", "value": 1}),
]


@pytest.mark.parametrize("spoil", WRONG, ids=range(len(WRONG)))
def test_a_misspelt_job_is_refused(schema: dict[str, Any], spoil: Callable[[dict[str, Any]], None]) -> None:
    job = copy.deepcopy(load("kuberay"))
    spoil(job)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, schema)


def test_the_job_costs_nothing_once_it_is_over_and_asks_for_a_token() -> None:
    spec = load("kuberay")["spec"]
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] <= 600 and spec["activeDeadlineSeconds"]
    ray = spec["rayClusterSpec"]
    assert ray["authOptions"] == {"mode": "token"} and ray["enableInTreeAutoscaling"]
    assert f"ray=={ray['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    head, (worker,) = ray["headGroupSpec"], ray["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0" and head["serviceType"] == "ClusterIP"
    assert "nvidia.com/gpu" not in head["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert worker["minReplicas"] == worker["replicas"] == 0
    assert worker["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_retry_of_the_job_goes_on_with_the_sweep() -> None:
    words = load("kuberay")["spec"]["entrypoint"].split()  # as KubeRay takes them apart
    arguments = build_parser()[0].parse_args(words[1:])
    assert words[0] == "samsweep" and arguments.verb == "sweep"
    assert arguments.name and arguments.data.startswith("s3://") and arguments.storage.startswith("s3://")
    assert load("kuberay")["spec"]["backoffLimit"] > 0


# ---- what runs on a node


def node(home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HOME": str(home)} | variables
    return subprocess.run(["bash", NODE, *words], env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node's, with an environment that somebody made and that has a Ray in it."""
    ray = tmp_path / "python/bin/ray"
    ray.parent.mkdir(parents=True)
    ray.write_text("#!/bin/sh\n")
    ray.chmod(0o755)
    (tmp_path / ".samsweep").mkdir()
    return tmp_path


def set_up(home: Path) -> subprocess.CompletedProcess[str]:
    variables = {"SAMSWEEP_DISK": str(home / "disk"), "SAMSWEEP_PYTHON": str(home / "python")}
    return node(home, **variables, SAMSWEEP_RAY=str(home / "ray"), SAMSWEEP_CACHE_GB="7", SAMSWEEP_WEIGHTS="")


def test_setting_a_node_up_says_where_things_lie(home: Path) -> None:
    for _ in range(2):
        done = set_up(home)
        assert done.returncode == 0, done.stderr
    asked = "set -u; . ~/.samsweep/env; echo $SAMSWEEP_CACHE $SAMSWEEP_CACHE_GB $TMPDIR $RAY_TMPDIR $(command -v ray)"
    bare = {"HOME": str(home), "PATH": os.environ["PATH"]}
    told = subprocess.run(["bash", "-c", asked], env=bare, capture_output=True, check=True)
    places = [home / "disk/cache", 7, home / "disk/tmp", home / "ray", home / "python/bin/ray"]
    assert told.stdout.decode().split() == [str(place) for place in places]
    assert all(place.is_dir() for place in places[:4] if isinstance(place, Path))


def test_an_environment_without_ray_is_refused(home: Path) -> None:
    (home / "python/bin/ray").unlink()
    done = set_up(home)
    assert done.returncode == 1 and "no Ray in it" in done.stderr


@pytest.fixture
def processes(home: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process that sleeps, and ends those that are left."""
    started: list[subprocess.Popen[bytes]] = []

    def sleeper(*words: str, **variables: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([*words, "sleep", "300"], env=os.environ | variables, stdout=subprocess.PIPE))
        return started[-1]

    yield sleeper
    for process in started:
        process.kill()
        process.wait()


def test_a_stop_ends_what_was_started_there_and_nothing_else(home: Path, processes: Any) -> None:
    # a Ray worker's title lies over its environment, so descendants count, whatever theirs says
    parent = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], env={}); print(p.pid, flush=True); p.wait()"
    ours = processes(sys.executable, "-c", parent, SAMSWEEP_NODE=str(home / ".samsweep"))
    strangers = [processes(), processes(SAMSWEEP_NODE=str(home / "another"))]
    child = int(ours.stdout.readline())
    done = node(home, "stop")
    assert done.returncode == 0, done.stderr
    assert ours.wait(10) != 0
    assert not Path(f"/proc/{child}").exists() or "\nState:\tZ" in Path(f"/proc/{child}/status").read_text()
    assert [process.poll() for process in strangers] == [None, None]
    assert node(home, "stop").returncode == 0


def test_a_taken_port_is_told(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = node(home, "free", str(port))
        assert done.returncode == 1 and f"port {port} of " in done.stderr
    assert node(home, "free", str(port)).returncode == 0
