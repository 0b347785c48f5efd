"""Ray's own files in a store that is away: they wait, and no half file is ever seen."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import flaky_store
import numpy as np
import pyarrow.fs
import pytest
import ray.train
from flaky_store import AWAY
from ray.train.v2._internal.execution.storage import StorageContext, delete_fs_path

from orchestrator import ray_storage
from orchestrator.storage import Storage

pytestmark = pytest.mark.usefixtures("pauses")
BYTES = np.random.default_rng(0).bytes(3_000_000)  # several writes of a megabyte


def patient() -> Any:
    path, filesystem = ray_storage.ray_storage(Storage("flaky://bucket/run"))
    assert path == "bucket/run"
    return filesystem


def folder(tmp_path: Path) -> Path:
    """A checkpoint's."""
    (tmp_path / "kept" / "deep").mkdir(parents=True)
    (tmp_path / "kept" / "state.pt").write_bytes(BYTES)
    (tmp_path / "kept" / "deep" / "more").write_bytes(b"more")
    return tmp_path / "kept"


def test_a_checkpoint_survives_a_store_that_is_away(store: Any, pauses: list[float], tmp_path: Path) -> None:
    local = ray.train.Checkpoint.from_directory(str(folder(tmp_path)))
    context = StorageContext("bucket/run", "ray", storage_filesystem=patient())
    faults = {name: [AWAY, ConnectionResetError()] for name in ("info", "mkdir", "open", "close")}
    store.errors.update(faults | {"write": [OSError(errno.EBUSY, "SlowDown")]})
    kept = context.persist_current_checkpoint(local, "kept")
    assert not any(store.errors.values()) and len(pauses) >= 6
    assert store.store["/bucket/run/ray/kept/state.pt"].getvalue() == BYTES
    assert store.store["/bucket/run/ray/kept/deep/more"].getvalue() == b"more"

    store.errors.update({name: [AWAY] for name in ("info", "find", "open", "read")})
    kept.to_directory(str(tmp_path / "back"))
    assert not any(store.errors.values())
    assert (tmp_path / "back" / "state.pt").read_bytes() == BYTES


@pytest.mark.parametrize("operation", ["open", "write", "close"])
@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), AWAY], ids=["lasting", "away for ever"])
def test_a_checkpoint_that_cannot_be_put_leaves_nothing_half(
    operation: str, error: Exception, store: Any, pauses: list[float], tmp_path: Path, caplog: Any
) -> None:
    store.store["/bucket/run/kept/state.pt"] = flaky_store.MemoryFile(store(), "/bucket/run/kept/state.pt", b"old")
    store.errors[operation] = [error] * 1000
    pyarrow.fs.copy_files(str(folder(tmp_path)), "bucket/run/kept", destination_filesystem=patient())
    assert store.store["/bucket/run/kept/state.pt"].getvalue() == b"old"
    assert (sum(pauses) > 120) is (error is AWAY)
    assert "bucket/run/kept/state.pt: not written" in caplog.text, "pyarrow drops the error"


def test_a_source_that_fails_midway_puts_nothing(store: Any) -> None:
    class Torn(flaky_store.Reader):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise PermissionError("at the second block")
            return super().read(size)

    class Source(flaky_store.FlakyStore):
        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            return Torn(self, path)

    store.store["/from"] = flaky_store.MemoryFile(store(), "/from", BYTES)
    source = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(Source()))
    with pytest.raises(PermissionError):
        pyarrow.fs.copy_files("/from", "/to", source_filesystem=source, destination_filesystem=patient())
    assert sorted(store.store) == ["/from"]


def test_a_store_that_is_away_is_not_taken_for_an_empty_one(store: Any) -> None:
    Storage("flaky://bucket/run").write("x", b"there")
    filesystem = patient()
    store.errors["info"] = [AWAY]
    with filesystem.open_input_stream("bucket/run/x") as file:
        assert file.read() == b"there"
    store.errors["info"] = [AWAY]
    assert [info.base_name for info in filesystem.get_file_info(pyarrow.fs.FileSelector("bucket/run"))] == ["x"]
    with pytest.raises(FileNotFoundError):
        filesystem.open_input_file("bucket/run/none")
    with pytest.raises(ValueError, match="only 'rb' and 'wb'"):
        filesystem.open_append_stream("bucket/run/x")


def test_a_removal_whose_answer_was_lost_is_done(store: Any) -> None:
    storage, filesystem = Storage("flaky://bucket/run"), patient()
    for name in ("kept/a", "kept/b", "file"):
        storage.write(name, b"x")
    store.errors["rm"], store.lost[:] = [AWAY], [AWAY]
    delete_fs_path(filesystem, "bucket/run/kept")
    store.lost[:] = [AWAY]
    filesystem.delete_file("bucket/run/file")
    assert not store.store and not store.lost and not store.errors["rm"]
    with pytest.raises(FileNotFoundError):
        filesystem.delete_dir("bucket/run/kept")


def test_a_copy_waits(store: Any) -> None:
    Storage("flaky://bucket/run").write("a", b"x")
    store.errors["copy"] = [AWAY]
    patient().copy_file("bucket/run/a", "bucket/run/b")
    assert store.store["/bucket/run/b"].getvalue() == b"x"


def test_s3fs_is_not_asked_to_make_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does where a bucket does not answer, and the refusal would fail the trial."""
    asked: list[dict[str, Any]] = []
    _, filesystem = ray_storage.ray_storage(storage := Storage("s3://bucket/run"))
    monkeypatch.setattr(type(storage.fs), "mkdir", lambda self, path, **options: asked.append(options))
    filesystem.create_dir("bucket/run/tune", recursive=True)
    assert asked == [{"create_parents": False}]


def test_it_travels(store: Any) -> None:
    filesystem = patient()
    there = pickle.loads(pickle.dumps(filesystem))
    assert there == filesystem and there.type_name == "py::fsspec+flaky"
    store.errors["open"] = [AWAY]
    with there.open_output_stream("bucket/run/x") as file:
        file.write(b"whole")
    assert store.store["/bucket/run/x"].getvalue() == b"whole"
