"""How much embeddings may take, and what ``gc`` takes away of them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from orchestrator import alive
from orchestrator.embeddings.key import FILE, ROOT, Key
from orchestrator.embeddings.room import entries, limit, make_room
from orchestrator.errors import UserError
from orchestrator.gc import GRACE, find_orphans, remove
from orchestrator.plan import check_run_name
from orchestrator.storage import Storage

KEY = Key("vit_b", "0123", 1024, "pad", "fp32", "fp32", "cod10k", "4567")


def entry(root: Path, name: str, size: int, hours_ago: float) -> Path:
    folder = root / ROOT / name
    folder.mkdir(parents=True)
    (folder / FILE).write_text(KEY.to_json())
    (folder / "train-embedding-00000-01234567.arrow").write_bytes(bytes(size - len(KEY.to_json())))
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600 * hours_ago,) * 2)
    return folder


def test_the_name_tells_what_it_is_and_no_run_may_have_it(tmp_path: Path) -> None:
    assert KEY.folder.startswith(f"{ROOT}/vit_b-cod10k-") and len(KEY.folder) == len(f"{ROOT}/vit_b-cod10k-") + 12
    others = [Key(**{**json.loads(KEY.to_json()), name: "other"}) for name in json.loads(KEY.to_json())]
    assert len({key.folder for key in [KEY, *others]}) == 1 + len(others)
    with pytest.raises(UserError, match="letters, digits"):
        check_run_name(ROOT, Storage(str(tmp_path)))


@pytest.mark.parametrize(
    ("more", "left"),
    [(100, {"a", "b", "c", "d"}), (1500, {"b", "c", "d"}), (2500, {"c", "d"}), (3000, {"c", "d"})],
)
def test_what_was_used_longest_ago_makes_room(
    more: int, left: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMSWEEP_EMBEDDINGS_GB", "0.000005")
    for name, hours in (("a", 9), ("b", 5), ("c", 0), ("d", 7)):
        entry(tmp_path, name, 1000, hours)
    make_room(Storage(str(tmp_path)), f"{ROOT}/d", more)
    assert {path.name for path in (tmp_path / ROOT).iterdir()} == left


def test_what_does_not_fit_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_EMBEDDINGS_GB", "0.000005")
    for name, hours in (("a", 9), ("c", 0)):
        entry(tmp_path, name, 1000, hours)
    with pytest.raises(UserError, match="SAMSWEEP_EMBEDDINGS_GB hold beside 0.00 GB that are in use"):
        make_room(Storage(str(tmp_path)), f"{ROOT}/new", 4500)
    monkeypatch.setenv("SAMSWEEP_EMBEDDINGS_GB", "1e15")
    with pytest.raises(UserError, match="no space left"):
        make_room(Storage(str(tmp_path)), f"{ROOT}/new", 10**20)
    assert len(entries(Storage(str(tmp_path)))) == 2


@pytest.mark.parametrize("given", ["x", "-1", "nan", "inf"])
def test_a_bound_that_is_none_is_said(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMSWEEP_EMBEDDINGS_GB", given)
    with pytest.raises(UserError, match=f"SAMSWEEP_EMBEDDINGS_GB={given}: not a number"):
        limit()


def test_gc_takes_what_nobody_uses(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    entry(tmp_path, "old", 1000, 50)
    entry(tmp_path, "new", 1000, (GRACE - 60) / 3600)
    (orphan,) = find_orphans(storage).orphans
    assert (orphan.path, orphan.bytes) == (f"{ROOT}/old", 1000)
    assert "embeddings of cod10k by vit_b, computed again when needed; last used 20" in orphan.why
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ray.log").touch()
    assert not find_orphans(storage, ["run"]).orphans, "with names, runs alone"
    found = find_orphans(storage)
    os.utime(tmp_path / ROOT / "old" / FILE)
    assert not remove(storage, found), "somebody began to use it meanwhile"
    os.utime(tmp_path / ROOT / "old" / FILE, (1, 1))
    with alive.Heartbeat(storage / "run"):
        assert not find_orphans(storage).orphans, "whoever is running may want it in a minute"
    assert [o.path for o in remove(storage, found)] == [f"{ROOT}/old"]
    assert [path.name for path in (tmp_path / ROOT).iterdir()] == ["new"]
