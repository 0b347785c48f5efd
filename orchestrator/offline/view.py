"""How far the preparation is: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 15.0


class PreparationView:
    """Called with what is being made, how much of it is done, and of how much; a context manager around that."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._tasks: dict[str, Any] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._lines: dict[str, float] = {}
        self._most: dict[str, int] = {}

    def __enter__(self) -> PreparationView:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if done <= self._most.get(what, -1):  # several tell of the same, and not all know as much
            return
        self._most[what] = done
        start, before = self._began.setdefault(what, (now, done))
        if self._bars:
            task = self._tasks.setdefault(what, None) or self._bars.add_task(what, total=of, completed=before)
            self._tasks[what] = task
            self._bars.update(task, completed=done, total=of)
        elif done == of or now - self._lines.setdefault(what, now) > LINE_SECONDS:
            self._lines[what] = now
            left = (now - start) / max(1, done - before) * (of - done)
            self.console.print(f"{what}: {done} of {of}" + (f", about {left:.0f} s left" if done < of else ""))
