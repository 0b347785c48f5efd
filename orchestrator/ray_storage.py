"""A storage URI as Ray takes it: a path, and for object stores a pyarrow filesystem over fsspec."""

from __future__ import annotations

from typing import Any

from pyarrow.fs import FSSpecHandler, PyFileSystem

from orchestrator.patient_fs import PatientFileSystem
from orchestrator.storage import Storage


def ray_storage(storage: Storage) -> tuple[str, Any]:
    """``(storage_path, storage_filesystem)`` for Ray's RunConfig.

    pyarrow's own S3 client cannot write to some S3-compatible stores (HTTP 411), so writes go through s3fs.
    They wait for a store that is away.
    """
    if storage.is_local:
        return storage.path(), None
    return storage.path(), PyFileSystem(FSSpecHandler(PatientFileSystem(storage.fs)))
