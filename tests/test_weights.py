"""Fetching checkpoints from a real server on this machine that can break in every way that matters."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from weights_server import BODY, Server

from orchestrator import weights
from orchestrator.errors import UserError
from orchestrator.weights import OFFICIAL, fetch, local_checkpoint, weights_dir

DIGEST = hashlib.sha256(BODY).hexdigest()
FILE = OFFICIAL["vit_b"].file


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "_WAITS_SECONDS", (0.0, 0.0))
    instance = Server()
    monkeypatch.setenv("SAMSWEEP_WEIGHTS_URL", instance.url + "/sam/")
    thread = threading.Thread(target=instance.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield instance
    instance.shutdown()
    instance.server_close()


def _part() -> Path:
    return weights_dir() / f"{FILE}.part"


def _leave_part(data: bytes, tag: str = "") -> None:
    _part().parent.mkdir(parents=True, exist_ok=True)
    _part().write_bytes(data)
    (weights_dir() / f"{FILE}.etag").write_text(tag)


def test_the_official_files() -> None:
    assert {name: (o.size, o.sha256[:8]) for name, o in OFFICIAL.items()} == {
        "vit_b": (375042383, "ec2df627"),
        "vit_l": (1249524607, "3adcc431"),
        "vit_h": (2564550879, "a7bf3b02"),
    }
    for official in OFFICIAL.values():
        assert len(bytes.fromhex(official.sha256)) == 32


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path))
    assert weights_dir() == tmp_path / "weights"
    monkeypatch.delenv("SAMSWEEP_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_dir() == tmp_path / ".cache/samsweep/weights"


def test_a_plain_fetch(server: Server) -> None:
    steps: list[tuple[int, int]] = []
    path = fetch("vit_b", sha256=DIGEST, progress=lambda done, total: steps.append((done, total)))
    assert path == weights_dir() / FILE and path.read_bytes() == BODY
    assert server.seen == [(f"/sam/{FILE}", None, None)]
    assert steps[0] == (0, len(BODY)) and steps[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert not _part().exists() and not (weights_dir() / f"{FILE}.etag").exists()


def test_what_is_here_is_not_fetched_again(server: Server) -> None:
    fetch("vit_b", sha256=DIGEST)
    fetch("vit_b", sha256=DIGEST)
    assert len(server.seen) == 1


def test_a_stump_under_the_final_name_is_replaced(server: Server) -> None:
    weights_dir().mkdir(parents=True)
    (weights_dir() / FILE).write_bytes(BODY[:1000])
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY


def test_another_url(server: Server) -> None:
    fetch("vit_b", url=f"{server.url}/mine.pth", sha256=DIGEST.upper())
    assert server.seen[0][0] == "/mine.pth"


def test_a_dropped_line_is_taken_up_where_it_broke(server: Server) -> None:
    server.drops, server.drop_after = 5, 50_000  # more often than there are waits: progress starts them anew
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY
    assert [asked for _, asked, _ in server.seen] == [None] + [f"bytes={k * 50_000}-" for k in range(1, 6)]
    assert server.sent == len(BODY), "no byte twice"


def test_a_line_that_never_brings_anything_ends_with_one_line(server: Server) -> None:
    server.drops, server.drop_after = 99, 0
    with pytest.raises(UserError, match=r"cannot be reached.*backbone\.checkpoint=PATH"):
        fetch("vit_b", sha256=DIGEST)
    assert len(server.seen) == 3


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.codes = [503, 429]
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY


def test_a_server_that_ignores_range_starts_anew(server: Server) -> None:
    server.ranges = False
    _leave_part(b"x" * 1000)
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY


def test_a_file_that_changed_since_is_not_spliced(server: Server) -> None:
    _leave_part(b"x" * 1000, '"zero"')
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY
    assert server.seen == [(f"/sam/{FILE}", "bytes=1000-", '"zero"')]


def test_a_server_without_length(server: Server) -> None:
    server.says_length = False
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY


def test_killed_just_before_the_renaming(server: Server) -> None:
    _leave_part(BODY)
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY
    assert server.sent == 0


def test_a_part_longer_than_the_file_is_dropped(server: Server) -> None:
    _leave_part(BODY + b"more")
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY


def test_a_wrong_digest_leaves_nothing(server: Server) -> None:
    with pytest.raises(UserError, match=r"sha256 is .* expected ec2df6") as caught:
        fetch("vit_b")
    assert "\n" not in str(caught.value) and server.url in str(caught.value)
    assert not _part().exists() and not (weights_dir() / FILE).exists()


def test_not_found_is_said_at_once(server: Server) -> None:
    server.codes = [404]
    with pytest.raises(UserError, match=f"{server.url}/sam/{FILE}: HTTP 404"):
        fetch("vit_b", sha256=DIGEST)
    assert len(server.seen) == 1


def test_no_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_WEIGHTS_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/sam_vit_b.*cannot be reached.*checkpoint=PATH"):
        fetch("vit_b")


def test_a_base_that_is_no_url(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_WEIGHTS_URL", "mirror/sam")
    with pytest.raises(UserError, match=r"mirror/sam/sam_vit_b.*not a URL"):
        fetch("vit_b")


def test_ctrl_c_keeps_what_has_come(server: Server) -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("vit_b", sha256=DIGEST, progress=interrupt)
    kept = _part().stat().st_size
    assert 0 < kept <= len(BODY)
    assert fetch("vit_b", sha256=DIGEST).read_bytes() == BODY
    assert server.seen[-1][1:] == (f"bytes={kept}-", server.etag)


def test_no_space_is_said_before_the_first_byte(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"no space left.*SAMSWEEP_CACHE"):
        fetch("vit_b", sha256=DIGEST)
    assert not _part().exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_no_space_while_writing(server: Server) -> None:
    weights_dir().mkdir(parents=True)
    _part().symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left"):
        fetch("vit_b", sha256=DIGEST)


def test_a_cache_that_cannot_be_made(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set SAMSWEEP_CACHE"):
        fetch("vit_b", sha256=DIGEST)


def test_two_at_once_fetch_once(server: Server) -> None:
    threads = [threading.Thread(target=fetch, args=("vit_b", None, DIGEST)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (weights_dir() / FILE).read_bytes() == BODY
    assert server.sent == len(BODY)


def test_a_mirror_on_disk(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mirror.pth").write_bytes(BODY)
    assert fetch("vit_b", url=(tmp_path / "mirror.pth").as_uri(), sha256=DIGEST).read_bytes() == BODY


def test_local_checkpoint(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="weights of vit_l are not here; run `samsweep weights fetch vit_l`"):
        local_checkpoint("vit_l", None)
    with pytest.raises(UserError, match=r"nowhere\.pth: no such"):
        local_checkpoint("vit_b", str(tmp_path / "nowhere.pth"))
    with pytest.raises(UserError, match="'vit_x'"):
        local_checkpoint("vit_x", None)
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"1")
    assert local_checkpoint("vit_b", os.fspath(mine)) == mine
    assert server.seen == [], "loading never goes to the network"


def test_the_fetched_file_is_the_local_one(server: Server) -> None:
    fetched = fetch("vit_b", sha256=DIGEST)
    assert local_checkpoint("vit_b", None) == fetched
