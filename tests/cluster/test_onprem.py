"""clusters/onprem.yaml over a real sshd on loopback: up, a job, and a down that ends only what was started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.79"  #: another loopback address than a machine's own sshd as a rule has
SSHD = "/usr/sbin/sshd"
CONFIG = """\
ListenAddress {host}:22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
SetEnv HOME={home}
"""
PORTS = ("6379", "8265", "8080", "52365", "10001")  #: of the launch file


@pytest.fixture(scope="module")
def launch_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy with its values filled in, and a machine that it reaches by ssh."""
    folder = tmp_path_factory.mktemp("onprem")
    for program in (SSHD, "ssh", "rsync", "ssh-keygen"):
        if not shutil.which(program):
            pytest.fail(f"not installed: {program}; make test-cluster installs it")
    home = folder / "home"
    home.mkdir()
    for key in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    (folder / "sshd_config").write_text(CONFIG.format(host=HOST, folder=folder, home=home))
    Path("/run/sshd").mkdir(exist_ok=True)
    short = Path("/tmp") / f"sw-onprem-{os.getpid()}"  # Ray's sockets want a short path
    words = {
        "head_ip: EDIT-ME": f"head_ip: {HOST}",
        "ssh_user: EDIT-ME": "ssh_user: root",
        "~/.ssh/id_ed25519": str(folder / "key"),
        'SAMSWEEP_WEIGHTS="vit_b"': 'SAMSWEEP_WEIGHTS=""',
        "SAMSWEEP_PYTHON=~/.samsweep/venv": f"SAMSWEEP_PYTHON={Path(sys.executable).parents[1]}",
        "SAMSWEEP_RAY=/tmp/samsweep-$(id -un)": f"SAMSWEEP_RAY={short}",
        **{port: str(free_port()) for port in PORTS},
    }
    text = (ROOT / "clusters" / "onprem.yaml").read_text()
    for old, new in words.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "mine.yaml"
    path.write_text(text)
    with (folder / "sshd.log").open("wb") as log:
        sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    try:
        yield path
    finally:
        samsweep("down", str(path), code=None)
        sshd.terminate()
        sshd.wait(10)
        shutil.rmtree(short, ignore_errors=True)


def samsweep(*words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    script = "import sys; from orchestrator.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert code is None or done.returncode == code, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def ours(launch_file: Path) -> list[int]:
    """The processes that `up` has started on the machine, by what node.sh puts into their environment."""
    mark, found = f"SAMSWEEP_NODE={launch_file.parent / 'home'}/.samsweep".encode(), []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_up_job_and_down(launch_file: Path, tiny_data: Path, tmp_path: Path) -> None:
    where = ["--cluster", str(launch_file)]
    assert "cannot be reached" in samsweep("jobs", *where, code=2).stderr
    up = samsweep("up", str(launch_file))
    assert "next" in up.stdout and ours(launch_file)
    assert "is up already" in samsweep("up", str(launch_file)).stdout
    stored = ["--data", f"file://{tiny_data}", "--storage", f"file://{tmp_path}/results"]
    done = samsweep("train", "decoder", "tiny", "--epochs", "1", "--name", "first", *stored, *where)
    assert "best checkpoint" in done.stdout and (tmp_path / "results" / "first").is_dir()
    assert "first" in samsweep("jobs", *where).stdout
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        samsweep("down", str(launch_file))
        end = time.monotonic() + 30
        while left := ours(launch_file):
            assert time.monotonic() < end, left
            time.sleep(0.5)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert "cannot be reached" in samsweep("jobs", *where, code=2).stderr
