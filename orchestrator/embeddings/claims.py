"""Who makes what: a claim is a small file that only one process can create, renewed while it works.

Where the store cannot create a file exclusively, two processes may do the same work, which costs time and
nothing else: shards are named by their content.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.alive import is_running
from orchestrator.errors import UserError
from orchestrator.patience import patiently
from orchestrator.storage import Storage, writing_failed

SILENCE = 60.0  #: seconds after which a claim that is not renewed may be taken over
SUFFIX = ".claim"


@contextmanager
def claimed(folder: Storage, name: str, silence: float = SILENCE) -> Iterator[bool]:
    """Whether this process has the claim ``name`` while the block lasts; renewed by a thread of its own."""
    token = uuid.uuid4().hex
    if not _create(folder, name, _note(token)):
        yield False
        return
    over = threading.Event()

    def renew() -> None:
        while not over.wait(silence / 6):
            with contextlib.suppress(
                UserError, OSError, ValueError
            ):  # the store is away: the claim grows old by itself
                if _token(folder, name) == token:
                    folder.write(name, _note(token), patience=0)

    thread = threading.Thread(target=renew, name="samsweep-claim", daemon=True)
    thread.start()
    try:
        yield True
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(UserError, OSError, ValueError):
            if _token(folder, name) == token:
                folder.remove(name)


class Watch:
    """Tells which claims of others are silent: by this machine's clock alone, so that no two need agree."""

    def __init__(self, folder: Storage, silence: float = SILENCE) -> None:
        self.folder, self.silence = folder, silence
        self._seen: dict[str, tuple[bytes | None, float]] = {}

    def remove_if_silent(self, name: str) -> bool:
        """Remove a claim whose owner has died or says nothing any more; whether it is gone."""
        try:
            note = patiently(lambda: self.folder.read(name))
        except FileNotFoundError:
            return True
        before, since = self._seen.get(name, (None, 0.0))  # it may be empty as yet
        if note != before:
            self._seen[name] = note, time.monotonic()
            since = time.monotonic()
        if not _is_dead(note) and time.monotonic() - since < self.silence:
            return False
        with contextlib.suppress(FileNotFoundError):  # another one was quicker
            self.folder.remove(name)
        return True


def _note(token: str) -> bytes:
    note = {"host": platform.node(), "pid": os.getpid(), "token": token, "time": time.time()}
    return json.dumps(note).encode()


def _token(folder: Storage, name: str) -> str:
    """Whose claim it is by now."""
    return str(json.loads(folder.read(name))["token"])


def _is_dead(note: bytes) -> bool:
    """Whether a process of this machine wrote it that is no more."""
    try:
        raw = json.loads(note)
        return raw["host"] == platform.node() and not is_running(int(raw["pid"]))
    except (ValueError, KeyError, TypeError):
        return False


def _create(folder: Storage, name: str, data: bytes) -> bool:
    """Create a file that must not be there; False where it is."""
    if folder.is_local:
        path = folder.local(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            raise writing_failed(str(path), error) from error
    folder.fs.invalidate_cache()
    if folder.exists(name):
        return False
    try:
        folder.fs.pipe_file(folder.path(name), data, mode="create")
    except FileExistsError:
        return False
    except Exception:  # the store knows no such condition, or says in its own way that the file is there
        folder.fs.invalidate_cache()
        if folder.exists(name):
            return False
        folder.write(name, data)
    return bool(folder.read(name) == data)
