"""The screen of a sweep: a table on a real terminal, lines elsewhere, and never anybody else's words."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import make_settings
from orchestrator.console import SweepView
from orchestrator.data.tasks import TASKS
from orchestrator.plan import Plan
from orchestrator.results import make_row
from orchestrator.storage import Storage

SCRIPT = """
import sys, time
from pathlib import Path
from orchestrator.runtime import quiet
from test_console import plan, record
from orchestrator.console import SweepView
root = Path(sys.argv[1])
with quiet(root / "log") as screen, SweepView(plan(root), 3, screen) as view:
    view.steps({"abc123": (3, 5, 10), "def456": (0, 7, 60)})
    view.epoch("abc123", {}, record(2, 0.625))
    print("chatter on stdout")
    print("chatter on stderr", file=sys.stderr)
    time.sleep(1.2)
print("the end")
"""


def plan(root: Path) -> Plan:
    settings = make_settings("decoder", "vals", {"train.epochs": 4})
    storage = Storage(str(root))
    return Plan("run-x", settings, storage, storage, TASKS["polyp"], False, "f", 0, True)


def record(epoch: int, best: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "objective": best,
        "best": best,
        "losses": {"bce": 0.5, "iou": 0.25},
        "val": {"mdice": best},
        "seconds": 3.0,
        "eval_seconds": 1.0,
    }


def on_a_terminal(script: str, *words: str) -> str:
    """What a person would see who runs a script on a terminal of 24 x 100."""
    outer, inner = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    command = [sys.executable, "-c", script, *words]
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment) as process:
        os.close(inner)
        shown = b""
        while True:
            try:
                part = os.read(outer, 65536)
            except OSError:  # the other side has gone
                break
            if not part:
                break
            shown += part
    os.close(outer)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


def test_a_terminal_shows_the_table_and_nobody_elses_words(tmp_path: Path) -> None:
    shown = on_a_terminal(SCRIPT, str(tmp_path))
    assert "run-x" in shown and "abc123" in shown and "2/4" in shown and "0.6250" in shown
    assert "def456" in shown and "0/4" in shown and "embedding images: 7 of 60" in shown
    assert "chatter" not in shown and "the end" in shown
    log = (tmp_path / "log").read_text()
    assert "chatter on stdout" in log and "chatter on stderr" in log


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path) -> None:
    screen = io.StringIO()
    p = plan(tmp_path)
    with SweepView(p, 2, screen) as view:
        view.epoch("a", {}, record(4, 0.5))
        view.ended(make_row(p, "a", "completed", [], seconds=1.0))
        view.ended(make_row(p, "b", "failed", [], seconds=1.0, cause="out of [memory]"))
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("[00:00] trial a completed: 1/2 trials, best mDice 0.5000, about")
    assert "trial b failed (out of [memory])" in lines[1]


def test_where_an_epoch_takes_minutes_its_steps_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    with SweepView(plan(tmp_path), 2, screen) as view:
        view.steps({"a": (0, 1, 60)})
        assert not screen.getvalue(), "not at once"
        monkeypatch.setattr("orchestrator.console.QUIET", -1.0)
        view.steps({"a": (0, 8, 60)})
        view.steps({"a": (2, 8, 90)})
        view.steps({})
        view.ended(make_row(view.plan, "a", "failed", [], seconds=1.0))
        view.steps({"a": (2, 9, 90)})
    lines = [line.split(": 0/2")[0].split(": 1/2")[0].split("] ")[1] for line in screen.getvalue().splitlines()]
    assert lines == ["trial a, embedding images: 8 of 60", "trial a, epoch 2/4: step 8 of 90", "trial a failed"]
