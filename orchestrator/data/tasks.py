"""The kinds of datasets: what their masks mean, and how a method is trained and judged on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """How a kind of dataset is trained and judged."""

    name: str
    metrics: tuple[str, ...]  #: in the order in which they are shown
    objective: str  #: the metric that a sweep optimises
    mode: str  #: 'max' or 'min'
    loss: str = "bce_iou"  #: or 'bbce' (balanced cross-entropy)
    prompted: bool = False  #: measured by prompts for each of an image's masks
    per_object: bool = False  #: objects are prompted for one by one: trained and measured as ``OBJECTS``
    coding: str = "binary"  #: of its masks: one of ``data.codings.CODINGS``
    by_class: bool = False  #: every pixel has a class: only methods that are made for it serve it
    wraps: bool = False  #: left and right edge of an image join
    solved: bool = True  #: whether a method here solves it; else it is ingested and read, no more


#: What a binary mask is measured by where the papers have nothing of their own.
_OVERLAP = ("mdice", "miou")


_CLASSES = ("class_miou", "class_biou", "pixel_accuracy")

#: How whoever is prompted for single objects is judged, whatever the data set.
OBJECTS = Task(
    "objects",
    ("object_miou", "boundary_iou", "iou_spread", "predicted_miou", "oracle_miou"),
    "object_miou",
    "max",
    per_object=True,
)


def _later(name: str, coding: str) -> Task:
    """A task whose datasets are here before its methods."""
    return Task(name, ("miou",), "miou", "max", coding=coding, solved=False)


TASKS = {
    task.name: task
    for task in (
        Task("camouflage", ("s_measure", "e_measure", "weighted_f", "mae"), "s_measure", "max"),
        Task("shadow", ("ber",), "ber", "min", "bbce"),
        Task("polyp", _OVERLAP, "mdice", "max"),
        Task("binary", _OVERLAP, "mdice", "max"),
        Task("anomaly", _OVERLAP, "miou", "max"),
        Task("video", _OVERLAP, "miou", "max"),
        Task("promptable", ("box_iou", "point_iou", "ranking"), "box_iou", "max", prompted=True, coding="layers"),
        Task("parts", OBJECTS.metrics, OBJECTS.objective, OBJECTS.mode, coding="classes", per_object=True),
        Task("semantic", _CLASSES, "class_miou", "max", coding="classes", by_class=True),
        # their training images have no labels
        Task("panorama", (*_CLASSES, "choice"), "choice", "max", coding="classes", by_class=True, wraps=True),
        Task("instances", OBJECTS.metrics, OBJECTS.objective, OBJECTS.mode, coding="instances", per_object=True),
        _later("referring", "instances"),
        _later("panoptic", "panoptic"),
        OBJECTS,
    )
}


def judged_as(name: str, per_object: bool) -> Task:
    """How a data set of a task is trained and measured on, where objects may be asked for one by one."""
    task = TASKS[name]
    return OBJECTS if per_object or task.per_object else task


def of_coding(coding: str) -> list[str]:
    """The tasks that a folder with masks of this coding may be ingested for."""
    return [name for name, task in TASKS.items() if task.coding == coding and not task.prompted and task is not OBJECTS]
