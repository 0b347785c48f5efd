"""What sends a command to a cluster, without one: names, launch files, RayJobs, words, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from orchestrator.cli import main
from orchestrator.cli.cluster import words_there
from orchestrator.cluster import autoscaler, jobs, slurm
from orchestrator.cluster.jobs import JobInfo, exit_code, name_of_job
from orchestrator.cluster.kubernetes import LONGEST, as_rayjob
from orchestrator.cluster.launch import Cluster, check_schema
from orchestrator.cluster.onprem import ssh
from orchestrator.errors import UserError
from orchestrator.interface import interface_of

ROOT = Path(__file__).resolve().parents[2]
STORED = ["--data", "s3://b/data", "--storage", "s3://b/results"]


def test_a_cluster_is_a_file_a_path_or_an_address(tmp_path: Path) -> None:
    assert Cluster("aws").file == ROOT / "clusters" / "aws.yaml"
    assert Cluster("http://127.0.0.1:8265/").address == "http://127.0.0.1:8265"
    assert Cluster("onprem").is_onprem and Cluster("kuberay").is_kubernetes and not Cluster("aws").is_onprem
    with pytest.raises(UserError, match="unknown cluster 'awz' \\(nearest: aws"):
        Cluster("awz").check()
    with pytest.raises(UserError, match="no such file"):
        Cluster(str(tmp_path / "mine.yaml")).check()


def test_the_users_own_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "aws.yaml").write_text("cluster_name: mine\n")
    monkeypatch.chdir(tmp_path)
    assert Cluster("aws").config == {"cluster_name": "mine"}


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_what_is_not_filled_in_is_told_by_its_line(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"{name}.yaml, line \d+: '.*EDIT-ME.*': put your own value in EDIT-ME's place"
    ):
        Cluster(name).check()


def test_a_launch_file_that_ray_would_not_take(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("cluster_name: mine\nprovider: {type: local, head_ip: 10.0.0.1}\nmax_wrokers: 2\n")
    with pytest.raises(UserError, match="max_wrokers"):
        check_schema(Cluster(str(path)))
    path.write_text("a: [")
    with pytest.raises(UserError, match="no YAML"):
        Cluster(str(path)).check()


def test_a_command_becomes_a_rayjob(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"mca_COD10K.{'x' * 60}-1"
    job = as_rayjob(Cluster("kuberay").config, name, ["sweep", "mca", "cod10k", *STORED, "--name", name])
    called = job["metadata"]["name"]
    assert len(called) <= LONGEST and called[0].isalpha() and called == called.lower()
    assert job["spec"]["entrypoint"].startswith("python -u -m orchestrator.cli sweep mca cod10k")
    jsonschema.validate(job, json.loads((ROOT / "tests" / "clusters" / "rayjob_schema.json").read_text()))
    with pytest.raises(UserError, match="takes a command apart at spaces"):
        as_rayjob(Cluster("kuberay").config, "a", ["sweep", "mca", "cod10k", "--set", "train.lr=1 train.batch=2"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sweep", "mca", "cod10k"], "error: DATA=data: a folder of this machine, which a cluster does not see"),
        (["train", "mca", "cod10k", *STORED], "nothing answers there; is the tunnel open?"),
        (["train", "mca", "cod10k", *STORED, "--local"], "error: --local is this process"),
        (["logs", "some"], "nothing answers there"),
        (["doctor", *STORED], "nothing answers there"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--cluster", "http://127.0.0.1:1"]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["up", "down"])
@pytest.mark.parametrize(("cluster", "says"), [("http://127.0.0.1:1", "no cluster of ours"), ("kuberay", "EDIT-ME")])
def test_only_what_is_ours_starts_and_ends(
    verb: str, cluster: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, cluster]) == 2
    told = capsys.readouterr().err
    assert says in told or "each job brings its cluster" in told


def test_words_and_names() -> None:
    assert words_there(["sweep", "a", "b", "--cluster", "aws", "--trials", "2"]) == ["sweep", "a", "b", "--trials", "2"]
    assert words_there(["sweep", "a", "--cluster=aws", "b"]) == ["sweep", "a", "b"]
    assert name_of_job(["sweep", "mca,sam", "all", "--trials", "2"], None).startswith("mca_sam-all-2")
    assert name_of_job(["doctor", "--data", "s3://b/d"], None).startswith("doctor-2")
    assert name_of_job(["resume", "first"], "first") == "first"


@pytest.mark.parametrize(
    ("status", "code", "message", "ends"),
    [
        ("SUCCEEDED", 0, "", 0),
        ("STOPPED", None, "", 130),
        ("FAILED", 2, "", 2),
        ("FAILED", None, "Job entrypoint command failed with exit code 2, last available logs", 2),
        ("FAILED", None, "the driver's node died", 1),
    ],
)
def test_a_jobs_end_is_the_commands(status: str, code: int | None, message: str, ends: int) -> None:
    assert exit_code(JobInfo("a", status, "samsweep", 0, message, code)) == ends


def test_no_credential_goes_with_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "topsecret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://gateway:7480")
    environment = jobs._environment()
    assert "topsecret" not in str(environment) and environment["env_vars"]["AWS_ENDPOINT_URL"] == "http://gateway:7480"


def test_what_an_autoscaler_may_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(autoscaler.TO_COME, raising=False)
    monkeypatch.setattr(autoscaler, "LAUNCH_FILE", str(tmp_path / "none.yaml"))
    assert autoscaler.kinds_to_come() == []
    (tmp_path / "none.yaml").write_text(
        "head_node_type: head\navailable_node_types:\n  head: {resources: {CPU: 0}, max_workers: 0}\n"
        "  worker: {resources: {CPU: 8, GPU: 1}, max_workers: 4}\n"
    )
    assert autoscaler.kinds_to_come() == [autoscaler.Kind(8, 1, 4)]
    monkeypatch.setenv(autoscaler.TO_COME, '[{"CPU": 2, "most": 3}]')
    assert autoscaler.kinds_to_come() == [autoscaler.Kind(2, 0, 3)]
    monkeypatch.setenv(autoscaler.TO_COME, "4 of them")
    with pytest.raises(UserError, match="SAMSWEEP_TO_COME=4 of them: give e.g."):
        autoscaler.kinds_to_come()


def test_slurm_tells_what_it_misses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NODES=0: at least 1"):
        slurm.submit(["sweep"], 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch: not found"):
        slurm.submit(["sweep"], 1)


def test_a_worker_is_reached_through_the_head() -> None:
    auth = {"ssh_user": "me", "ssh_private_key": "/k"}
    assert ssh(auth, "head")[-1] == "me@head" and "ProxyCommand" not in " ".join(ssh(auth, "head"))
    assert ssh(auth, "head", "node")[-1] == "me@node" and "me@head" in " ".join(ssh(auth, "head", "node"))


def test_the_interface_of_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo" and interface_of("192.0.2.77") is None
