"""ASHA as our sweeps want it: kind to the first trial, and aware of what earlier processes of the sweep have done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler

from orchestrator.rungs import FACTOR, FIRST, KNOWN, grace, rungs
from orchestrator.study import Past
from orchestrator.trial import name_of


class Asha(ASHAScheduler):
    """ASHA that never cuts the first trial, which is the method's defaults: what the others are held against.

    Nor does it cut where fewer than ``rungs.KNOWN`` trials have been before, since the better half of two is chance,
    nor a trial that is gone on with at an epoch that lies behind it.
    """

    reached: Mapping[str, int] = MappingProxyType({})  #: the last known epoch of the trials that are gone on with

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        before = self._been_at(result["epoch"])
        decision: str = super().on_trial_result(controller, trial, result)
        name = name_of(trial)
        passed = name == FIRST or before < KNOWN or result["epoch"] < self.reached.get(name, 0)
        return self.CONTINUE if passed else decision

    def choose_trial_to_run(self, controller: Any) -> Any:
        """Tune's own choice, the first that waits, without a look at all that are over."""
        waiting = [trial for trial in controller.get_live_trials() if trial.status == "PENDING"]
        return min(waiting, key=lambda trial: int(name_of(trial)), default=None)

    def _been_at(self, epoch: int) -> int:
        """How many trials were compared at the rung that an epoch is, so far; enough where it is none."""
        rungs = [recorded for bracket in self._brackets for rung, recorded in bracket._rungs if rung == epoch]
        return len(rungs[0]) if rungs else KNOWN

    def remember(self, past: Past, mode: str) -> None:
        """Fill the rungs with what a trial of an earlier process reached."""
        for epoch, value in sorted(past.values.items()):
            for bracket in self._brackets:
                bracket.on_result(SimpleNamespace(trial_id=past.trial), epoch, value if mode == "max" else -value)


def asha(mode: str, epochs: int, over: Sequence[Past] = (), begun: Sequence[Past] = ()) -> ASHAScheduler | None:
    """ASHA on epochs: from a third of them on, a trial must be in the better half. None where it cannot help.

    ``over`` and ``begun``: what earlier processes of the sweep have done (``StudySearch.before``).
    """
    if not rungs(epochs):
        return None
    scheduler = Asha(
        time_attr="epoch",
        metric=None,
        mode=None,
        max_t=epochs,
        grace_period=grace(epochs),
        reduction_factor=FACTOR,
        stop_last_trials=False,
    )
    for trial in over:
        scheduler.remember(trial, mode)
    scheduler.reached = {trial.trial: max(trial.values, default=0) for trial in begun}
    return scheduler
