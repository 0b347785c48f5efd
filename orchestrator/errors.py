"""One-line errors: what a user can mend. Anything else that is raised is a bug of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: The cause where a trial's workers could not be started.
NO_ROOM = "no room on the cluster for a trial's workers"
NO_SPACE = "no space left"


def is_nobodys_fault(cause: str) -> bool:
    """Whether a trial that failed for this cause can be gone on with later: there was no room, or no disk."""
    return NO_ROOM in cause or NO_SPACE in cause.lower()


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one line: the file or value, what is wrong, what to do. The console prints it
    behind ``error:`` without a traceback and exits with 2.
    """


def last_line(text: str, otherwise: object = "") -> str:
    """The last line that says something, of what another program said; ``otherwise`` where none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else str(otherwise)


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that nobody knows: ``unknown dataset 'cod10' (nearest: cod10k; ...)``."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(names)}"
    return UserError(f"unknown {kind} '{name}' ({hint})")
