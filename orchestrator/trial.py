"""The driver of one trial: a Tune function that passes the trial's epochs on to Tune, and Tune's word back."""

from __future__ import annotations

from typing import Any

import ray
import ray.tune

from orchestrator.space import TRIAL

#: What Tune and Optuna optimise: the best epoch so far, which is the checkpoint that is kept.
METRIC = "best"


class TrialFailed(RuntimeError):
    """A trial ended with an error; the message is its cause in one line."""


def run_trial(choices: dict[str, Any], mailbox: Any) -> None:
    """Tune's trainable: the trial's job was begun elsewhere (``slots``), its letters tell.

    ``choices``: what Optuna chose, by dotted key, with the trial's name. Where Tune stops the trial, ``report`` does
    not come back, and nobody tells the trial to go on.
    """
    trial = choices[TRIAL]
    seen = 0
    while (letter := opened(ray.get(mailbox.take.remote(trial)))) is not None:
        kind, content = letter
        if kind == "steps":
            continue
        # a trial that goes on tells the epochs before it again, of which this driver may have seen some or none
        for record in (*content.pop("earlier", ()), content):
            if record["epoch"] > seen:
                seen = record["epoch"]
                # in a list: of each number in a dictionary Tune would keep a history, 60 kB a trial in all
                ray.tune.report({"epoch": seen, METRIC: record["best"], "record": [record]})
        mailbox.go_on.remote(trial, seen)


def name_of(trial: Any) -> str:
    """What we call one of Tune's trials."""
    return str(trial.config[TRIAL])


def opened(letter: tuple[str, Any]) -> tuple[str, Any] | None:
    """A letter that tells of an epoch (``epoch`` and its record) or its ``steps``; None for the last one.

    Raises:
        TrialFailed: it tells of a failure; with the cause.
    """
    kind, content = letter
    if kind == "failed":
        raise TrialFailed(content)
    return None if kind == "done" else letter
