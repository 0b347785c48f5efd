"""An ingest that was killed goes on where it was, and gives what an undisturbed one gives."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from data_samples import put_pair

from orchestrator.data.ingest import ingest
from orchestrator.data.layouts.base import Item
from orchestrator.data.progress import FILE, load_progress
from orchestrator.data.reader import open_dataset
from orchestrator.data.rows import Source
from orchestrator.data.schema import Manifest
from orchestrator.errors import UserError
from orchestrator.storage import Storage

FORK = multiprocessing.get_context("fork")
KILLS = 20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    for split, count in (("train", 50), ("val", 6), ("test", 12)):
        for i in range(count):
            put_pair(root / f"{split}/images/{i:03d}.jpg", root / f"{split}/masks/{i:03d}.png")
    (root / "train/images/007.jpg").write_bytes(b"no picture")
    return root


def run(source: Path, out: Path, pause: float = 0, **how: object) -> Manifest:
    def slow(done: int, total: int, current: str) -> None:
        time.sleep(pause)

    words = {"skip_bad": True, "shard_bytes": 6000, "progress": slow, **how}
    return ingest("own", source, Storage(str(out)), "folders", "binary", **words)  # type: ignore[arg-type]


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "own").iterdir()}


def kill_after(source: Path, out: Path, seconds: float) -> bool:
    """Whether the ingest was killed; else it had ended."""
    child = FORK.Process(target=run, args=(source, out, 0.004))
    child.start()
    child.join(seconds)
    if child.exitcode is None:
        os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def finished(out: Path) -> dict[str, tuple[int, int]]:
    """The shards that the note lists: file -> (inode, time of writing)."""
    note = out / "own" / FILE
    if not note.exists():
        return {}
    done = json.loads(note.read_text())["done"].values()
    files = [written["shard"]["file"] for written in done if written["shard"]]
    stats = {file: (out / "own" / file).stat() for file in files}
    return {file: (s.st_ino, s.st_mtime_ns) for file, s in stats.items()}


def test_kills_at_random_moments_lose_and_double_nothing(source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path / "whole")
    out, chance, kills, kept = tmp_path / "out", random.Random(5), 0, 0
    while kills < KILLS:
        before = finished(out)
        kills += kill_after(source, out, chance.uniform(0.01, 0.3))
        if (out / "own/manifest.json").exists():
            # where the kill came just after the commit, before that had swept up
            found = {n: c for n, c in content(out).items() if n not in (FILE, "ingest.lock") and not n.endswith(".tmp")}
            assert found == content(tmp_path / "whole")
            shutil.rmtree(out)
            continue
        after = finished(out)
        assert {file: after.get(file) for file in before} == before, "a finished shard was written again"
        kept = max(kept, len(after))
    assert kept >= 3, "some kills came after finished shards"
    assert run(source, out) == manifest
    assert content(out) == content(tmp_path / "whole"), "and the note of progress is gone"
    ids = open_dataset(Storage(str(out)), "own").split("train").ids()
    assert len(ids) == len(set(ids)) == 49


def half(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **how: object) -> list[str]:
    """Ingest, cut off hard in the middle; the pairs that were read."""
    read: list[str] = []
    plain = Source.read

    def counted(self: Source, item: Item) -> object:
        read.append(item.id)
        return plain(self, item)

    monkeypatch.setattr(Source, "read", counted)
    for turn in range(10):
        if not finished(out):
            kill_after(source, out, 0.15 * 1.5**turn)
    assert finished(out)
    return read


def test_only_the_rest_is_read(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = half(source, tmp_path, monkeypatch)
    shards = [w["shard"] for w in json.loads((tmp_path / "own" / FILE).read_text())["done"].values()]
    bad = [b for w in json.loads((tmp_path / "own" / FILE).read_text())["done"].values() for b in w["bad"]]
    run(source, tmp_path)
    assert len(read) == 68 - sum(shard["rows"] for shard in shards) - len(bad) < 68


@pytest.mark.parametrize("change", ["file", "how"])
def test_something_else_begins_anew(change: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(source, mine)
    read = half(mine, out, monkeypatch)
    if change == "file":
        os.utime(mine / "train/images/000.jpg", (1, 1))
    run(mine, out, **({"shard_bytes": 9000} if change == "how" else {}))
    assert len(read) == 68
    assert FILE not in content(out)


def test_a_note_that_is_damaged_or_whose_shards_are_gone_is_no_progress(tmp_path: Path) -> None:
    folder = Storage(str(tmp_path))
    for text in ("", "{", "[]", '{"plan": "p", "done": {"train-00000": {"shard": {"file": "x"}, "bad": []}}}'):
        folder.write(FILE, text.encode())
        assert load_progress(folder, "p").done == {}
    shard = {
        "file": "train-00000-0123abcd.arrow",
        "rows": 1,
        "bytes": 5,
        "sha256": hashlib.sha256(b"12345").hexdigest(),
    }
    note = {"plan": "p", "done": {"train-00000": {"shard": shard, "bad": []}}}
    folder.write(FILE, json.dumps(note).encode())
    assert load_progress(folder, "p").done == {}
    folder.write(shard["file"], b"54321")  # type: ignore[arg-type]
    assert load_progress(folder, "p").done == {}, "of the right size, but altered"
    folder.write(shard["file"], b"12345")  # type: ignore[arg-type]
    assert list(load_progress(folder, "p").done) == ["train-00000"]
    assert load_progress(folder, "other").done == {}
    assert load_progress(folder, "p", {"train-00000-0123abcd.arrow"}).done == {}, "the note of a committed ingest"


def test_an_error_after_a_kill_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half(source, tmp_path / "out", monkeypatch)

    def stop(done: int, total: int, current: str) -> None:
        raise UserError("no space left")

    with pytest.raises(UserError, match="no space"):
        run(source, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out/own").exists()


def test_another_plan_that_fails_at_once_leaves_the_note_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half(source, tmp_path, monkeypatch)
    before = finished(tmp_path)

    def stop(done: int, total: int, current: str) -> None:
        raise UserError("no space left")

    with pytest.raises(UserError, match="no space"):
        run(source, tmp_path, shard_bytes=9000, progress=stop)
    assert finished(tmp_path) == before


def test_two_at_once_are_refused(source: Path, tmp_path: Path) -> None:
    child = FORK.Process(target=run, args=(source, tmp_path, 0.05))
    child.start()
    for _ in range(200):
        if (tmp_path / "own/ingest.lock").exists():
            break
        time.sleep(0.02)
    with pytest.raises(UserError, match="another ingest of it is running"):
        run(source, tmp_path)
    child.join()
    assert child.exitcode == 0 and "ingest.lock" not in content(tmp_path)


def test_a_store_that_is_lost_right_after_the_commit_loses_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, plain = Storage("memory://late"), Storage.exists

    def gone(self: Storage, name: str = "") -> bool:
        if plain(self, "own/manifest.json") or plain(self, "manifest.json"):
            raise UserError("s3://late: cannot be reached")
        return plain(self, name)

    monkeypatch.setattr(Storage, "exists", gone)
    with pytest.raises(UserError, match="cannot be reached"):
        ingest("own", source, out, "folders", "binary", skip_bad=True)
    monkeypatch.setattr(Storage, "exists", plain)
    assert open_dataset(out, "own").split("train").ids()


def die_at_60(source: Path, out: Path) -> None:
    def die(done: int, total: int, current: str) -> None:
        if done == 60:
            os._exit(9)

    run(source, out, skip_bad=False, progress=die)


def test_what_was_only_checked_is_no_progress(source: Path, tmp_path: Path) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(source, mine)
    put_pair(mine / "train/images/007.jpg", mine / "train/masks/007.png")
    orphan = mine / "train/masks/orphan.png"
    shutil.copyfile(mine / "train/masks/000.png", orphan)  # every pair is good, but the source is not
    child = FORK.Process(target=die_at_60, args=(mine, out))
    child.start()
    child.join()
    assert child.exitcode == 9
    orphan.unlink()
    assert run(mine, out, skip_bad=False).rows() == 68
