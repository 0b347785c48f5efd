"""One trial without a search: in this process, or under Ray Train."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import torch
from rich.console import Console

from orchestrator.build import pick_device
from orchestrator.console import EpochView
from orchestrator.cores import rank_threads
from orchestrator.errors import UserError, is_nobodys_fault
from orchestrator.job import STATE_FILE, Job, run_job
from orchestrator.patience import patiently
from orchestrator.plan import Plan
from orchestrator.ranks import Ranks
from orchestrator.results import SEARCH, TRIALS, Row, make_row, write_row

TRIAL = "single"  #: the trial's name where there is only one


@dataclass(frozen=True)
class Errand:
    """Why a trial is trained outside of a search."""

    trial: str = TRIAL
    role: str = SEARCH
    of: str | None = None  #: RUN/TRIAL, whose settings it has
    until: int = 0  #: the epoch after which it stops untested, as ASHA would have it; 0: none


def train_here(plan: Plan, screen: Console, keep: bool = False, errand: Errand = Errand()) -> Row:
    """Train in this process with one rank; needs no Ray. On a CPU the result is the one under Ray, to the last bit.

    With ``keep`` the state stays in the trial's folder until the run is complete, and a second call takes it up.
    """
    epochs: list[dict[str, Any]] = []
    device = pick_device()

    with EpochView(plan, screen) as view, as_a_rank(plan, device):

        def report(record: dict[str, Any]) -> bool:
            _add(epochs, record)
            view.epoch(record)
            return True

        job = _job(plan, errand)
        return _recorded(plan, errand, epochs, lambda: run_job(job, Ranks(), device, report, view.steps), keep)


def train_on_ray(plan: Plan, screen: IO[str], keep: bool = False, errand: Errand = Errand()) -> Row:
    """Train with Ray Train's DDP workers; ``keep`` as in ``train_here``."""
    import ray

    from orchestrator.mailbox import open_mailbox
    from orchestrator.slots import FOLDER, Slots
    from orchestrator.telemetry import Telemetry
    from orchestrator.trial import opened

    epochs: list[dict[str, Any]] = []
    trial, mailbox = errand.trial, open_mailbox()
    slots, telemetry = Slots(plan.name, plan.run / FOLDER, mailbox, most=1), Telemetry(plan)

    def follow() -> None:
        telemetry.begun(trial)
        slots.start(_job(plan, errand))
        while (letter := opened(ray.get(mailbox.take.remote(trial)))) is not None:
            kind, content = letter
            if kind == "steps":
                view.steps(*content)
            else:
                _add(epochs, content)
                view.epoch(content)
                telemetry.epoch(trial, {}, content)
                mailbox.go_on.remote(trial, content["epoch"])

    with EpochView(plan, Console(file=screen, markup=False, highlight=False)) as view:
        try:
            with telemetry, slots:
                row = _recorded(plan, errand, epochs, follow, keep)
                telemetry.ended(row)
                slots.close()
                return row
        finally:
            ray.kill(mailbox)
            with contextlib.suppress(UserError, OSError):  # Ray may still write there; gc takes what is left
                (plan.run / FOLDER).remove()


def _add(epochs: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Append an epoch; a continued run's first one brings those before it."""
    if "earlier" in record:
        epochs[:] = record.pop("earlier")
    epochs.append(record)


def _job(plan: Plan, errand: Errand) -> Job:
    folder = plan.run / TRIALS / errand.trial
    return Job(plan.settings.flat(), plan.data.uri, folder.uri, plan.fingerprint, errand.until, plan.storage.uri)


@contextmanager
def as_a_rank(plan: Plan, device: torch.device) -> Iterator[None]:
    """This process computes as a rank under Ray does: as many of torch's threads, and as before once it is over.

    Beside a GPU, which does the sums, all threads stay.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(rank_threads(plan.settings.train.cpus_per_worker))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)  # which the engine sets


def _recorded(plan: Plan, errand: Errand, epochs: list[dict[str, Any]], fit: Callable[[], None], keep: bool) -> Row:
    """Run ``fit`` and write the trial's row, also when it fails or is interrupted; then its state goes, or is kept.

    Raises:
        UserError: it failed; with the cause.
    """
    began = time.time()
    status: str = "stopped"
    reason: str | None = "interrupted by the user"
    try:
        fit()
        status, reason = "pruned" if errand.until else "completed", None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        status = "stopped" if is_nobodys_fault(reason) else "failed"
        raise UserError(f"run '{plan.name}' failed: {reason}") from error
    finally:
        row = make_row(
            plan,
            errand.trial,
            status,
            epochs,
            seconds=time.time() - began,
            cause=reason,
            role=errand.role,
            of=errand.of,
        )
        write_row(plan.run, row)
        if not keep or status == "completed":
            patiently(lambda: (plan.run / TRIALS / errand.trial).remove(STATE_FILE))
    return row
