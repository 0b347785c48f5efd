"""The grid of methods and datasets: which cells there are. Knows neither Ray nor the console."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from methods import registry
from orchestrator.data.catalogue import CATALOGUE, Entry, resolve
from orchestrator.data.schema import ingested_names
from orchestrator.data.standin import official
from orchestrator.data.tasks import TASKS, judged_as
from orchestrator.errors import UserError, unknown
from orchestrator.plan import misfit
from orchestrator.storage import Storage

ALL = "all"


@dataclass(frozen=True)
class Cell:
    """One sweep of a grid."""

    method: str
    dataset: str

    def run_name(self, grid: str) -> str:
        """What its run is called under STORAGE."""
        return f"{grid}-{self.method}-{self.dataset}"


def is_grid(method: str, dataset: str) -> bool:
    """Whether METHOD and DATASET name more than one cell."""
    return any(word == ALL or "," in word for word in (method, dataset))


def cells(
    method: str,
    dataset: str,
    data: Storage,
    entry_of: Callable[[str], Entry] | None = None,
    per_object: bool = False,
) -> list[Cell]:
    """The cells of METHOD and DATASET (a name, several with commas, or ``all``), by dataset.

    ``all`` takes whatever fits together. ``entry_of`` tells a dataset's entry, by default what lies under ``data``.
    ``per_object``: objects are asked for one by one, whatever the dataset.
    Raises UserError for an unknown name, a pair of named ones that does not fit, or where nothing is left.
    """
    ingested = set(ingested_names(data))
    methods = _named("method", method, registry.names())
    datasets = _named("dataset", dataset, sorted({*CATALOGUE, *ingested}))
    fitting = []
    for name in datasets:
        entry = entry_of(name) if entry_of else resolve(name, data)
        for one in methods:
            if why := _misfit(one, entry, name in ingested, per_object):
                if ALL not in (method, dataset):
                    raise UserError(f"METHOD={one} DATASET={name}: {why}; leave it out")
            else:
                fitting.append(Cell(one, name))
    if not fitting:
        raise UserError(f"METHOD={method} DATASET={dataset}: no method here fits a dataset; see `samsweep datasets`")
    return fitting


def _named(kind: str, words: str, known: Sequence[str]) -> list[str]:
    names = list(known) if words == ALL else [word.strip() for word in words.split(",") if word.strip()]
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    return list(dict.fromkeys(names))


def _misfit(method: str, entry: Entry, ingested: bool, per_object: bool) -> str:
    """Why a method does not serve a data set; '' where it does."""
    kind, task = registry.load(method), entry.task
    if kind.prompted and not TASKS[task].prompted:
        return "a prompted method needs several masks an image"
    if why := misfit(method, judged_as(task, per_object or kind.needs_prompts)):
        return why
    return (
        ""
        if ingested or official.is_drawn(entry.layout, task)
        else "no stand-in is drawn of it, and it is not ingested"
    )
