"""One trial without a search: in this process, or under Ray Train."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO, Any

from rich.console import Console

from orchestrator.build import pick_device
from orchestrator.console import EpochView
from orchestrator.errors import UserError
from orchestrator.job import STATE_FILE, Job, run_job
from orchestrator.patience import patiently
from orchestrator.plan import Plan
from orchestrator.ranks import Ranks
from orchestrator.results import TRIALS, Row, make_row, write_row

TRIAL = "single"  #: the trial's name where there is only one


def train_here(plan: Plan, screen: Console, keep: bool = False) -> Row:
    """Train in this process with one rank; needs no Ray.

    With ``keep`` the state stays in the trial's folder until the run is complete, and a second call takes it up.
    """
    with EpochView(plan, screen) as view:
        epochs: list[dict[str, Any]] = []

        def report(record: dict[str, Any]) -> bool:
            _add(epochs, record)
            view.epoch(record)
            return True

        return _recorded(plan, epochs, lambda: run_job(_job(plan), Ranks(), pick_device(), report, view.steps), keep)


def train_on_ray(plan: Plan, screen: IO[str], keep: bool = False) -> Row:
    """Train with Ray Train's DDP workers; ``keep`` as in ``train_here``."""
    import ray

    from orchestrator.mailbox import open_mailbox
    from orchestrator.slots import FOLDER, Slots
    from orchestrator.trial import opened

    epochs: list[dict[str, Any]] = []
    mailbox = open_mailbox()

    def follow() -> None:
        Slots(plan.name, plan.run / FOLDER, mailbox, most=1).start(_job(plan))
        while (letter := opened(ray.get(mailbox.take.remote(TRIAL)))) is not None:
            kind, content = letter
            if kind == "steps":
                view.steps(*content)
            else:
                _add(epochs, content)
                view.epoch(content)
                mailbox.go_on.remote(TRIAL, content["epoch"])

    with EpochView(plan, Console(file=screen, markup=False, highlight=False)) as view:
        try:
            return _recorded(plan, epochs, follow, keep)
        finally:
            patiently((plan.run / FOLDER).remove)


def _add(epochs: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Append an epoch; a continued run's first one brings those before it."""
    if "earlier" in record:
        epochs[:] = record.pop("earlier")
    epochs.append(record)


def _job(plan: Plan) -> Job:
    return Job(plan.settings.flat(), plan.data.uri, (plan.run / TRIALS / TRIAL).uri, plan.fingerprint)


def _recorded(plan: Plan, epochs: list[dict[str, Any]], fit: Callable[[], None], keep: bool) -> Row:
    """Run ``fit`` and write the trial's row, also when it fails or is interrupted; then its state goes, or is kept.

    Raises:
        UserError: it failed; with the cause.
    """
    began = time.time()
    status: str = "stopped"
    reason: str | None = "interrupted by the user"
    try:
        fit()
        status, reason = "completed", None
    except Exception as error:
        status, reason = "failed", (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"run '{plan.name}' failed: {reason}") from error
    finally:
        row = make_row(plan, TRIAL, status, epochs, seconds=time.time() - began, cause=reason)
        write_row(plan.run, row)
        if not keep or status == "completed":
            patiently(lambda: (plan.run / TRIALS / TRIAL).remove(STATE_FILE))
    return row
