"""The datasets of the papers, by name: the entries, and what was ingested of them."""

from __future__ import annotations

import dataclasses

from orchestrator.data.entries import ENTRIES, Entry
from orchestrator.data.schema import ingested_names, load_manifest
from orchestrator.errors import UserError, unknown
from orchestrator.storage import Storage

DEFAULT_EPOCHS = 20
CATALOGUE = {entry.name: entry for entry in ENTRIES}


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
        val=sizes.get("val"),
        test=sizes.get("test"),
    )
