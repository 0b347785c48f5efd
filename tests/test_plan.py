"""What fits together: methods, the tasks of data sets, and objects to prompt for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from data_samples import encode, ground, picture

from methods import registry
from orchestrator.data.schema import Row
from orchestrator.data.tasks import OBJECTS, TASKS, judged_as
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import UserError
from orchestrator.plan import Plan, check_fits, make_plan, misfit
from orchestrator.storage import Storage

#: What holds objects that are asked for one by one by any method.
PER_OBJECT = sorted(name for name, task in TASKS.items() if task.per_object)


@pytest.fixture
def plan_of(tmp_path: Path) -> Callable[..., Plan]:
    """Writes a dataset whose splits have so many images with an object and so many without, and plans on it."""

    def plan(method: str, splits: dict[str, tuple[int, int]], task: str = "anomaly", **changes: object) -> Plan:
        data = Storage(str(tmp_path / "data"))
        with DatasetWriter(data, "own") as writer:
            for split, (full, empty) in splits.items():
                for i in range(full + empty):
                    mask = encode(ground() if i >= empty else 0 * ground())
                    writer.add(split, Row(f"{split}{i}", "", encode(picture(i)), mask, 24, 32, 127, ""))
            writer.commit(task=task, layout="folders", split_rule="")
        told = {key.replace("_", ".", 1): value for key, value in changes.items()}
        return make_plan(method, "own", told, data, Storage(str(tmp_path / "results")))

    return plan


@pytest.mark.parametrize("method", registry.names())
@pytest.mark.parametrize("task", TASKS)
def test_what_a_method_serves(method: str, task: str) -> None:
    kind, own = registry.load(method), judged_as(task, registry.load(method).needs_prompts)
    fits = own.solved and (kind.prompted or not own.prompted) and (kind.answers or not own.per_object)
    fits = task in kind.tasks if kind.tasks else fits and not own.by_class
    why = misfit(method, own)
    assert bool(why) is not fits
    if fits:
        check_fits(method, "x", own)
    else:
        with pytest.raises(UserError) as caught:
            check_fits(method, "x", own)
        assert str(caught.value) == f"METHOD={method} DATASET=x: {why}"


def test_what_needs_prompts_serves_every_mask() -> None:
    """Its objects are asked for, whatever else the task's masks are for."""
    for name in TASKS:
        assert misfit("prompt_learning", judged_as(name, True)) == ""


@pytest.mark.parametrize(
    ("method", "task", "says"),
    [
        ("mca", "promptable", "several masks an image, to be prompted for; METHOD=promptable"),
        ("mca", "panoptic", "no method solves task 'panoptic' yet"),
        ("promptable", "parts", "the method draws its own prompts from whole images"),
        ("promptable", "objects", "the method draws its own prompts from whole images"),
    ],
)
def test_what_does_not_fit_says_why(method: str, task: str, says: str) -> None:
    assert says in misfit(method, TASKS[task])


def test_a_method_that_needs_prompts_is_judged_by_objects(plan_of: Callable[..., Plan]) -> None:
    few = {"train": (8, 2), "test": (2, 0)}
    assert plan_of("prompt_learning", few).task is OBJECTS


def test_others_are_where_that_is_asked_for(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    few = {"train": (8, 2), "test": (2, 0)}
    plan = plan_of("mca", few)
    assert plan.task is TASKS["anomaly"]
    told = {"prompts.objects": "always"}
    assert make_plan("mca", "own", told, plan.data, plan.storage, name="n").task is OBJECTS


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"train": (0, 9), "test": (2, 0)}, "in the images that are trained on there is no object to prompt for"),
        ({"train": (2, 0), "val": (0, 2), "test": (2, 0)}, "in the images that are chosen by there is no object"),
        ({"train": (8, 0), "test": (0, 2)}, "in the images that are tested on there is no object"),
    ],
)
def test_nothing_to_prompt_for_is_said_at_once(
    plan_of: Callable[..., Plan], splits: dict[str, tuple[int, int]], says: str, tmp_path: Path
) -> None:
    """As where good images alone train: no epoch would ever be the best one."""
    with pytest.raises(UserError, match=f"dataset 'own': {says}"):
        plan_of("prompt_learning", splits)
    plan = make_plan("decoder", "own", {}, Storage(str(tmp_path / "data")), Storage(str(tmp_path / "results")))
    assert plan.task is TASKS["anomaly"], "who is not prompted minds none of it"


def test_who_trains_nothing_needs_none_to_train_on(plan_of: Callable[..., Plan]) -> None:
    told = {"prompts_objects": "always", "data_val_fraction": 0}
    assert plan_of("sam", {"train": (0, 4), "test": (2, 0)}, **told).task is OBJECTS


def test_one_object_in_many_images_is_enough(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("prompt_learning", {"train": (1, 7), "val": (1, 3), "test": (1, 3)})
    assert plan.task is OBJECTS


def test_what_asks_for_objects_by_itself() -> None:
    assert PER_OBJECT == ["instances", "objects", "parts"]
