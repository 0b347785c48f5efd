"""The datasets and tasks of the papers: sizes, metrics, epochs, where to get the data, published numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from orchestrator.data.schema import ingested_names, load_manifest
from orchestrator.errors import UserError, unknown
from orchestrator.storage import Storage


@dataclass(frozen=True)
class Task:
    """How a kind of dataset is trained and judged."""

    name: str
    metrics: tuple[str, ...]  #: in the order in which they are shown
    objective: str  #: the metric that a sweep optimises
    mode: str  #: 'max' or 'min'
    loss: str  #: 'bce_iou', or 'bbce' (balanced cross-entropy)
    prompted: bool = False  #: measured by prompts for each of an image's masks


TASKS = {
    task.name: task
    for task in (
        Task("camouflage", ("s_measure", "e_measure", "weighted_f", "mae"), "s_measure", "max", "bce_iou"),
        Task("shadow", ("ber",), "ber", "min", "bbce"),
        Task("polyp", ("mdice", "miou"), "mdice", "max", "bce_iou"),
        Task("binary", ("mdice", "miou"), "mdice", "max", "bce_iou"),
        Task("promptable", ("box_iou", "point_iou", "ranking"), "box_iou", "max", "bce_iou", prompted=True),
    )
}

DEFAULT_EPOCHS = 20


@dataclass(frozen=True)
class Entry:
    """One dataset."""

    name: str
    title: str
    task: str
    layout: str
    train: int | None  #: images in the split, where known
    test: int | None
    epochs: int  #: the papers' number of training epochs
    home: str
    licence: str
    notes: str = ""


CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry(
            "cod10k", "COD10K", "camouflage", "cod10k", 3040, 2026, 20,
            "http://dpfan.net/Camouflage/", "research only",
            "camouflaged images only; the papers train on COD10K and CAMO together (4040 images)",
        ),
        Entry(
            "cod4040", "COD10K and CAMO together", "camouflage", "cod4040", 4040, 2026, 20,
            "http://dpfan.net/Camouflage/", "research only",
            "what the papers train on; tested on COD10K",
        ),
        Entry(
            "camo", "CAMO", "camouflage", "camo", 1000, 250, 20,
            "https://sites.google.com/view/ltnghia/research/camo", "academic use only",
            "the papers train on COD10K and CAMO together (4040 images)",
        ),
        Entry(
            "chameleon", "CHAMELEON", "camouflage", "chameleon", None, 76, 20,
            "https://www.polsl.pl/rau6/chameleon-database-animal-camouflage-analysis", "research only",
            "a test set only: train on cod10k or camo",
        ),
        Entry(
            "istd", "ISTD", "shadow", "istd", 1330, 540, 90,
            "https://github.com/DeepInsight-PCALab/ST-CGAN", "research only",
            "train_C and test_C (shadow-free images) are not used",
        ),
        Entry(
            "sbu", "SBU shadow", "shadow", "sbu", None, 638, 90,
            "https://www3.cs.stonybrook.edu/~cvl/projects/shadow_noisy_label/index.html", "research only",
            "about 4,089 images to train on; no published number of the registered methods",
        ),
        Entry(
            "kvasir", "Kvasir-SEG", "polyp", "kvasir", 800, 200, 120,
            "https://datasets.simula.no/kvasir-seg/", "research and education only",
            "no official split: 80/20 of the sorted names with seed 42; published numbers mix protocols "
            "(800/200, 880/120, 900/100, Medico 2020)",
        ),
    )
}  # fmt: skip


def find(name: str) -> Entry:
    """The catalogue's entry. Raises UserError with the nearest known names."""
    if name not in CATALOGUE:
        raise unknown("dataset", name, CATALOGUE)
    return CATALOGUE[name]


def resolve(name: str, root: Storage) -> Entry:
    """The entry of a dataset that is in the catalogue, or ingested under ``root``, or both.

    What was ingested has the last word on task, layout and sizes. Raises UserError for a name that is
    neither.
    """
    try:
        manifest = load_manifest(root, name)
    except UserError:
        if name not in CATALOGUE:
            raise
        manifest = None
    if manifest is None:
        if name in CATALOGUE:
            return CATALOGUE[name]
        raise unknown("dataset", name, {*CATALOGUE, *ingested_names(root)})
    base = CATALOGUE.get(name) or Entry(
        name, name, manifest.task, manifest.layout, None, None, DEFAULT_EPOCHS, "", "", "ingested by you"
    )
    sizes = {split: manifest.rows(split) for split in manifest.splits}
    return dataclasses.replace(
        base,
        task=manifest.task,
        layout=manifest.layout,
        train=sizes.get("train"),
        test=sizes.get("test"),
    )


ADAPTER = "SAM-Adapter (Chen et al., 2023)"
MCA = "MCA-SAM (Multi-scale Contrastive Adaptor Learning)"
IMPLIED = "implied by the published relative gain"


@dataclass(frozen=True)
class Published:
    """One published number."""

    method: str
    dataset: str
    metric: str
    value: float  #: BER in percent, everything else as a fraction
    source: str
    note: str = ""


def _camouflage(method: str, dataset: str, s: float, e: float, f: float, mae: float) -> list[Published]:
    values = {"s_measure": s, "e_measure": e, "weighted_f": f, "mae": mae}
    # The published code computes weighted F with beta 0.3, where the usual toolkit has 1.
    notes = {"weighted_f": "published code uses beta 0.3"}
    return [
        Published(method, dataset, metric, value, ADAPTER, notes.get(metric, "")) for metric, value in values.items()
    ]


PUBLISHED: tuple[Published, ...] = (
    *_camouflage("sam", "chameleon", 0.727, 0.734, 0.639, 0.081),
    *_camouflage("sam", "camo", 0.684, 0.687, 0.606, 0.132),
    *_camouflage("sam", "cod10k", 0.783, 0.798, 0.701, 0.050),
    *_camouflage("sam_adapter", "chameleon", 0.896, 0.919, 0.824, 0.033),
    *_camouflage("sam_adapter", "camo", 0.847, 0.873, 0.765, 0.070),
    *_camouflage("sam_adapter", "cod10k", 0.883, 0.918, 0.801, 0.025),
    *_camouflage("sam", "cod4040", 0.783, 0.798, 0.701, 0.050),
    *_camouflage("sam_adapter", "cod4040", 0.883, 0.918, 0.801, 0.025),
    Published("sam", "istd", "ber", 40.51, ADAPTER),
    Published("sam_adapter", "istd", "ber", 1.43, ADAPTER),
    Published("sam", "kvasir", "mdice", 0.778, ADAPTER),
    Published("sam", "kvasir", "miou", 0.707, ADAPTER),
    Published("sam_adapter", "kvasir", "mdice", 0.850, ADAPTER),
    Published("sam_adapter", "kvasir", "miou", 0.776, ADAPTER),
    Published("mca", "cod10k", "mae", 0.020, MCA, IMPLIED),
    Published("mca", "cod4040", "mae", 0.020, MCA, IMPLIED),
    Published("mca", "istd", "ber", 1.21, MCA, IMPLIED),
    Published("mca", "kvasir", "mdice", 0.917, MCA, IMPLIED),
    Published("mca", "camo", "mae", 0.066, MCA, f"{IMPLIED}; uncertain"),
)


def published(dataset: str, method: str | None = None) -> list[Published]:
    """What is published for a dataset (and a method)."""
    return [p for p in PUBLISHED if p.dataset == dataset and method in (None, p.method)]
