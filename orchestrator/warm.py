"""Warm start: points that finished studies of the same method elsewhere, or of a sibling here, found good.

Values are ranked within their own study alone: no two datasets' numbers are ever compared. What is taken is
decided once, when a sweep begins, and lies in its ``run.json``. Knows neither Ray nor the console.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from typing import Any

from orchestrator import runfile
from orchestrator.errors import UserError
from orchestrator.leaderboard import rank
from orchestrator.plan import Plan
from orchestrator.results import read_rows, trial_name
from orchestrator.runfile import RunFile
from orchestrator.sampler import Lesson
from orchestrator.space import Space
from orchestrator.storage import Storage

AUTO, OFF = "auto", "off"
SHARE, MOST = 3, 1  #: at most one trial in so many starts from a point of another study, and so many in all
STUDIES, GOOD = 3, 0.1  #: the sampler learns from so many studies, and takes this share of each one's trials for good


@dataclass(frozen=True)
class WarmPoint:
    """Where a trial starts from, and which trial found that."""

    run: str
    trial: str
    point: dict[str, Any]  #: of this search's space

    @property
    def source(self) -> str:
        return f"{self.run}/{self.trial}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """Another sweep, as its folder tells of it."""

    name: str
    begun: RunFile
    rows: tuple[dict[str, Any], ...]  #: of its trials that are over

    @property
    def finished(self) -> bool:
        return len(self.rows) >= self.begun.trials

    def nearness(self, plan: Plan) -> tuple[bool, bool]:
        """What it is sorted by, nearest first: the same method, the same objective."""
        objective = self.rows[0]["objective"] if self.rows else None
        return self.begun.method != plan.settings.method, objective != plan.task.objective

    def lessons(self, space: Space) -> list[Lesson]:
        """Where its trials were in ``space``, best first, the first tenth of them good; cut ones are not."""
        found: list[tuple[tuple[bool, float, str], dict[str, Any]]] = []
        for row in self.rows:
            value = math.nan if row["best"] is None else row["best"]
            point = space.point_of(self._told(row))
            if row["status"] in ("completed", "pruned") and math.isfinite(value) and point:
                at = {key: known for key, known in self._told(row).items() if key in point}
                order = (row["status"] == "pruned", *rank(self.begun.direction, value, row["trial"]))
                found += [(order, at)] if at else []
        found.sort(key=lambda one: one[0])
        good = math.ceil(GOOD * len(found))
        return [Lesson(self.name, order[2], at, i < good) for i, (order, at) in enumerate(found)]

    def _told(self, row: dict[str, Any]) -> dict[str, Any]:
        """What a trial of it was asked to be: what the user fixed there, and what was chosen."""
        return {key: row["settings"][key] for key in self.begun.changes} | dict(row["choices"])

    def points(self, space: Space) -> list[WarmPoint]:
        """What it found better than the defaults, best first, as points of ``space``."""
        done = [
            row
            for row in self.rows
            if row["status"] == "completed" and math.isfinite(math.nan if row["best"] is None else row["best"])
        ]
        found = []
        for row in sorted(done, key=lambda row: rank(self.begun.direction, row["best"], row["trial"])):
            told = self._told(row)
            point = space.point_of(told)
            if point == space.default_point():
                break
            if point and not point.keys().isdisjoint(told):
                found.append(WarmPoint(self.name, row["trial"], point))
            if row["trial"] == trial_name(0):  # its defaults, with what the user fixed there
                break
        return found


def warm_points(plan: Plan, space: Space, trials: int, wanted: str) -> tuple[list[WarmPoint], list[str]]:
    """Where the trial after the defaults starts from, where there are three ``trials`` at least, and remarks.

    The best of each study come first, the nearest study's before the others', then their second best, and so on.

    Args:
        wanted: ``auto``, ``off``, or names of runs with commas.

    Returns:
        The points, and why a study could not be read that ``auto`` would have looked at.

    Raises:
        UserError: a named run is not there, cannot be read, or has no point for this search.
    """
    most = min(MOST, trials // SHARE)
    if wanted == OFF or (wanted == AUTO and (not most or space.all_points())):  # a finite space is tried as a whole
        return [], []
    studies, remarks = _named(plan.storage, wanted, space) if wanted != AUTO else _related(plan)
    lists = [study.points(space) for study in studies]
    distinct: list[WarmPoint] = []
    for found in chain.from_iterable(zip_longest(*lists)):
        if found and found.point not in [point.point for point in distinct]:
            distinct.append(found)
    return distinct[:most], remarks


def lessons_of(plan: Plan, space: Space, wanted: str) -> list[Lesson]:
    """What the sampler may know from the nearest ``STUDIES`` studies, or those named. ``wanted`` as in ``warm_points``.

    Raises:
        UserError: as ``warm_points``.
    """
    if wanted == OFF or space.all_points():
        return []
    studies = _named(plan.storage, wanted, space)[0] if wanted != AUTO else _related(plan)[0][:STUDIES]
    return [lesson for study in studies for lesson in study.lessons(space)]


def _named(storage: Storage, wanted: str, space: Space) -> tuple[list[Study], list[str]]:
    studies = []
    for name in dict.fromkeys(word.strip() for word in wanted.split(",")):
        begun = runfile.load(storage, name) if name else None
        if begun is None:
            raise runfile.missing(storage, name)
        studies.append(_read(storage, name, begun))
        if not studies[-1].points(space):
            raise UserError(f"WARM_START={name}: no trial of it beat the defaults in this search's space; leave it out")
    return studies, []


def _related(plan: Plan) -> tuple[list[Study], list[str]]:
    """The finished studies of the same method on other data, and of other methods on this data, nearest first."""
    studies, remarks = [], []
    for name in runfile.names(plan.storage):
        try:
            begun = runfile.load(plan.storage, name)
            if name != plan.name and begun and _is_related(begun, plan):
                studies.append(_read(plan.storage, name, begun))
        except UserError as error:  # it is of no concern to a sweep that did not ask for it
            remarks.append(str(error))
    finished = [study for study in studies if study.finished]
    latest_first = sorted(finished, key=lambda study: max(row["finished"] for row in study.rows), reverse=True)
    return sorted(latest_first, key=lambda study: study.nearness(plan)), remarks


def _is_related(begun: RunFile, plan: Plan) -> bool:
    """The same method and other data, or the same data and another method; not the same sweep under another name.

    That one is left out so that a sweep which is repeated tries what it tried.
    """
    same_method = begun.method == plan.settings.method
    same_data = begun.fingerprint == plan.fingerprint
    return begun.settings["backbone.name"] == plan.settings.backbone.name and same_method != same_data


def _read(storage: Storage, name: str, begun: RunFile) -> Study:
    return Study(name, begun, tuple(row for row in read_rows(storage, name) if row["status"] != "stopped"))


def words(points: Sequence[WarmPoint], lessons: Sequence[Lesson]) -> str:
    """What was taken, in one line."""
    told = [f"{point.source} is tried first" for point in points]
    counts: dict[str, int] = {}
    for lesson in lessons:
        counts[lesson.run] = counts.get(lesson.run, 0) + 1
    learned = ", ".join(f"{count} of {run}" for run, count in counts.items())
    told += [f"the sampler knows {len(lessons)} trials ({learned})"] if lessons else []
    return f"warm start: {'; '.join(told)}; WARM_START=off leaves that out"
