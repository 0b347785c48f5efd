"""Ingesting: from a folder of images and masks to Arrow shards and a manifest, or to a one-line error."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from orchestrator.data.codings import VOID
from orchestrator.data.layouts.base import Found
from orchestrator.data.layouts.folders import CLASSES_FILE
from orchestrator.data.portions import OnRows, Portion, Portioner, Written, cut, here
from orchestrator.data.rows import Source
from orchestrator.data.schema import Manifest, Skipped
from orchestrator.data.sources import find_items
from orchestrator.data.tasks import TASKS, of_coding
from orchestrator.data.writer import SHARD_BYTES, DatasetWriter, check_name
from orchestrator.errors import UserError, unknown
from orchestrator.storage import Storage

Progress = Callable[[int, int, str], None]  #: items done, items in all, the id of the last
#: Who has the portions written, in whatever order: ``portions.here``, or ``data.on_ray.on_ray``.
Runner = Callable[[Portioner, Sequence[Portion], OnRows], Generator[tuple[Portion, Written], None, None]]
NAMED = 5  #: so many further bad files are named in an error


def ingest(
    name: str,
    source: str | Path,
    out: Storage,
    layout: str,
    task: str,
    *,
    seed: int = 42,
    skip_bad: bool = False,
    replace: bool = False,
    stand_in: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
    runner: Runner = here,
) -> Manifest:
    """Check every item under ``source`` and write it, encoded, to ``out/name``.

    Raises UserError in one line for anything a user can mend, and leaves nothing behind then. All files
    are checked before the error, so that it names them together. With ``skip_bad`` bad files are left out
    and listed in the manifest. Called again after it was killed, with the same words on the same files, it
    keeps the shards that were finished and writes the others.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    check_name(name)
    found = find_items(layout, Path(source).expanduser().absolute(), seed, TASKS[task].coding)
    _check_coding(found, task)
    portions, plan = cut(found, layout, shard_bytes, (task, layout, seed, skip_bad, stand_in))
    with DatasetWriter(out, name, replace=replace, shard_bytes=shard_bytes, plan=plan) as writer:
        written = _write(writer, found, portions, layout, skip_bad, progress, runner)
        bad = [*found.problems, *(bad for portion in portions for bad in written[portion.key].bad)]
        if bad and not skip_bad:
            raise _bad_files(bad)
        _check_splits(writer, found)
        return writer.commit(
            task=task,
            layout=layout,
            split_rule=found.split_rule,
            stand_in=stand_in,
            skipped=tuple(bad),
            classes=found.classes,
        )


def _write(
    writer: DatasetWriter,
    found: Found,
    portions: Sequence[Portion],
    layout: str,
    skip_bad: bool,
    progress: Progress | None,
    runner: Runner,
) -> dict[str, Written]:
    """Have every portion written that is not there yet; what became of all."""
    finished = dict(writer.progress.done)
    done = sum(len(p.items) for p in portions if p.key in finished)

    def on_rows(count: int, last: str) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, len(found.items), last)

    source = Source(str(found.root), layout, found.coding, len(found.classes))
    rest = [p for p in portions if p.key not in finished]
    portioner = Portioner(source, writer.folder, skip_bad, _threads(), write=skip_bad or not found.problems)
    with closing(runner(portioner, rest, on_rows)) as coming:
        for portion, written in coming:
            finished[portion.key] = written
            if written.shard or (skip_bad and written.bad):
                writer.put(portion.key, written)  # what was only checked is no progress
    return finished


def _check_coding(found: Found, task: str) -> None:
    """Whether masks of this kind are what the task is about."""
    wanted = TASKS[task].coding
    if found.coding != wanted:
        fitting = " or ".join(of_coding(found.coding))
        raise UserError(f"--task {task}: its masks are {wanted}, this layout's are {found.coding}; --task {fitting}")
    labelled = any(item.mask for item in found.items)
    if labelled and found.coding == "classes" and not 0 < len(found.classes) <= VOID:
        raise UserError(
            f"{found.root}/{CLASSES_FILE}: {len(found.classes)} classes; write a class name a line, that of class 0 "
            f"first, at most {VOID}"
        )


def _bad_files(bad: list[Skipped]) -> UserError:
    first, others = bad[0], bad[1:]
    more = ""
    if others:
        names = ", ".join(entry.file for entry in others[:NAMED]) + (", ..." if len(others) > NAMED else "")
        more = f" ({len(others)} more bad file{'s' if len(others) > 1 else ''}: {names})"
    return UserError(f"{first.file}: {first.reason}; mend or remove it, or run again with --skip-bad{more}")


def _check_splits(writer: DatasetWriter, found: Found) -> None:
    """Whether every split has rows."""
    for split in sorted(found.splits or {item.split for item in found.items} or {"train"}):
        if split not in writer.splits:
            raise UserError(f"{found.root}: no usable image is left in split '{split}'; mend the bad files")


def _threads() -> int:
    return min(8, os.cpu_count() or 1)
