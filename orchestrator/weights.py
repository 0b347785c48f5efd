"""The official SAM checkpoints: fetched once, resumable, verified, kept in the user's cache."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.data.cache import cache_folder as node_cache
from orchestrator.errors import UserError, unknown

BASE_URL = "https://dl.fbaipublicfiles.com/segment_anything/"
Progress = Callable[[int, int], None]

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30
_WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0)  # between attempts that brought nothing; any byte starts the row anew
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_OR_GIVE_A_PATH = 'or give a local file: SET="backbone.checkpoint=PATH"'


@dataclass(frozen=True)
class Official:
    """One published checkpoint: its file name, its size in bytes and its sha256."""

    file: str
    size: int
    sha256: str


OFFICIAL = {
    "vit_b": Official(
        "sam_vit_b_01ec64.pth", 375042383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"
    ),
    "vit_l": Official(
        "sam_vit_l_0b3195.pth", 1249524607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"
    ),
    "vit_h": Official(
        "sam_vit_h_4b8939.pth", 2564550879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"
    ),
}


def weights_dir() -> Path:
    """Where fetched checkpoints live: ``$SAMSWEEP_CACHE/weights``, or ``~/.cache/samsweep/weights``."""
    return node_cache() / "weights"


def local_checkpoint(backbone: str, given: str | None) -> Path:
    """The file to load: the given one, else the fetched one; never the network.

    Raises:
        UserError: the given file is not there, the backbone is unknown, or nothing has been fetched.
    """
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise UserError(f"{given}: no such checkpoint file; mend backbone.checkpoint")
        return path
    official = _official(backbone)
    path = weights_dir() / official.file
    if not path.is_file():
        raise UserError(
            f"weights of {backbone} are not here; run `samsweep weights fetch {backbone}` "
            f"({official.size >> 20} MiB) {_OR_GIVE_A_PATH}"
        )
    return path


def fetch(name: str, url: str | None = None, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """Download an official checkpoint, unless it is here already, and verify it.

    An interrupted download (Ctrl-C, a dropped line, a full disk) leaves a ``.part`` file from which the next
    call goes on. Two processes at once are safe: the second waits and then finds the file.

    Args:
        name: a key of ``OFFICIAL``.
        url: another source of the same file; otherwise ``$SAMSWEEP_WEIGHTS_URL`` or ``BASE_URL``.
        sha256: another digest to expect, for a file of one's own.
        progress: called with (bytes here, bytes in all).

    Raises:
        UserError: unknown name, no network, the server refuses, a wrong digest, no space left.
    """
    official = _official(name)
    wanted = (sha256 or official.sha256).lower()
    target = weights_dir() / official.file
    base = os.environ.get("SAMSWEEP_WEIGHTS_URL") or BASE_URL
    source = url or f"{base.rstrip('/')}/{official.file}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_aside(target, "lock")):
            if not _is_here(target, official.size if sha256 is None else None, wanted):
                _Download(source, target, official.size, progress).run()
                _verify_and_rename(source, target, wanted)
    except OSError as error:
        raise _disk_error(target, error) from error
    return target


def _official(name: str) -> Official:
    if name not in OFFICIAL:
        raise unknown("backbone with official weights", name, OFFICIAL)
    return OFFICIAL[name]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the system even if this process is killed
        yield


def _is_here(target: Path, size: int | None, digest: str) -> bool:
    """Whether the finished file is the wanted one; an official size is enough, as it was verified before."""
    return target.is_file() and (target.stat().st_size == size or _digest(target) == digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _aside(target: Path, ending: str) -> Path:
    """A file beside the target: .part, .lock, or .etag (so that two versions are never spliced)."""
    return target.with_name(f"{target.name}.{ending}")


def _verify_and_rename(source: str, target: Path, wanted: str) -> None:
    part = _aside(target, "part")
    found = _digest(part)
    _aside(target, "etag").unlink(missing_ok=True)
    if found != wanted:
        part.unlink()
        raise UserError(
            f"{source}: sha256 is {found[:12]}..., expected {wanted[:12]}...; the download was removed; "
            f"fetch again, {_OR_GIVE_A_PATH}"
        )
    part.replace(target)


def _disk_error(target: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{target}: no space left; free some, or set SAMSWEEP_CACHE to another place")
    return UserError(f"{target}: {error.strerror or error}; set SAMSWEEP_CACHE to a place that can be written")


class _Dropped(Exception):
    """The line broke or the server was busy: worth another attempt."""


class _Download:
    """Fills ``target.part`` from ``source``, going on from what is there."""

    def __init__(self, source: str, target: Path, size: int, progress: Progress | None) -> None:
        self.source, self.size = source, size
        self.part, self.tag = _aside(target, "part"), _aside(target, "etag")
        self.progress = progress or (lambda done, total: None)

    def run(self) -> None:
        waits = list(_WAITS_SECONDS)
        while True:
            before = self.done
            try:
                return self._attempt()
            except _Dropped as dropped:
                if self.done > before:
                    waits = list(_WAITS_SECONDS)
                if not waits:
                    raise UserError(
                        f"{self.source}: cannot be reached ({dropped}); fetch again later, {_OR_GIVE_A_PATH}"
                    ) from dropped
                time.sleep(waits.pop(0))

    @property
    def done(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _attempt(self) -> None:
        with self._open(self.done) as response:
            resumed = getattr(response, "status", None) in (206, 416)
            done = self.done if resumed else 0
            if not self._is_complete(response, done):
                length = int(response.headers.get("Content-Length") or 0)  # 0: the server does not say
                if length > shutil.disk_usage(self.part.parent).free + (0 if resumed else self.done):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self.tag.write_text(response.headers.get("ETag") or "")
                with self.part.open("ab" if resumed else "wb") as file:
                    self._copy(response, file, done, done + length if length else 0)

    def _is_complete(self, response: Any, done: int) -> bool:
        """Whether a range beyond the end was refused because all is here (killed before the renaming)."""
        if getattr(response, "status", None) != 416:
            return False
        if response.headers.get("Content-Range") == f"bytes */{done}":
            return True
        self.part.unlink(missing_ok=True)
        raise _Dropped("what was here did not fit the file")

    def _open(self, done: int) -> Any:
        try:
            request = urllib.request.Request(self.source, headers=self._range(done))
            return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code == 416:
                return error
            if error.code in _TRY_AGAIN:
                raise _Dropped(f"HTTP {error.code}") from error
            raise UserError(
                f"{self.source}: HTTP {error.code} {error.reason}; mend SAMSWEEP_WEIGHTS_URL, {_OR_GIVE_A_PATH}"
            ) from error
        except (OSError, http.client.BadStatusLine) as error:
            raise _Dropped(str(getattr(error, "reason", error)) or type(error).__name__) from error
        except (ValueError, http.client.HTTPException) as error:
            raise UserError(f"{self.source}: not a URL ({error}); mend SAMSWEEP_WEIGHTS_URL") from error

    def _range(self, done: int) -> dict[str, str]:
        """Ask for the rest, and for the whole if the file has changed since."""
        if not done:
            return {}
        tag = self.tag.read_text() if self.tag.exists() else ""
        return {"Range": f"bytes={done}-"} | ({"If-Range": tag} if tag.startswith('"') else {})

    def _copy(self, response: Any, file: Any, done: int, end: int) -> None:
        """Append what comes; ``end`` is the length of the whole, or 0 where only the end of the line tells."""
        self.progress(done, end or self.size)
        while chunk := self._read(response):
            file.write(chunk)
            done += len(chunk)
            self.progress(done, end or self.size)
        if done < end:
            raise _Dropped(f"the line dropped at {done} of {end} bytes")

    @staticmethod
    def _read(response: Any) -> bytes:
        try:
            return bytes(response.read1(_CHUNK))  # what is there now: a slow line still moves the display
        except (OSError, http.client.HTTPException) as error:
            raise _Dropped(str(error) or type(error).__name__) from error
