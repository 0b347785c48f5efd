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
    coding: str = "binary"  #: of its masks: one of ``data.codings.CODINGS``
    solved: bool = True  #: whether a method here solves it; else it is ingested and read, no more


#: What a binary mask is measured by where the papers have nothing of their own.
_OVERLAP = ("mdice", "miou")


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
        _later("parts", "classes"),
        _later("semantic", "classes"),
        _later("instances", "instances"),
        _later("referring", "instances"),
        _later("panoptic", "panoptic"),
    )
}


def of_coding(coding: str) -> list[str]:
    """The tasks that a folder with masks of this coding may be ingested for."""
    return [name for name, task in TASKS.items() if task.coding == coding and not task.prompted]
