import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from data_samples import check_samples, encode, ground, picture

from orchestrator.data.cache import cache_folder
from orchestrator.data.fetch import local_shard, sha256
from orchestrator.data.reader import open_dataset
from orchestrator.data.schema import Manifest, Row
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.storage import Storage

Write = Callable[..., Manifest]


def test_remote_shards_are_fetched_once_and_verified(remote: Storage, write: Write) -> None:
    manifest = write(remote, "own", {"train": 12, "test": 2}, shard_bytes=5000)
    split = open_dataset(remote, "own").split("train")
    assert not (cache_folder() / "shards").exists()
    check_samples(split, list(range(12)))
    cached = sorted(p.name for p in (cache_folder() / "shards").glob("*.arrow"))
    assert cached == sorted(f"{s.sha256}.arrow" for s in manifest.splits["train"])
    assert not list((cache_folder() / "shards").glob("*.tmp"))
    fs = remote.fs
    for shard in manifest.splits["train"]:
        fs.pipe_file(remote.path(f"own/{shard.file}"), bytes(shard.bytes))
    check_samples(open_dataset(remote, "own").split("train"), list(range(12)))


def test_altered_remote_shards_are_not_cached(remote: Storage, write: Write) -> None:
    manifest = write(remote, "own", {"train": 3})
    shard = manifest.splits["train"][0]
    remote.fs.pipe_file(remote.path(f"own/{shard.file}"), bytes(shard.bytes))
    split = open_dataset(remote, "own").split("train")
    with pytest.raises(UserError, match=rf"{shard.file}: the shard was altered .*--replace"):
        split.read(0)
    assert not [p for p in (cache_folder() / "shards").iterdir() if p.suffix != ".lock"]
    remote.fs.rm(remote.path(f"own/{shard.file}"))
    with pytest.raises(UserError, match="the shard is missing"):
        open_dataset(remote, "own")
    with pytest.raises(UserError, match="the shard cannot be read"):
        split.read(0)


@pytest.mark.parametrize("damage", [b"short", None])
def test_a_damaged_copy_is_fetched_again(
    damage: bytes | None, remote: Storage, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write(remote, "own", {"train": 3}).splits["train"][0]
    path = local_shard(remote / "own", shard)
    for use in (lambda d: d.split("train").read(0), lambda d: d.verify()):
        path.write_bytes(damage or bytes(shard.bytes))
        use(open_dataset(remote, "own"))
        assert sha256(path) == shard.sha256


def test_a_store_that_is_away_for_a_moment_is_waited_for(
    remote: Storage, write: Write, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(remote, "own", {"train": 12}, shard_bytes=5000)
    split = open_dataset(remote, "own").split("train")
    plain = type(remote.fs).open

    class Torn(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise ConnectionResetError("in the middle of a shard")
            return super().read(100)

    def torn(self: object, path: str, *arguments: object, **options: object) -> object:
        data = plain(self, path, *arguments, **options)
        return Torn(data.read()) if len(pauses) < 2 else data

    monkeypatch.setattr(type(remote.fs), "open", torn)
    check_samples(split, list(range(12)))
    assert pauses == [0.5, 1.0]


def test_a_cache_that_cannot_be_written(
    remote: Storage, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(remote, "own", {"train": 3})
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SAMSWEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="SAMSWEEP_CACHE"):
        open_dataset(remote, "own").split("train").read(0)


def test_who_fetches_at_once_shares_one_download(
    remote: Storage, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write(remote, "own", {"train": 12}).splits["train"][0]
    opened: list[str] = []
    plain = type(remote.fs).open

    def slow(self: object, path: str, *arguments: object, **options: object) -> object:
        opened.append(path)
        time.sleep(0.1)
        return plain(self, path, *arguments, **options)

    monkeypatch.setattr(type(remote.fs), "open", slow)
    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(lambda _: local_shard(remote / "own", shard), range(6)))
    assert len(opened) == 1
    assert len(set(paths)) == 1
    assert sha256(paths[0]) == shard.sha256


def test_a_failed_remote_ingest_leaves_nothing(remote: Storage) -> None:
    row = Row("a", "", encode(picture()), encode(ground()), 24, 32, 127, "a.png")
    with pytest.raises(RuntimeError), DatasetWriter(remote, "own", shard_bytes=100) as writer:
        writer.add("train", row)
        assert remote.names("own")
        raise RuntimeError
    assert not remote.names("own")
