"""One URI, one filesystem: where data, checkpoints and results live (a folder, file:// or s3://)."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from orchestrator.errors import UserError
from orchestrator.patience import PATIENCE, patiently
from orchestrator.redact import redact

ASIDE = "aside"  #: what a file is called that has no name yet
BESIDE = re.compile(r"\.[0-9a-f]{8}\.tmp$")  #: how a local file ends that has not been renamed into place yet
PROBE = ".probe-"  #: how ``check_writable``'s file begins
SPOOL_BYTES = 64 * 2**20  #: what a remote write keeps in memory before it turns to a temporary file


@dataclass(frozen=True)
class Entry:
    """A file or a folder, as a listing tells of it."""

    bytes: int  #: 0 for a folder
    modified: float  #: in seconds since 1970; 0 where the store does not say
    is_folder: bool


@dataclass(frozen=True)
class Storage:
    """A folder on any filesystem that fsspec knows.

    Every write is atomic: locally a temporary file is renamed, and an object store shows an object only
    once it is complete. Credentials come from the environment, never from the URI.
    """

    uri: str

    def __post_init__(self) -> None:
        if not self.uri:
            raise UserError("an empty DATA or STORAGE; give a folder or a URI like s3://bucket/path")
        if "://" not in self.uri or self.uri.startswith("file://"):
            plain = Path(self.uri.removeprefix("file://") or "/").expanduser().absolute()
            object.__setattr__(self, "uri", str(plain))
        elif "@" in self.uri.split("://", 1)[1].split("/", 1)[0] or redact(self.uri) != self.uri:
            raise UserError("a storage URI must not carry a secret; use AWS_ACCESS_KEY_ID and the like")
        object.__setattr__(self, "uri", self.uri.rstrip("/") or "/")

    @property
    def is_local(self) -> bool:
        return "://" not in self.uri

    @property
    def fs(self) -> Any:
        protocol = "file" if self.is_local else self.uri.split("://", 1)[0]
        try:
            return fsspec.filesystem(protocol)
        except (ImportError, ValueError) as error:
            raise UserError(f"{self.uri}: no filesystem for '{protocol}://' ({error})") from error

    def __truediv__(self, name: str) -> Storage:
        return Storage(f"{self.uri}/{name}")

    @property
    def parent(self) -> Storage:
        return Storage(self.uri.rpartition("/")[0] or "/")

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]

    def path(self, name: str = "") -> str:
        """The path as the filesystem itself spells it (without ``s3://``)."""
        full = f"{self.uri}/{name}" if name else self.uri
        return full if self.is_local else full.split("://", 1)[1]

    def local(self, name: str = "") -> Path:
        """The path on this machine; only where ``is_local``."""
        return Path(self.path(name))

    def exists(self, name: str = "") -> bool:
        with self._reaching(name):
            return bool(self.fs.exists(self.path(name)))

    def size(self, name: str) -> int:
        with self._reaching(name):
            return int(self.fs.size(self.path(name)))

    def read(self, name: str) -> bytes:
        with self._reaching(name), self.fs.open(self.path(name), "rb") as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes, patience: float = PATIENCE) -> None:
        with self.writing(name, patience) as file:
            file.write(data)

    @contextmanager
    def writing(self, name: str | Callable[[], str], patience: float = PATIENCE) -> Iterator[BinaryIO]:
        """A binary file that appears under its name only when the block ends well.

        ``name`` may be a function that tells it then, of a file directly in this folder. A remote store that is
        away is waited for, ``patience`` seconds long.
        """
        target = self.path(name if isinstance(name, str) else ASIDE)
        try:
            if not self.is_local:
                # fsspec's files write what they have when they are closed, even by an error
                with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as aside:
                    yield cast(BinaryIO, aside)
                    target = target if isinstance(name, str) else self.path(name())
                    self._send(aside, target, patience)
                return
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            beside = Path(f"{target}.{uuid.uuid4().hex[:8]}.tmp")
            try:
                with beside.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                target = target if isinstance(name, str) else self.path(name())
                beside.rename(target)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise writing_failed(target, error) from error

    def _send(self, source: Any, target: str, patience: float) -> None:
        fs = self.fs
        try:
            patiently(lambda: put(fs, source, target), patience)
        except Exception as error:  # botocore's are no OSErrors
            raise writing_failed(target, error) from error

    def remove(self, name: str = "") -> None:
        """Delete a file or a whole folder; nothing happens where there is none. May be tried again where it failed."""
        self.fs.invalidate_cache()
        if self.exists(name):
            with self._reaching(name):
                self.fs.rm(self.path(name), recursive=True)
                self.fs.invalidate_cache()

    def names(self, folder: str = "") -> list[str]:
        """The sorted names of what lies directly in a folder; empty where there is no folder."""
        self.fs.invalidate_cache()
        if not self.exists(folder):
            return []
        with self._reaching(folder):
            entries = self.fs.ls(self.path(folder), detail=False)
        return sorted({str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries} - {""})

    def tree(self, folder: str = "") -> dict[str, Entry]:
        """Everything below a folder, by its path relative to this storage; empty where there is no folder."""
        self.fs.invalidate_cache()
        with self._reaching(folder):
            root, found = self.path().rstrip("/"), self.fs.find(self.path(folder), withdirs=True, detail=True)
        below = {path.rstrip("/"): info for path, info in found.items()}
        start = f"{root.lstrip('/')}/"  # some filesystems spell paths without the first slash, some with it
        return {
            path.lstrip("/").removeprefix(start): _entry(info)
            for path, info in sorted(below.items())
            if path.lstrip("/").startswith(start) and path.lstrip("/") != self.path(folder).lstrip("/")
        }

    @contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        """One line where the store cannot be reached or refuses; a file that is not there stays itself."""
        try:
            yield
        except (UserError, FileNotFoundError):
            raise
        except Exception as error:
            advice = "mend its permissions" if self.is_local else "check AWS_ENDPOINT_URL and the credentials"
            where = self.path(name) if self.is_local else f"{self.uri}/{name}".rstrip("/")
            raise UserError(f"{where}: cannot be reached ({_reason(error)}); {advice}") from error

    def check_writable(self) -> None:
        """Raise a one-line error now rather than after an hour of training."""
        probe = f"{PROBE}{uuid.uuid4().hex[:8]}"
        here = [self.local(), *self.local().parents] if self.is_local else []
        made = [folder for folder in here if not folder.exists()]
        try:
            self.write(probe, b"samsweep", patience=0)
            self.remove(probe)
        except UserError:
            raise
        except Exception as error:
            raise writing_failed(self.uri, error) from error
        finally:
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # only while it is empty


def _entry(info: dict[str, Any]) -> Entry:
    is_folder = info.get("type") == "directory"
    stamp = info.get("mtime") or info.get("LastModified") or info.get("created") or 0.0
    modified = stamp.timestamp() if isinstance(stamp, datetime) else float(stamp)
    return Entry(0 if is_folder else int(info.get("size") or 0), modified, is_folder)


def put(fs: Any, source: Any, target: str) -> None:
    """Copy an open file to a remote store, whole or not at all: closing a file that failed would complete it."""
    source.seek(0)
    file = fs.open(target, "wb")
    try:
        shutil.copyfileobj(source, file, 1 << 20)
        file.close()
    except BaseException:
        with contextlib.suppress(Exception):
            file.discard()
        file.closed = True
        raise


def writing_failed(target: str, error: Exception) -> UserError:
    """What to tell the user when ``target`` could not be written."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{target}: no space left; free some or choose another place")
    return UserError(f"{target}: cannot be written ({_reason(error)}); choose another place or mend its permissions")


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
