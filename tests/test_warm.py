"""What a search takes from other studies: which of them, which of their trials, how many, and how it tells."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import runfile
from orchestrator.config import make_settings
from orchestrator.data.tasks import TASKS
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.results import make_row, write_row
from orchestrator.sampler import Lesson
from orchestrator.space import Space
from orchestrator.storage import Storage
from orchestrator.warm import GOOD as SHARE_OF_GOOD
from orchestrator.warm import STUDIES, WarmPoint, lessons_of, warm_points, words

TRIALS = 9  #: of a search


def plan(
    root: Path, name: str, method: str = "decoder", dataset: str = "here", task: str = "camouflage", **settings: Any
) -> Plan:
    return Plan(
        name=name,
        settings=make_settings(method, dataset, settings),
        data=Storage(str(root / "data")),
        storage=Storage(str(root / "results")),
        task=TASKS[task],
        stand_in=False,
        fingerprint=f"of {dataset}",
        skipped=0,
        backbone_random=False,
    )


def study(
    of: Plan, results: list[tuple[dict[str, Any], float]], trials: int | None = None, status: str = "completed"
) -> None:
    """A sweep as its folder has it: the choices of each trial on top of the defaults, and its value."""
    space = Space(of.settings, {})
    runfile.describe(of, {}, space, of.data, len(results) if trials is None else trials).save(of.run)
    for number, (choices, best) in enumerate(results):
        full = space.point_of(choices)
        assert full is not None
        epoch = {"epoch": 1, "losses": {}, "val": {}, "best": best, "best_epoch": 1, "trained_parameters": 10}
        write_row(of.run, make_row(of, f"{number:03d}", status, [epoch], seconds=1.0, choices=full))


def taken(of: Plan, wanted: str = "auto", trials: int = TRIALS) -> list[WarmPoint]:
    points, remarks = warm_points(of, Space(of.settings, {}), trials, wanted)
    assert not remarks
    return points


def learned(of: Plan, wanted: str = "auto") -> list[Lesson]:
    return lessons_of(of, Space(of.settings, {}), wanted)


def rates(points: list[WarmPoint]) -> list[tuple[str, float]]:
    return [(point.source, point.point["train.lr"]) for point in points]


DEFAULTS: tuple[dict[str, Any], float] = ({}, 0.5)
GOOD = [DEFAULTS, ({"train.lr": 1e-3}, 0.6), ({"train.lr": 2e-3}, 0.7), ({"train.lr": 3e-4}, 0.4)]


def test_what_beat_the_defaults_elsewhere_is_taken_best_first(tmp_path: Path) -> None:
    study(plan(tmp_path, "other", dataset="there"), GOOD)
    here = plan(tmp_path, "x")
    points = taken(here)
    assert rates(points) == [("other/002", 2e-3)]
    assert all(Space(here.settings, {}).point_of(point.point) == point.point for point in points)
    assert words(points, learned(here)) == (
        "warm start: other/002 is tried first; the sampler knows 4 trials (4 of other); WARM_START=off leaves that out"
    )


def test_a_smaller_metric_can_be_better_there(tmp_path: Path) -> None:
    study(plan(tmp_path, "other", dataset="there", task="shadow"), GOOD)
    assert rates(taken(plan(tmp_path, "x"))) == [("other/003", 3e-4)]


@pytest.mark.parametrize("trials", [1, 2, 3, 60])
def test_one_trial_of_three_starts_from_elsewhere(tmp_path: Path, trials: int) -> None:
    study(
        plan(tmp_path, "other", dataset="there"), [DEFAULTS, *(({"train.lr": 1e-3 + i / 1e5}, 0.6) for i in range(8))]
    )
    assert len(taken(plan(tmp_path, "x"), trials=trials)) == (trials >= 3)


def test_nothing_is_there_or_wanted(tmp_path: Path) -> None:
    assert taken(plan(tmp_path, "x")) == [] == learned(plan(tmp_path, "x"))
    study(plan(tmp_path, "other", dataset="there"), GOOD)
    assert taken(plan(tmp_path, "x"), "off") == [] == learned(plan(tmp_path, "x"), "off")


@pytest.mark.parametrize(
    "unrelated",
    [
        {"dataset": "here"},  # the same sweep once more must try the same
        {"dataset": "there", "method": "sam_adapter"},
        {"dataset": "there", "backbone.name": "vit_b"},
    ],
)
def test_studies_of_no_kin_are_left_alone(tmp_path: Path, unrelated: dict[str, Any]) -> None:
    study(plan(tmp_path, "other", **unrelated), GOOD)
    assert taken(plan(tmp_path, "x")) == [] == learned(plan(tmp_path, "x"))


def test_an_unfinished_study_waits_to_be_named(tmp_path: Path) -> None:
    study(plan(tmp_path, "other", dataset="there"), GOOD, trials=5)
    assert taken(plan(tmp_path, "x")) == [] == learned(plan(tmp_path, "x"))
    assert len(taken(plan(tmp_path, "x"), "other")) == 1 and len(learned(plan(tmp_path, "x"), "other")) == 4


@pytest.mark.parametrize("status", ["pruned", "failed", "stopped"])
def test_only_whole_trials_speak(tmp_path: Path, status: str) -> None:
    study(plan(tmp_path, "other", dataset="there"), GOOD, status=status)
    assert taken(plan(tmp_path, "x")) == []


def test_a_value_that_is_not_finite_is_none(tmp_path: Path) -> None:
    study(plan(tmp_path, "other", dataset="there"), [({"train.lr": 1e-3}, math.nan), ({"train.lr": 2e-3}, 0.1)])
    assert rates(taken(plan(tmp_path, "x"))) == [("other/001", 2e-3)]


def test_the_nearest_study_comes_first(tmp_path: Path) -> None:
    def two(low: float) -> list[tuple[dict[str, Any], float]]:
        return [DEFAULTS, ({"train.lr": low}, 0.7), ({"train.lr": low + 1e-5}, 0.6)]

    study(plan(tmp_path, "a-sibling", "sam_adapter"), two(1e-3))
    study(plan(tmp_path, "b-other-metric", dataset="there", task="polyp"), two(2e-3))
    study(plan(tmp_path, "c-same-metric", dataset="elsewhere"), two(3e-3))
    study(plan(tmp_path, "d-another-sibling", "mca"), two(4e-3))
    here = plan(tmp_path, "x")
    assert rates(taken(here)) == [("c-same-metric/001", 3e-3)]
    told = list(dict.fromkeys(lesson.run for lesson in learned(here)))
    assert len(told) == STUDIES and told[:2] == ["c-same-metric", "b-other-metric"]


def test_the_sampler_learns_from_all_trials_but_what_failed(tmp_path: Path) -> None:
    other = plan(tmp_path, "other", dataset="there")
    study(other, [DEFAULTS, *(({"train.lr": 1e-3 + i / 1e4}, 0.6 + i / 100) for i in range(11))])
    space = Space(other.settings, {})
    ends = {"012": ("pruned", 0.99), "013": ("failed", 0.98), "014": ("completed", math.nan)}
    for trial, (status, best) in ends.items():
        epoch = {"epoch": 1, "losses": {}, "val": {}, "best": best}
        write_row(other.run, make_row(other, trial, status, [epoch], seconds=1.0, choices=space.point_of({})))
    told = learned(plan(tmp_path, "x"))
    assert [lesson.trial for lesson in told] == [*(f"{i:03d}" for i in range(11, -1, -1)), "012"], "the cut come last"
    assert sum(lesson.good for lesson in told) == math.ceil(SHARE_OF_GOOD * 13) == 2
    assert told[0].good and told[0].params["train.lr"] == pytest.approx(2e-3)


def test_a_siblings_lessons_speak_of_what_both_have(tmp_path: Path) -> None:
    study(plan(tmp_path, "sibling", "sam_adapter"), [DEFAULTS, ({"train.lr": 1e-3, "method.scale": 8}, 0.9)])
    here = plan(tmp_path, "x")
    shared = Space(here.settings, {}).point_of({})
    assert shared is not None
    for lesson in learned(here):
        assert lesson.params and lesson.params.keys() <= shared.keys()


def test_a_sibling_gives_what_both_have(tmp_path: Path) -> None:
    choices = {"train.lr": 1e-3, "method.iou_weight": 2.0, "method.scale": 8}
    study(plan(tmp_path, "sibling", "sam_adapter"), [DEFAULTS, (choices, 0.9)])
    here = plan(tmp_path, "x")
    (point,) = taken(here)
    default = Space(here.settings, {}).default_point()
    assert default is not None
    assert point.point == {**default, "train.lr": 1e-3, "method.iou_weight": 2.0}


def test_what_lies_outside_the_space_is_not_taken(tmp_path: Path) -> None:
    """As after a change of the ranges."""
    other = plan(tmp_path, "other", dataset="there")
    study(other, GOOD)
    for number, value in (("001", 0.5), ("002", "high")):
        epoch = {"epoch": 1, "losses": {}, "val": {}, "best": 0.9}
        row = make_row(other, number, "completed", [epoch], seconds=1.0, choices={"train.lr": 1e-3})
        write_row(other.run, replace(row, choices={"train.lr": value}))
    assert taken(plan(tmp_path, "x")) == []


def test_what_the_user_fixed_there_counts(tmp_path: Path) -> None:
    other = plan(tmp_path, "other", dataset="there", **{"train.lr": 2e-3})
    space = Space(other.settings, {"train.lr": 2e-3})
    runfile.describe(other, {"train.lr": 2e-3}, space, other.data, 1).save(other.run)
    epoch = {"epoch": 1, "losses": {}, "val": {}, "best": 0.5}
    write_row(other.run, make_row(other, "000", "completed", [epoch], seconds=1.0, choices=space.point_of({})))
    worse = make_row(other, "001", "completed", [{**epoch, "best": 0.4}], seconds=1.0, choices=space.point_of({}))
    write_row(other.run, worse)
    assert rates(taken(plan(tmp_path, "x"))) == [("other/000", 2e-3)], (
        "what was worse than its own defaults is not taken"
    )


def test_a_finite_space_is_tried_as_a_whole(tmp_path: Path) -> None:
    study(plan(tmp_path, "other", "sam", "there"), [DEFAULTS, ({"method.mask_choice": "best_predicted"}, 0.9)])
    assert taken(plan(tmp_path, "x", "sam")) == []


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("othr", r"unknown sweep under .*results 'othr' \(nearest: other\)"),
        ("other,", r"unknown sweep under .*results ''"),
        ("flat", "WARM_START=flat: no trial of it beat the defaults in this search's space; leave it out"),
    ],
)
def test_a_named_run_that_does_not_serve_is_said(tmp_path: Path, wanted: str, says: str) -> None:
    study(plan(tmp_path, "other", dataset="there"), GOOD)
    study(plan(tmp_path, "flat", dataset="there"), [DEFAULTS])
    with pytest.raises(UserError, match=says) as caught:
        taken(plan(tmp_path, "x"), wanted)
    assert "\n" not in str(caught.value)


def test_a_named_run_may_be_the_same_sweep(tmp_path: Path) -> None:
    study(plan(tmp_path, "again"), GOOD)
    assert len(taken(plan(tmp_path, "x"), "again")) == 1 and len(learned(plan(tmp_path, "x"), "again")) == 4


def test_a_damaged_study_is_only_told_of(tmp_path: Path) -> None:
    study(plan(tmp_path, "other", dataset="there"), GOOD)
    (tmp_path / "results" / "other" / "trials" / "001" / "record.arrow").write_bytes(b"torn")
    here = plan(tmp_path, "x")
    points, (remark,) = warm_points(here, Space(here.settings, {}), TRIALS, "auto")
    assert points == [] and "damaged result" in remark
    with pytest.raises(UserError, match="damaged result"):
        taken(here, "other")


@settings(deadline=None, max_examples=20)
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=8), trials=st.integers(1, 30))
def test_any_study_gives_distinct_points_of_the_space(
    values: list[float], trials: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("warm")
    study(plan(root, "other", dataset="there"), [({"train.lr": 1e-3 * (1 + i % 3)}, v) for i, v in enumerate(values)])
    here = plan(root, "x")
    space = Space(here.settings, {})
    points = [point.point for point in taken(here, trials=trials)]
    assert len(points) <= min(1, trials // 3)
    assert all(space.point_of(point) == point != space.default_point() for point in points)
    assert all(points.index(point) == i for i, point in enumerate(points))
