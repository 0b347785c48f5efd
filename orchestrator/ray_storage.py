"""A storage URI as Ray takes it: a path, and for object stores a pyarrow filesystem over fsspec."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
from pyarrow.fs import FSSpecHandler, PyFileSystem

from orchestrator.patient_fs import PatientFileSystem
from orchestrator.storage import Storage

#: Ray Train's list of its checkpoints, and our copy of it.
SNAPSHOT, KEPT_SNAPSHOT = "checkpoint_manager_snapshot.json", "snapshot_before.json"


def ray_storage(storage: Storage) -> tuple[str, Any]:
    """``(storage_path, storage_filesystem)`` for Ray's RunConfig.

    pyarrow's own S3 client cannot write to some S3-compatible stores (HTTP 411), so writes go through s3fs.
    They wait for a store that is away.
    """
    if storage.is_local:
        return storage.path(), None
    return storage.path(), PyFileSystem(FSSpecHandler(PatientFileSystem(storage.fs)))


def upload(checkpoint: Any, name: str) -> Any:
    """Ray Train's ``checkpoint_upload_fn``: puts a local checkpoint where Ray Train would, or raises why it cannot.

    Ray Train's own way, pyarrow's ``copy_files``, drops what closing a file raises (26.0), and a remote file is
    put when it is closed: Ray would go on with a checkpoint that is not there and delete the one before.
    """
    context = ray.train.get_context().get_storage()
    filesystem, folder = context.storage_filesystem, Path(checkpoint.path)
    if not isinstance(filesystem, PyFileSystem):
        return context.persist_current_checkpoint(checkpoint, name)
    target = context.build_checkpoint_path_from_name(name)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        # before there is a file, since leaving the block completes it; mapped, not read: it may be gigabytes
        data = pa.memory_map(str(path)).read_buffer() if path.stat().st_size else b""
        with filesystem.open_output_stream(f"{target}/{path.relative_to(folder).as_posix()}") as file:
            file.write(data)
    return ray.train.Checkpoint(target, filesystem)


def keep_snapshot(folder: Storage) -> None:
    """Copy Ray Train's list of checkpoints aside: it is written in place, so that a kill can leave half of it.

    The checkpoint that the copy names outlives the next writing: Ray deletes it only afterwards. Stores show an
    object only once it is whole and need no copy.
    """
    if folder.is_local and folder.exists(SNAPSHOT):
        folder.write(KEPT_SNAPSHOT, folder.read(SNAPSHOT))


def mend_snapshot(folder: Storage) -> None:
    """Put the copy in the place of a list that a kill cut short; without a copy the trial begins anew."""
    if not folder.is_local or not folder.exists(SNAPSHOT):
        return
    try:
        json.loads(folder.read(SNAPSHOT))
    except ValueError:
        logging.getLogger("samsweep").warning("%s: cut short; going back to the one before", folder.path(SNAPSHOT))
        if folder.exists(KEPT_SNAPSHOT):
            folder.write(SNAPSHOT, folder.read(KEPT_SNAPSHOT))
        else:
            folder.remove(SNAPSHOT)
