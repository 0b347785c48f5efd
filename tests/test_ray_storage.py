"""Ray Train's list of checkpoints survives a kill in the middle of its writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.ray_storage import SNAPSHOT, keep_snapshot, mend_snapshot
from orchestrator.storage import Storage


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    (tmp_path / SNAPSHOT).write_text('{"checkpoint_results": ["first"]}')
    return Storage(str(tmp_path))


@pytest.mark.parametrize("torn", ["", '{"checkpoint_results": ["fir'])
def test_a_torn_list_gives_way_to_the_one_before(folder: Storage, torn: str) -> None:
    keep_snapshot(folder)
    folder.local(SNAPSHOT).write_text(torn)
    mend_snapshot(folder)
    assert folder.read(SNAPSHOT) == b'{"checkpoint_results": ["first"]}'


def test_a_whole_list_stays(folder: Storage) -> None:
    keep_snapshot(folder)
    folder.local(SNAPSHOT).write_text("{}")
    mend_snapshot(folder)
    assert folder.read(SNAPSHOT) == b"{}"


def test_without_a_copy_the_trial_begins_anew(folder: Storage, tmp_path: Path) -> None:
    folder.local(SNAPSHOT).write_text("")
    mend_snapshot(folder)
    assert not folder.exists(SNAPSHOT)
    for empty in (folder, Storage(str(tmp_path / "none"))):
        keep_snapshot(empty)
        mend_snapshot(empty)
        assert empty.names() == []
