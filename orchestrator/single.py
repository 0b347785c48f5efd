"""One trial without a search: in this process, or under Ray Train."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from orchestrator.build import pick_device
from orchestrator.errors import UserError
from orchestrator.job import Job, run_job
from orchestrator.metrics import METRICS
from orchestrator.plan import Plan
from orchestrator.ranks import Ranks
from orchestrator.results import TRIALS, Row, make_row, write_row

TRIAL = "single"  #: the trial's name where there is only one


def train_here(plan: Plan, screen: Console) -> Row:
    """Train in this process with one rank; needs no Ray."""
    epochs: list[dict[str, Any]] = []
    show = _line_per_epoch(plan, screen)

    def report(record: dict[str, Any], folder: Path | None) -> None:
        epochs.append(record)
        show(record)

    return _recorded(plan, epochs, lambda: run_job(_job(plan), Ranks(), pick_device(), report))


def train_on_ray(plan: Plan, screen: IO[str]) -> Row:
    """Train with Ray Train's DDP workers."""
    import ray

    from orchestrator.mailbox import open_mailbox
    from orchestrator.trial import RAY_FOLDER, TrialFailed, fit, opened

    epochs: list[dict[str, Any]] = []
    show = _line_per_epoch(plan, Console(file=screen, markup=False, highlight=False))
    mailbox = open_mailbox()

    def follow() -> None:
        # in a process of its own: there is no other way to stop Ray Train at the first failure
        driver = ray.remote(num_cpus=0, max_retries=0)(fit).remote(_job(plan), TRIAL, mailbox)
        try:
            while True:
                letter = mailbox.take.remote(TRIAL)
                ready, _ = ray.wait([letter, driver])
                if letter not in ready and not ray.wait([letter], timeout=5)[0]:
                    raise TrialFailed("the driver's process died; see ray.log")
                if (record := opened(ray.get(letter))) is None:
                    return
                epochs.append(record)
                show(record)
        finally:
            ray.cancel(driver, force=True)
            (plan.run / TRIALS / TRIAL / RAY_FOLDER).remove()

    return _recorded(plan, epochs, follow)


def _job(plan: Plan) -> Job:
    return Job(plan.settings.flat(), plan.data.uri, (plan.run / TRIALS / TRIAL).uri)


def _recorded(plan: Plan, epochs: list[dict[str, Any]], fit: Callable[[], None]) -> Row:
    """Run ``fit`` and write the trial's row, also when it fails or is interrupted.

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
    return row


def _line_per_epoch(plan: Plan, screen: Console) -> Callable[[dict[str, Any]], None]:
    label = METRICS[plan.task.objective].label

    def show(record: dict[str, Any]) -> None:
        losses = " ".join(f"{name} {value:.4f}" for name, value in record["losses"].items())
        screen.print(
            f"epoch {record['epoch']}/{plan.settings.train.epochs}  {losses}  val {label} "
            f"{record['val'][plan.task.objective]:.4f}  {record['seconds'] + record['eval_seconds']:.1f} s",
            soft_wrap=True,
        )

    return show
