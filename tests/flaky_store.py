"""An object store in memory that can be away: ``flaky://``, whose failures are queued per operation."""

from __future__ import annotations

import io
from typing import Any, ClassVar

import botocore.exceptions
import fsspec
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

AWAY = botocore.exceptions.EndpointConnectionError(endpoint_url="http://x")


class FlakyStore(MemoryFileSystem):
    """Each operation raises the next of its queued errors first."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    errors: ClassVar[dict[str, list[BaseException]]] = {}
    lost: ClassVar[list[BaseException]] = []  #: raised after a removal that was done

    def fail(self, operation: str) -> None:
        if queue := self.errors.get(operation):
            raise queue.pop(0)

    def info(self, path: str, **options: Any) -> Any:
        self.fail("info")
        return super().info(path, **options)

    def ls(self, path: str, *words: Any, **options: Any) -> Any:
        self.fail("ls")
        return super().ls(path, *words, **options)

    def find(self, *words: Any, **options: Any) -> Any:
        """Paths as s3fs spells them, which pyarrow compares."""
        self.fail("find")
        found = super().find(*words, **options)
        if isinstance(found, dict):
            return {path.lstrip("/"): info for path, info in found.items()}
        return found

    def exists(self, path: str, **options: Any) -> bool:
        self.fail("exists")
        return bool(super().exists(path, **options))

    def mkdir(self, path: str, *words: Any, **options: Any) -> None:
        self.fail("mkdir")
        super().mkdir(path, *words, **options)

    def rm(self, path: str, *words: Any, **options: Any) -> None:
        self.fail("rm")
        super().rm(path, *words, **options)
        if self.lost:
            raise self.lost.pop(0)

    def cp_file(self, *words: Any, **options: Any) -> None:
        self.fail("copy")
        super().cp_file(*words, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.fail("open")
        return Object(self, path) if mode == "wb" else Reader(self, path)


class Object(io.BytesIO):
    """Appears when it is closed, with what it has by then, as fsspec's files do."""

    closed = False  # can be set, as fsspec's

    def __init__(self, fs: FlakyStore, path: str) -> None:
        super().__init__()
        self.fs, self.path, self.dropped = fs, path, False

    def write(self, data: Any) -> int:
        if self.tell():
            self.fs.fail("write")
        return super().write(data)

    def discard(self) -> None:
        self.dropped = True

    def close(self) -> None:
        if not self.dropped and self.path:
            path, self.path = self.path, ""
            self.fs.fail("close")
            self.fs.store[path] = MemoryFile(self.fs, path, self.getvalue())


class Reader(io.BytesIO):
    def __init__(self, fs: FlakyStore, path: str) -> None:
        super().__init__(fs.store[path].getvalue())
        self.fs = fs

    def read(self, size: int | None = -1) -> bytes:
        self.fs.fail("read")
        return super().read(size)


def fresh() -> type[FlakyStore]:
    """The store, empty and well."""
    fsspec.register_implementation("flaky", FlakyStore, clobber=True)
    FlakyStore.store.clear()
    FlakyStore.pseudo_dirs[:] = [""]
    FlakyStore.errors.clear()
    FlakyStore.lost.clear()
    return FlakyStore
