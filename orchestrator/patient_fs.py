"""A remote store as Ray uses it: what fails by a passing fault is tried again, and files are put whole."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from typing import Any

from orchestrator.patience import patiently
from orchestrator.storage import SPOOL_BYTES, put


@dataclass(frozen=True)
class PatientFileSystem:
    """What pyarrow's ``FSSpecHandler`` asks of an fsspec filesystem; every call waits for a store that is away.

    A move and an append could not be tried twice. Ray does neither, and they are not offered.
    """

    fs: Any

    @property
    def protocol(self) -> Any:
        return self.fs.protocol

    def info(self, path: str) -> dict[str, Any]:
        return dict(patiently(lambda: self.fs.info(path)))

    # fsspec's own isdir, isfile and exists say "no" of a store that does not answer

    def isdir(self, path: str) -> bool:
        return self._kind(path) == "directory"

    def isfile(self, path: str) -> bool:
        return self._kind(path) == "file"

    def exists(self, path: str) -> bool:
        return self._kind(path) is not None

    def _kind(self, path: str) -> str | None:
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return None

    def find(self, path: str, **options: Any) -> Any:
        return patiently(lambda: self.fs.find(path, **options))

    def listdir(self, path: str, detail: bool = True) -> Any:
        return patiently(lambda: self.fs.listdir(path, detail=detail))

    def mkdir(self, path: str, create_parents: bool = True) -> None:
        # s3fs takes a store that is away for one without the bucket, and would set out to make it
        parents = create_parents and "s3" not in self.protocol
        patiently(lambda: self.fs.mkdir(path, create_parents=parents))

    def copy(self, source: str, target: str) -> None:
        patiently(lambda: self.fs.copy(source, target))

    def rm(self, path: str, recursive: bool = False) -> None:
        again = False

        def remove() -> None:
            nonlocal again
            try:
                self.fs.rm(path, recursive=recursive)
            except FileNotFoundError:
                if not again:  # else the answer to a try before was lost, or its rest is done
                    raise
            finally:
                again = True

        patiently(remove)

    def open(self, path: str, mode: str) -> Upload | Download:
        if mode == "wb":
            return Upload(self.fs, path)
        if mode == "rb":
            return Download(patiently(lambda: self.fs.open(path, mode="rb")))
        raise ValueError(f"mode '{mode}' of {path}: only 'rb' and 'wb' can be tried again")


class Upload:
    """A file that lies aside until it is closed and is then put whole.

    It is not put at all where a write failed or nobody closed it, which is how pyarrow leaves a copy that failed.
    """

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._path = fs, path
        self._aside = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115

    @property
    def closed(self) -> bool:
        return self._aside.closed

    def write(self, data: Any) -> int:
        try:
            return self._aside.write(data)
        except BaseException:
            self._aside.close()
            raise

    def tell(self) -> int:
        return self._aside.tell()

    def flush(self) -> None:
        """Nothing can be shown yet."""

    def close(self) -> None:
        if self.closed:
            return
        try:
            with self._aside:
                patiently(lambda: put(self._fs, self._aside, self._path))
        except Exception as error:  # said here too: pyarrow's copy_files drops what a file's close raises
            logging.getLogger("samsweep").error("%s: not written (%s)", self._path, error)
            raise


class Download:
    """A file of which a read that failed is tried again from where it began."""

    def __init__(self, file: Any) -> None:
        self._file = file

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()

        def read() -> bytes:
            self._file.seek(start)
            return bytes(self._file.read(size))

        return patiently(read)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
