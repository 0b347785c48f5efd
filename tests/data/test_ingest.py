import errno
import os
from pathlib import Path

import numpy as np
import pytest
from data_samples import encode, fails, files, ground, picture, put_pair, run
from PIL import Image

from orchestrator.data import shardfile, writer
from orchestrator.data.ingest import ingest
from orchestrator.data.reader import open_dataset
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def test_round_trip(folders: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    manifest = run(folders, tmp_path / "out", progress=lambda *step: seen.append(step))
    assert (manifest.rows("train"), manifest.rows("test"), manifest.rows()) == (8, 2, 10)
    assert [step[:2] for step in seen] == [(i, 10) for i in range(1, 11)]
    dataset = open_dataset(Storage(str(tmp_path / "out")), "own")
    assert dataset.manifest == manifest
    got = {}
    for name in ("train", "test"):
        split = dataset.split(name)
        assert split.ids() == sorted(split.ids())
        for i in range(len(split)):
            got[split.ids()[i]] = split.read(i)
    assert sorted(got) == sorted(f"p{i}" for i in range(10))
    for name, sample in got.items():
        assert (sample.image == np.asarray(Image.open(folders / f"images/{name}.jpg"))).all()
        assert (sample.mask == (ground() > 0)).all()


def test_images_stay_encoded_as_they_came(folders: Path, tmp_path: Path) -> None:
    run(folders, tmp_path / "out")
    stored = b"".join(files(tmp_path / "out").values())
    for path in [*folders.glob("images/*"), *folders.glob("masks/*")]:
        assert path.read_bytes() in stored


def test_shards_are_cut_by_size_and_named_by_content(folders: Path, tmp_path: Path) -> None:
    manifest = run(folders, tmp_path / "out", shard_bytes=3000)
    shards = manifest.splits["train"]
    assert len(shards) > 2
    assert sum(shard.rows for shard in shards) == 8
    for number, shard in enumerate(shards):
        assert shard.file == f"train-{number:05d}-{shard.sha256[:8]}.arrow"
    assert sorted(files(tmp_path / "out")) == sorted(
        ["own/manifest.json", *(f"own/{shard.file}" for shard in manifest.shards())]
    )
    assert len(open_dataset(Storage(str(tmp_path / "out")), "own").split("train").ids()) == 8


def test_the_fingerprint_speaks_of_content_only(folders: Path, tmp_path: Path) -> None:
    first = run(folders, tmp_path / "a")
    assert run(folders.parent, tmp_path / "b").fingerprint == first.fingerprint
    assert run(folders, tmp_path / "c", seed=1).fingerprint != first.fingerprint
    (folders / "images/p0.jpg").write_bytes(encode(picture(99), "JPEG"))
    assert run(folders, tmp_path / "d").fingerprint != first.fingerprint


def test_ingested_already(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(folders, out)
    message = fails(folders, out)
    assert f"already ingested (10 rows, fingerprint {first.fingerprint[:8]}); --replace" in message
    for kind in ("images", "masks"):
        next((folders / kind).glob("p7.*")).unlink()
    second = run(folders, out, replace=True)
    assert second.rows() == 9
    assert {f"own/{s.file}" for s in second.shards()} | {"own/manifest.json"} == set(files(out))


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-a", "ä", "a.b", "x" * 101])
def test_names_that_cannot_be(folders: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="use letters, digits"):
        ingest(name, folders, Storage(str(tmp_path / "out")), "folders", "binary")


def test_unknown_task(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown task 'polyps' .*polyp"):
        ingest("own", folders, Storage(str(tmp_path / "out")), "folders", "polyps")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_error_leaves_nothing_and_who_is_interrupted_goes_on(
    folders: Path, tmp_path: Path, stop: type[BaseException]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"

    def stop_late(done: int, total: int, current: str) -> None:
        if done == 7:
            assert files(out), "a shard was written before"
            raise stop

    with pytest.raises(stop):
        run(folders, out, shard_bytes=2000, progress=stop_late)
    if stop is RuntimeError:
        assert not out.exists()
        return
    kept = files(out)
    assert "own/ingest.json" in kept and len(kept) > 2 and "own/manifest.json" not in kept
    assert run(folders, out, shard_bytes=2000) == run(folders, whole, shard_bytes=2000)
    assert files(out) == files(whole)


def test_no_space_left_within_a_shard(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shardfile.Hashed, "write", full)
    assert "no space left" in fails(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_system_without_locks(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(writer.fcntl, "flock", refuse)
    assert run(folders, tmp_path / "out").rows() == 10


def test_a_split_that_lost_all_its_pairs(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put_pair(tmp_path / f"own/{split}/images/a.jpg", tmp_path / f"own/{split}/masks/a.png")
    (tmp_path / "own/test/masks/a.png").unlink()
    assert "no usable image is left in split 'test'" in fails(tmp_path / "own", tmp_path / "out", skip_bad=True)


def test_a_failed_replacement_keeps_the_old_dataset(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folders, out, shard_bytes=2000)
    last = sorted(folders.glob("images/*"))[-1]
    last.write_bytes(b"")
    fails(folders, out, shard_bytes=2000, replace=True)
    open_dataset(Storage(str(out)), "own").verify()


def test_no_space_left(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(file: object) -> None:
        calls.append(file)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = fails(folders, tmp_path / "out", shard_bytes=2000)
    assert "no space left" in message
    assert not (tmp_path / "out").exists()


def test_what_a_killed_ingest_left_is_swept_up(folders: Path, tmp_path: Path) -> None:
    left = tmp_path / "out/own"
    left.mkdir(parents=True)
    (left / "train-00003-0123abcd.arrow").write_bytes(b"orphan")
    (left / "train-00004-0123abcd.arrow.deadbeef.tmp").write_bytes(b"orphan")
    manifest = run(folders, tmp_path / "out")
    assert sorted(files(left)) == sorted(["manifest.json", *(s.file for s in manifest.shards())])


def test_other_peoples_files_are_never_touched(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"own/images: holds other files \(p0.jpg\)"):
        ingest("images", folders, Storage(str(folders)), "folders", "binary", replace=True)
    assert len(list(folders.glob("images/*"))) == 10


def test_a_damaged_shard_is_mended_by_replace(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(folders, out)
    shard = out / "own" / first.shards()[0].file
    shard.write_bytes(shard.read_bytes()[:-100])
    (out / "own/manifest.json").write_text("{")
    assert "ingest it again with --replace" in fails(folders, out)
    assert run(folders, out, replace=True) == first
    open_dataset(Storage(str(out)), "own").verify()


def test_a_second_ingest_at_once_fails_at_its_commit(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def sweep(done: int, total: int, current: str) -> None:
        if done == total:
            for path in (out / "own").glob("train-*.arrow"):
                path.unlink()

    message = ""
    with pytest.raises(UserError) as caught:
        run(folders, out, shard_bytes=2000, progress=sweep)
    message = str(caught.value)
    assert "another ingest" in message
    assert not out.exists()


def test_real_polyps(kvasir: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "some" / kind).mkdir(parents=True)
        for path in sorted((kvasir / kind).glob("*.jpg"))[:50]:
            (tmp_path / "some" / kind / path.name).symlink_to(path)
    manifest = run(tmp_path / "some", tmp_path / "out")
    assert (manifest.rows("train"), manifest.rows("test")) == (40, 10)
    assert not manifest.skipped
    split = open_dataset(Storage(str(tmp_path / "out")), "own").split("test")
    for i in range(10):
        sample = split.read(i)
        assert sample.image.shape[:2] == sample.mask.shape
        assert 0.001 < sample.mask.mean() < 0.9
        source = np.asarray(Image.open(kvasir / f"masks/{sample.id}.jpg").convert("L"))
        assert (sample.mask == (source > 127)).all()
