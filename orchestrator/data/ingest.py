"""Ingesting: from a folder of images and masks to Arrow shards and a manifest, or to a one-line error."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from orchestrator.data.ahead import map_ahead
from orchestrator.data.catalogue import TASKS
from orchestrator.data.check import BadImage, BadMask, check_pair
from orchestrator.data.pairing import Found, Pair, find_pairs
from orchestrator.data.progress import plan_of
from orchestrator.data.schema import Manifest, Row, Skipped
from orchestrator.data.writer import SHARD_BYTES, DatasetWriter, check_name
from orchestrator.errors import UserError, unknown
from orchestrator.storage import Storage

Progress = Callable[[int, int, str], None]  #: pairs done, pairs in all, the id of the last
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
) -> Manifest:
    """Check every pair under ``source`` and write it, encoded as it came, to ``out/name``.

    Raises UserError in one line for anything a user can mend, and leaves nothing behind then. All files
    are checked before the error, so that it names them together. With ``skip_bad`` bad files are left out
    and listed in the manifest. Called again after it was killed, with the same words on the same files, it
    keeps the shards that were finished and goes on behind them.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    check_name(name)
    found = find_pairs(layout, Path(source).expanduser().absolute(), seed)
    plan = plan_of(found, (task, layout, seed, skip_bad, stand_in, shard_bytes))
    with DatasetWriter(out, name, replace=replace, shard_bytes=shard_bytes, plan=plan) as writer:
        bad = list(writer.progress.bad)
        begun = writer.progress.done
        rest = found.pairs[begun:]
        with closing(map_ahead(partial(_read, found), rest, _threads(), 2 * _threads())) as checked:
            for done, (pair, outcome) in enumerate(zip(rest, checked, strict=True), begun + 1):
                if isinstance(outcome, Skipped):
                    bad.append(outcome)
                elif skip_bad or not (bad or found.problems):
                    writer.add(pair.split, outcome, done, bad)
                if progress:
                    progress(done, len(found.pairs), pair.id)
        bad = [*found.problems, *bad]
        if bad and not skip_bad:
            raise _bad_files(bad)
        rule = _rule(writer, found)
        return writer.commit(task=task, layout=layout, split_rule=rule, stand_in=stand_in, skipped=tuple(bad))


def _read(found: Found, pair: Pair) -> Row | Skipped:
    """One pair, read and checked."""
    at = pair.image
    try:
        image = pair.image.read_bytes()
        at = pair.mask
        mask = pair.mask.read_bytes()
        checked = check_pair(image, mask)
    except OSError as error:
        return Skipped(found.name(at), f"cannot be read ({error.strerror or type(error).__name__})")
    except BadMask as error:
        return Skipped(found.name(pair.mask), str(error))
    except BadImage as error:
        return Skipped(found.name(pair.image), str(error))
    return Row(
        id=pair.id,
        group=pair.group,
        image=image,
        mask=mask,
        height=checked.height,
        width=checked.width,
        foreground_above=checked.foreground_above,
        source=found.name(pair.image),
    )


def _bad_files(bad: list[Skipped]) -> UserError:
    first, others = bad[0], bad[1:]
    more = ""
    if others:
        names = ", ".join(entry.file for entry in others[:NAMED]) + (", ..." if len(others) > NAMED else "")
        more = f" ({len(others)} more bad file{'s' if len(others) > 1 else ''}: {names})"
    return UserError(f"{first.file}: {first.reason}; mend or remove it, or run again with --skip-bad{more}")


def _rule(writer: DatasetWriter, found: Found) -> str:
    """The split rule, once it is sure that every split has rows."""
    for split in sorted({pair.split for pair in found.pairs} or {"train"}):
        if split not in writer.splits:
            raise UserError(f"{found.root}: no usable image is left in split '{split}'; mend the bad files")
    return found.split_rule


def _threads() -> int:
    return min(8, os.cpu_count() or 1)
