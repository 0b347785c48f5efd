"""One trial without a search: in this process, or under Ray Train."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from rich.console import Console

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

    return _recorded(plan, epochs, lambda: run_job(_job(plan), Ranks(), report))


def train_on_ray(plan: Plan, screen: IO[str]) -> Row:
    """Train with Ray Train's DDP workers."""
    import ray

    from orchestrator.mailbox import PostEpochs, open_mailbox
    from orchestrator.trial import RAY_FOLDER, TrialFailed, cause, make_trainer

    mailbox = open_mailbox()
    epochs: list[dict[str, Any]] = []

    def fit() -> None:
        try:
            make_trainer(_job(plan), plan.settings, [PostEpochs(mailbox, TRIAL)]).fit()
        except Exception as error:
            raise TrialFailed(cause(error)) from error
        finally:
            ray.get(mailbox.put.remote(TRIAL, "done"))
            follower.join()
            (plan.run / TRIALS / TRIAL / RAY_FOLDER).remove()

    import threading

    show = _line_per_epoch(plan, Console(file=screen))

    def follow() -> None:
        while True:
            kind, record = ray.get(mailbox.take.remote(TRIAL))
            if kind == "done":
                return
            epochs.append(record)
            show(record)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    return _recorded(plan, epochs, fit)


def _job(plan: Plan) -> Job:
    return Job(plan.settings.flat(), plan.data.uri, (plan.run / TRIALS / TRIAL).uri)


def _recorded(plan: Plan, epochs: list[dict[str, Any]], fit: Callable[[], None]) -> Row:
    """Run ``fit`` and write the trial's row, also when it fails or is interrupted."""
    began = time.time()
    status, reason = "completed", None
    try:
        fit()
    except KeyboardInterrupt:
        status, reason = "stopped", "interrupted by the user"
        raise
    except Exception as error:
        status, reason = "failed", str(error).splitlines()[0] if str(error) else type(error).__name__
        raise
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
            highlight=False,
            soft_wrap=True,
        )

    return show
