"""How soon our search reaches what random search finds, on real small trainings.

    make bench-search        # 5 seeds of 48 random trials: the ratio of each, their median; exit code 1 above a third

For each seed three searches run over the same space, all of them real trainings by the engine, one core each:

- `random`: N trials drawn uniformly from the space, none stopped early, as people mean it. Its best value is the mark.
  When in a search the best one comes is luck and no property of it, since the draws are independent; so its time is
  the mean over all orders of its trials: half of the others' time, and the best one's until the epoch that reached
  the mark. (`as drawn`: in the order in which they came.)
- `before`: a finished study of N trials of the same method on ANOTHER dataset (other pictures, other seeds for
  everything), which lies under STORAGE when ours begins, as CAMO's may when COD10K is next. Printed, not counted: it
  is there already.
  `--elsewhere binary` makes it one of another domain: plain shapes, which are far easier.
- `ours`: what `make sweep` does on the same dataset and splits as random: the defaults first, never cut; then the best
  point from elsewhere; then TPE, which knows the other study's trials; ASHA stops the hopeless. The searcher, the
  scheduler, the warm start and the rows are those of a sweep; only Ray's processes are left out, whose start would be
  most of such small trials. It ends at the mark.

Seconds are those of the trials' epochs: training and evaluation. Pictures, splits, weights, order and both searches'
draws depend on the seed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import optuna
import torch

from orchestrator import runfile
from orchestrator.asha import Asha, asha
from orchestrator.data import standin
from orchestrator.data.ingest import ingest
from orchestrator.engine import NotFinite
from orchestrator.job import Job, run_job
from orchestrator.plan import Plan, make_plan
from orchestrator.ranks import Ranks
from orchestrator.results import TRIALS, make_row, write_row
from orchestrator.space import TRIAL, Space, chosen_settings
from orchestrator.storage import Storage
from orchestrator.study import FILE as JOURNAL
from orchestrator.study import Ended, StudySearch
from orchestrator.warm import AUTO, lessons_of, warm_points

METHOD, TASK = "mca", "camouflage"
#: Small trainings: 72 samples each, judged by 9 images. With fewer epochs there is nothing for ASHA to cut.
SETTINGS = {
    "train.epochs": 9,
    "train.samples": 8,
    "train.batch": 2,
    "data.val_fraction": 0.25,
    "data.threads": 1,
}
PICTURES, TEST = 36, 2
ELSEWHERE = 1000  #: what the other dataset's seeds are away from this one's
LIMIT = 1 / 3


@dataclass(frozen=True)
class Epoch:
    """One epoch of some trial of a search."""

    trial: int
    best: float  #: of the trial so far
    seconds: float


class Stopped(Exception):
    """The scheduler stops a trial."""


Report = Callable[[dict[str, Any]], None]


def train(plan: Plan, choices: dict[str, Any], trial: str, report: Report) -> str:
    """Train one trial to its end; returns how that was."""
    settings = plan.settings.replace(chosen_settings(choices))
    job = Job(settings.flat(), plan.data.uri, (plan.run / TRIALS / trial).uri, plan.fingerprint)

    def listen(record: dict[str, Any]) -> bool:
        report(record)
        return True

    try:
        run_job(job, Ranks(), torch.device("cpu"), listen)
    except Stopped:
        return "pruned"
    except NotFinite:
        return "failed"
    return "completed"


def seconds_of(record: dict[str, Any]) -> float:
    return float(record["seconds"] + record["eval_seconds"])


def random_search(plan: Plan, trials: int, seed: int) -> Iterator[Epoch]:
    """Every epoch of a uniform random search."""
    space = Space(plan.settings, fixed(plan))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for number in range(trials):
        trial, records = study.ask(), list[dict[str, Any]]()
        constants = space(trial)
        train(plan, {**trial.params, **constants}, f"{number:03d}", records.append)
        yield from (Epoch(number, record["best"], seconds_of(record)) for record in records)


def our_search(plan: Plan, trials: int) -> Iterator[Epoch]:
    """Every epoch of a sweep as `samsweep sweep` would run it on one core; leaves its rows and its run.json."""
    space = Space(plan.settings, fixed(plan))
    warm, lessons = warm_points(plan, space, trials, AUTO)[0], lessons_of(plan, space, AUTO)
    began = runfile.describe(plan, fixed(plan), space, plan.data, trials, warm=[point.to_json() for point in warm])
    began.save(plan.run)
    seed, journal = plan.settings.train.seed, plan.run.local(JOURNAL)
    search = StudySearch(space, plan.task.mode, plan.name, journal, seed, trials, warm=warm, lessons=lessons)
    scheduler = asha(plan.task.mode, plan.settings.train.epochs)
    assert isinstance(scheduler, Asha)
    scheduler.set_search_properties("best", plan.task.mode)
    for number in range(trials):
        yield from (Epoch(number, r["best"], seconds_of(r)) for r in _our_trial(plan, search, scheduler, str(number)))


def _our_trial(plan: Plan, search: StudySearch, scheduler: Asha, tune_id: str) -> list[dict[str, Any]]:
    """One trial of ours, as Tune would treat it; returns its epochs."""
    choices = search.suggest(tune_id)
    assert choices is not None
    name = choices.pop(TRIAL)
    trial: Any = SimpleNamespace(trial_id=tune_id, config={TRIAL: name})
    scheduler.on_trial_add(None, trial)
    records: list[dict[str, Any]] = []

    def report(record: dict[str, Any]) -> None:
        records.append(record)
        result = {"epoch": record["epoch"], "best": record["best"], "training_iteration": record["epoch"]}
        search.on_trial_result(tune_id, result)
        if scheduler.on_trial_result(None, trial, result) == Asha.STOP:
            raise Stopped

    status = train(plan, choices, name, report)
    row = make_row(plan, name, status, records, seconds=sum(map(seconds_of, records)), choices=choices)
    write_row(plan.run, row)
    search.tell(name, Ended(row.status, row.best))
    return records


def fixed(plan: Plan) -> dict[str, Any]:
    """What is set, and so is no dimension of the search."""
    return {key: plan.settings.flat()[key] for key in SETTINGS}


def draw(domain: str, name: str, seed: int, data: Storage) -> None:
    """Draw a dataset of this benchmark, judged like camouflage whatever it shows."""
    with TemporaryDirectory(prefix="bench-") as folder:
        standin.write_folders(domain, Path(folder), PICTURES, TEST, seed)
        ingest(name, Path(folder), data, layout="folders", task=TASK)


@dataclass(frozen=True)
class Outcome:
    """What one seed showed; times in seconds."""

    seed: int
    mark: float  #: the best value that random search found
    random: float  #: its time until then, the mean over orders
    drawn: float  #: the same as it was drawn
    whole: float  #: the time of all its trials
    before: float  #: the time of the study on the other dataset
    ours: float  #: our time to the mark; infinite where it was never reached
    trial: int  #: ours that reached it (0 is the defaults)
    best: float  #: our best until then

    @property
    def ratio(self) -> float:
        return self.ours / self.random


def time_to(mark: float, epochs: Iterator[Epoch]) -> tuple[float, Epoch, float]:
    """Seconds until an epoch reached the mark (infinite if none), the last epoch looked at, and the best value."""
    seconds, best = 0.0, -torch.inf
    for epoch in epochs:
        seconds, best = seconds + epoch.seconds, max(best, epoch.best)
        if epoch.best >= mark:
            return seconds, epoch, best
    return torch.inf, epoch, best


def mean_time_to(mark: float, epochs: list[Epoch]) -> float:
    """The mean of ``time_to`` over all orders of the trials, of which one reaches the mark."""
    best = next(epoch.trial for epoch in epochs if epoch.best >= mark)
    others = sum(epoch.seconds for epoch in epochs if epoch.trial != best)
    return others / 2 + time_to(mark, (epoch for epoch in epochs if epoch.trial == best))[0]


def measure(seed: int, trials: int, elsewhere: str) -> Outcome:
    """One seed: random search, the study on pictures of ``elsewhere``, and ours."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="bench-") as folder:
        data, storage = Storage(f"{folder}/data"), Storage(f"{folder}/results")
        draw(TASK, "here", seed, data)
        draw(elsewhere, "elsewhere", seed + ELSEWHERE, data)

        def plan(name: str, dataset: str, seed: int) -> Plan:
            return make_plan(METHOD, dataset, {**SETTINGS, "train.seed": seed}, data, storage, name)

        drawn = list(random_search(plan("random", "here", seed), trials, seed))
        whole, mark = sum(epoch.seconds for epoch in drawn), max(epoch.best for epoch in drawn)
        other = sum(epoch.seconds for epoch in our_search(plan("before", "elsewhere", seed + ELSEWHERE), trials))
        ours, last, best = time_to(mark, our_search(plan("ours", "here", seed), trials))
        return Outcome(
            seed, mark, mean_time_to(mark, drawn), time_to(mark, iter(drawn))[0], whole, other, ours, last.trial, best
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=48, help="of random search, and of the study elsewhere")
    parser.add_argument("--elsewhere", choices=sorted(standin.TASKS), default=TASK, help="what its pictures show")
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    outcomes = []
    print(" seed    mark   random   as drawn    ours  ratio of all  trial  elsewhere")
    with ProcessPoolExecutor(a.processes, mp_context=get_context("spawn")) as pool:
        given = ([value] * a.seeds for value in (a.trials, a.elsewhere))
        for o in pool.map(measure, range(1, a.seeds + 1), *given):
            outcomes.append(o)
            print(
                f"{o.seed:5d} {o.mark:7.4f} {o.random:6.0f} s {o.drawn:8.0f} s {o.ours:5.0f} s {o.ratio:6.2f}"
                f" {o.ours / o.whole:6.2f}  {o.trial:5d} {o.before:8.0f} s",
                flush=True,
            )
    median = statistics.median(o.ratio for o in outcomes)
    print(f"median ratio over {a.seeds} seeds: {median:.2f} (at most {LIMIT:.2f})")
    return 0 if median <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
