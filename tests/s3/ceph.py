"""A one-node Ceph with its RADOS gateway, in memory, for as long as a context lasts: a real S3 store."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ports import free_port

PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin", "ceph-authtool", "monmaptool")
CONFIG = """[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon}
public network = 127.0.0.0/8
run dir = {root}
admin socket = {root}/$name.asok
keyring = {root}/keyring
log file = {root}/$name.log
pid file = {root}/$name.pid
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon warn on pool no redundancy = false
auth allow insecure global id reclaim = false
[mon.a]
mon data = {root}/mon
[mgr.x]
mgr data = {root}/mgr
[osd.0]
osd data = {root}/osd
[client.rgw]
rgw frontends = beast endpoint={address}:{gateway}
"""
CAPS = {
    "mon.": ["mon", "allow *"],
    "client.admin": ["mon", "allow *", "osd", "allow *", "mgr", "allow *", "mds", "allow *"],
    "mgr.x": ["mon", "allow profile mgr", "osd", "allow *"],
    "osd.0": ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"],
    "client.rgw": ["mon", "allow rw", "osd", "allow rwx"],
}


def missing() -> list[str]:
    """The programs that are not installed."""
    return [p for p in PROGRAMS if shutil.which(p) is None]


@dataclass
class Gateway:
    """The S3 side of it, which can go away and come back."""

    config: Path
    port: int
    address: str = "127.0.0.1"
    environment: dict[str, str] = field(default_factory=dict)  #: what reaches it
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = _start("radosgw", "-c", self.config, "-n", "client.rgw", "-f")
        _until(lambda: _answers(self.address, self.port), 60)

    def stop(self) -> None:
        """End it at once; what it stored stays."""
        if self._process:
            self._process.kill()
            self._process.wait()


@contextmanager
def gateway(root: Path, address: str = "127.0.0.1") -> Iterator[Gateway]:
    """Start Ceph under ``root``; yields its S3 gateway, which listens on ``address``. Stops what it started."""
    mon, port = free_port(), free_port()
    fsid = str(uuid.uuid4())
    for name in ("mon", "mgr", "osd"):
        (root / name).mkdir(parents=True)
    config = root / "ceph.conf"
    config.write_text(CONFIG.format(fsid=fsid, mon=mon, gateway=port, root=root, address=address))
    for entity, caps in CAPS.items():
        pairs = [word for kind, right in zip(caps[::2], caps[1::2], strict=True) for word in ("--cap", kind, right)]
        _run("ceph-authtool", root / "keyring", "-n", entity, "--gen-key", *pairs, *_create(root / "keyring"))
    _run("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{mon}]", "--fsid", fsid, root / "monmap")
    _run("ceph-mon", "-c", config, "--mkfs", "-i", "a", "--monmap", root / "monmap", "--keyring", root / "keyring")
    shutil.copy(root / "keyring", root / "mon" / "keyring")
    started: list[subprocess.Popen[bytes]] = []
    s3 = Gateway(config, port, address)
    try:
        started.append(_start("ceph-mon", "-c", config, "-i", "a", "-f"))
        _until(lambda: _run("ceph", "-c", config, "--connect-timeout", "5", "-s"), 30)
        started.append(_start("ceph-mgr", "-c", config, "-i", "x", "-f"))
        _run("ceph", "-c", config, "osd", "new", osd := str(uuid.uuid4()))
        _run("ceph-osd", "-c", config, "-i", "0", "--mkfs", "--osd-uuid", osd)
        started.append(_start("ceph-osd", "-c", config, "-i", "0", "-f"))
        s3.start()
        user = json.loads(
            _run("radosgw-admin", "-c", config, "user", "create", "--uid", "test", "--display-name", "test")
        )
        keys = user["keys"][0]
        s3.environment |= {
            "AWS_ACCESS_KEY_ID": keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
            "AWS_ENDPOINT_URL": f"http://{address}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield s3
    finally:
        s3.stop()
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _create(keyring: Path) -> list[str]:
    return [] if keyring.exists() else ["--create-keyring"]


def _run(*words: object) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _start(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(w) for w in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _until(check, seconds: float) -> None:  # type: ignore[no-untyped-def]
    """Call until it neither raises nor is false."""
    end = time.monotonic() + seconds
    while True:
        try:
            if check() is not False:
                return
        except (RuntimeError, subprocess.TimeoutExpired):
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            raise RuntimeError("Ceph did not come up in time")
        time.sleep(0.3)


def _answers(address: str, port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}:{port}", timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


if __name__ == "__main__":  # PYTHONPATH=tests python tests/s3/ceph.py
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder)) as found:
        for key, value in found.environment.items():
            print(f"export {key}={value}")
        sys.stdout.flush()
        signal.pause()
