"""The datasets of the papers, by name: the entries, and what was ingested of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from orchestrator.data.entries import ENTRIES, Entry
from orchestrator.data.schema import Manifest, ingested_names, load_manifest
from orchestrator.errors import UserError, unknown
from orchestrator.storage import Storage

DEFAULT_EPOCHS = 20
CATALOGUE = {entry.name: entry for entry in ENTRIES}


def find(name: str) -> Entry:
    """The catalogue's entry. Raises UserError with the nearest known names."""
    if name not in CATALOGUE:
        raise unknown("dataset", name, CATALOGUE)
    return CATALOGUE[name]


@dataclass(frozen=True)
class Known:
    """What is known of a dataset: its entry, and its manifest where it was ingested."""

    entry: Entry
    manifest: Manifest | None


def look_up(name: str, root: Storage) -> Known:
    """The entry of a dataset that is in the catalogue, or ingested under ``root``, or both; with its manifest.

    What was ingested has the last word on task, layout and sizes. Raises UserError for a name that is
    neither, or a damaged manifest.
    """
    manifest = load_manifest(root, name)
    if manifest is None:
        if name in CATALOGUE:
            return Known(CATALOGUE[name], None)
        raise unknown("dataset", name, {*CATALOGUE, *ingested_names(root)})
    base = CATALOGUE.get(name) or Entry(
        name, name, manifest.task, manifest.layout, None, None, DEFAULT_EPOCHS, "", "", "ingested by you"
    )
    sizes = {split: manifest.rows(split) for split in manifest.splits}
    entry = dataclasses.replace(
        base,
        task=manifest.task,
        layout=manifest.layout,
        train=sizes.get("train"),
        val=sizes.get("val"),
        test=sizes.get("test"),
    )
    return Known(entry, manifest)


def resolve(name: str, root: Storage) -> Entry:
    """The entry alone; that of the catalogue also where the manifest is damaged. Raises UserError as ``look_up``."""
    try:
        return look_up(name, root).entry
    except UserError:
        if name not in CATALOGUE:
            raise
        return CATALOGUE[name]
