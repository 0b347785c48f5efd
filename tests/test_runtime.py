"""What fits on a cluster is known before anything starts; Ray's chatter stays out of sight."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.config import make_settings
from orchestrator.errors import UserError
from orchestrator.runtime import Capacity, lost_ray, ray_cluster


def train(**changes: object):  # type: ignore[no-untyped-def]
    return make_settings("decoder", "x", {f"train.{k}": v for k, v in changes.items()}).train


@pytest.mark.parametrize(
    ("capacity", "settings", "expected"),
    [
        (Capacity(((2, 0),)), {}, 2),
        (Capacity(((2, 0),)), {"workers": 2}, 1),
        (Capacity(((2, 0),)), {"cpus_per_worker": 0.5}, 4),
        (Capacity(((16, 4),)), {"workers": 2, "gpus_per_worker": 1}, 2),
        (Capacity(((16, 1),)), {"gpus_per_worker": 0.25}, 4),
        (Capacity(((2, 8),)), {"gpus_per_worker": 1}, 2),
        (Capacity(((3, 0), (3, 0))), {"workers": 2, "cpus_per_worker": 2}, 1),
        (Capacity(((8, 0), (2, 1))), {"gpus_per_worker": 1}, 1),
        (Capacity(((2, 0),)), {"workers": 4, "min_workers": 1}, 1),
        (Capacity(((8, 0),)), {"workers": 4, "min_workers": 1}, 2),
    ],
)
def test_concurrent_trials(capacity: Capacity, settings: dict[str, object], expected: int) -> None:
    assert capacity.concurrent(train(**settings)) == expected


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"workers": 4},
            "WORKERS=4: a trial needs 4 CPU cores (1 together for each worker) and the cluster has 2 on 1 node(s)",
        ),
        ({"workers": 8, "min_workers": 3}, "WORKERS=3: a trial needs 3 CPU cores"),
        ({"gpus_per_worker": 1}, "WORKERS=1: a trial needs 1 GPUs and the cluster has 0"),
    ],
)
def test_what_does_not_fit_is_said(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        Capacity(((2, 0),)).concurrent(train(**settings))
    assert says in str(caught.value)


def test_a_worker_must_fit_on_one_node() -> None:
    with pytest.raises(UserError, match="3 together for each worker"):
        Capacity(((2, 0), (2, 0))).concurrent(train(cpus_per_worker=3))


LOST = """
import sys, time
from orchestrator import runtime
runtime.lost_ray = lambda: True
dog = runtime.Watchdog(sys.stderr, "Ray is gone; do this")
if sys.argv[1] == "stop":
    dog.stop()
time.sleep(2)
"""


@pytest.mark.parametrize(("what", "code", "said"), [("stay", 2, "error: Ray is gone; do this\n"), ("stop", 0, "")])
def test_a_lost_ray_ends_the_process_with_one_line(what: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOST, what], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


def test_without_ray_nothing_is_lost() -> None:
    assert not lost_ray()


SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from orchestrator.runtime import quiet
try:
    with quiet(Path(sys.argv[1])) as screen:
        print("from python")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        os.write(2, b"from below\\n")
        print("for the user", file=screen)
        raise RuntimeError
except RuntimeError:
    print("after")
"""


def test_quiet_catches_what_other_processes_write(tmp_path: Path) -> None:
    log = tmp_path / "a" / "ray.log"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(log)], capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout) == ("for the user\n", "after\n"), "also after an error the terminal is back"
    text = log.read_text()
    assert all(words in text for words in ("from python", "from a child", "from below"))


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_local_ray_asks_for_its_token_and_listens_here_alone(tmp_path: Path) -> None:
    with ray_cluster(tmp_path / "ray.log") as (_, url):
        assert url and url.startswith("http://127.0.0.1:")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/api/jobs/", timeout=20)
        assert refused.value.code in (401, 403)
        port = int(url.rpartition(":")[2])
        listening = {
            line.split()[1].split(":")[0]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == port
        }
        assert listening == {"0100007F"}, "127.0.0.1, as the kernel writes it"
