"""What a person sees while a sweep runs: a calm table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.data.catalogue import CATALOGUE
from orchestrator.data.standin import official
from orchestrator.metrics import METRICS
from orchestrator.plan import Plan
from orchestrator.results import Row
from orchestrator.time_left import TimeLeft

#: Without a terminal: at most one line of progress in so many seconds, besides one when a trial ends.
LINE_SECONDS = 15.0
QUIET = 60.0  #: ... and one about steps within an epoch in so many
SHOWN = 12  #: trials on the screen


class SweepView:
    """Follows a sweep; a context manager around it.

    Args:
        before: the rows of what it goes on from.
        at_once: trials that run side by side.
    """

    def __init__(self, plan: Plan, trials: int, screen: IO[str], before: Sequence[Row] = (), at_once: int = 1) -> None:
        self.plan, self.trials, self.before = plan, trials, before
        self.console = Console(file=screen, markup=False, highlight=False)
        self.metric = METRICS[plan.task.objective].label
        self.epochs: dict[str, dict[str, Any]] = {}
        self.within: dict[str, tuple[int, int, int]] = {}  # by trial that runs: epoch, steps done in it, its steps
        self.ended_rows: dict[str, Row] = {}
        self.began = self.last_line = time.monotonic()
        self.live: Live | None = None
        rest = trials - len(before)
        past = [(row.status, len(row.epochs)) for row in before]
        self.time_left = TimeLeft(rest, plan.settings.train.epochs, min(rest, at_once), self.began, past)

    def __enter__(self) -> SweepView:
        if self.console.is_terminal:
            self.live = Live(
                console=self.console,
                get_renderable=self.render,
                refresh_per_second=2,
                transient=True,
                redirect_stdout=False,  # what others print belongs in the log, not above the table
                redirect_stderr=False,
            )
            self.live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.live:
            self.live.__exit__(*error)

    def begun(self, trial: str) -> None:
        """Nothing is shown of a trial before it tells."""

    def epoch(self, trial: str, choices: dict[str, Any], record: dict[str, Any]) -> None:
        self.epochs[trial] = record
        seconds = record["seconds"] + record["eval_seconds"]
        self.time_left.epoch(trial, record["epoch"], seconds, time.monotonic())
        if self.live is None and time.monotonic() - self.last_line > LINE_SECONDS:
            self._line(f"epoch {record['epoch']}/{self.plan.settings.train.epochs} of trial {trial}")

    def steps(self, told: Mapping[str, tuple[int, int, int]]) -> None:
        """How far trials are within an epoch: what is shown where one takes minutes."""
        self.within = {trial: at for trial, at in told.items() if trial not in self.ended_rows}
        if self.live is None and self.within and time.monotonic() - self.last_line > QUIET:
            trial, (epoch, step, steps) = next(iter(self.within.items()))
            self._line(f"trial {trial}, {_within(epoch, self.plan.settings.train.epochs)} {step} of {steps}")

    def ended(self, row: Row) -> None:
        self.ended_rows[row.trial] = row
        self.time_left.ended(row.trial, row.status, time.monotonic())
        if self.live is None:
            self._line(f"trial {row.trial} {row.status}" + (f" ({row.cause})" if row.cause else ""))

    def render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("trial", "epoch", "", self.metric, "best", "loss", ""):
            table.add_column(title)
        within = self.within  # which another thread exchanges
        for trial in list(dict.fromkeys([*self.epochs, *within]))[-SHOWN:]:
            table.add_row(*(self._cells(trial) if trial in self.epochs else self._beginning(trial, *within[trial])))
        return Group(self._headline(), table)

    def _cells(self, trial: str) -> list[Any]:
        row, total = self.ended_rows.get(trial), self.plan.settings.train.epochs
        record = self.epochs[trial]
        return [
            trial,
            f"{record['epoch']}/{total}",
            ProgressBar(total=total, completed=record["epoch"], width=16),
            f"{record['objective']:.4f}",
            f"{record['best']:.4f}",
            f"{sum(record['losses'].values()):.3f}",
            Text(row.status if row else "running", style="green" if row and row.status == "completed" else "dim"),
        ]

    def _beginning(self, trial: str, epoch: int, step: int, steps: int) -> list[Any]:
        """The cells of a trial before its first epoch."""
        total = self.plan.settings.train.epochs
        bar = ProgressBar(total=steps, completed=step, width=16)
        return [trial, f"0/{total}", bar, "", "", "", Text(f"{_within(epoch, total)} {step} of {steps}", style="dim")]

    def _headline(self) -> Text:
        return Text(f"{self.plan.name}  {self._summary()}", style="bold")

    def _summary(self) -> str:
        values = [r["best"] for r in self.epochs.values()] + [r.best for r in self.before if math.isfinite(r.best)]
        best = (max if self.plan.task.mode == "max" else min)(values) if values else None
        shown = f"best {self.metric} {best:.4f}" if best is not None else "starting"
        return f"{len(self.before) + len(self.ended_rows)}/{self.trials} trials, {shown}, {self._left()}"

    def _left(self) -> str:
        seconds = self.time_left.seconds(time.monotonic())
        if seconds is None:
            return "time left unknown"
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        line = f"[{self._clock()}] {text}: {self._summary()}"
        self.console.print(line, soft_wrap=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.began)
        return f"{seconds // 60:02d}:{seconds % 60:02d}"


def _within(epoch: int, epochs: int) -> str:
    """What the steps are of."""
    return f"epoch {epoch}/{epochs}: step" if epoch else "embedding images:"


class EpochView:
    """One trial's epochs: a line for each, and in between how far it is (a live line on a terminal)."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.epochs = plan.settings.train.epochs
        self.metric = plan.task.objective
        self.console = console
        self.live = console.status("starting") if console.is_terminal else None
        self.last = self.began = time.monotonic()
        self.current = 0

    def __enter__(self) -> EpochView:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def steps(self, epoch: int, step: int, steps: int) -> None:
        """Show that ``step`` of an epoch's ``steps`` are done."""
        now = time.monotonic()
        if epoch != self.current:
            self.current, self.began = epoch, now
        left = (now - self.began) / step * (steps - step)
        text = f"{_within(epoch, self.epochs)} {step} of {steps}, about {left:.0f} s left in it"
        if self.live:
            self.live.update(text)
        elif now - self.last >= QUIET:
            self.last = now
            self.console.print(text, soft_wrap=True)

    def epoch(self, record: dict[str, Any]) -> None:
        """The line of a finished epoch."""
        losses = " ".join(f"{name} {value:.4f}" for name, value in record["losses"].items())
        self.last = time.monotonic()
        self.console.print(
            f"epoch {record['epoch']}/{self.epochs}  {losses}  val {METRICS[self.metric].label} "
            f"{record['val'][self.metric]:.4f}  {record['seconds'] + record['eval_seconds']:.1f} s",
            soft_wrap=True,
        )


def announce(plan: Plan, data: str, console: Console) -> None:
    """Say loudly what a reader of the numbers must know: stand-in data, random weights."""
    if plan.stand_in:
        entry = CATALOGUE.get(plan.settings.dataset)
        shown = official.domain(entry.layout if entry else "", plan.task.name)
        text = (
            f"{plan.settings.dataset} has not been ingested under {data}. This run uses built-in procedural "
            f"{shown} pictures: NOT comparable with the paper.\nThe real set: samsweep ingest "
            f"{plan.settings.dataset} --source DIR --out {data}"
        )
        console.print(Panel(text, title="STAND-IN", border_style="red", title_align="left"))
    if plan.backbone_random:
        console.print(
            f"{plan.settings.backbone.name} starts from random weights (backbone.start=random).", style="yellow"
        )
    if plan.skipped:
        console.print(f"{plan.skipped} images were left out by `ingest --skip-bad`.", style="yellow")
