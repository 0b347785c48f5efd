"""Who makes what, and what happens to the work of those who die."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.embeddings import fill as module
from orchestrator.embeddings.claims import Watch, _create, claimed
from orchestrator.embeddings.fill import Unit, fill
from orchestrator.embeddings.shards import Encoded, Form
from orchestrator.embeddings.use import units_of
from orchestrator.storage import Storage

FORMS = {"embedding": Form((2, 3), "fp32")}
UNITS = [Unit("train", False, n, (2 * n, 2 * n + 1)) for n in range(6)]


@pytest.fixture(params=["", "memory://"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(f"{request.param}{tmp_path}/entry")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)


class Maker:
    """Makes the parts of rows as numbers; what it made."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.made = seconds, list[int]()

    def __call__(self, unit: Unit, parts: list[str]) -> Iterator[Encoded]:
        for row in unit.rows:
            time.sleep(self.seconds)
            self.made.append(row)
            yield Encoded({part: np.full((2, 3), row, np.float32) for part in parts}, (2, 3))


def test_a_claim_is_one_process_only(folder: Storage) -> None:
    with claimed(folder, "a.claim") as first, claimed(folder, "a.claim") as second, claimed(folder, "b.claim") as other:
        assert (first, second, other) == (True, False, True)
    with claimed(folder, "a.claim") as again:
        assert again
    assert not folder.names()


def test_a_claim_is_released_by_an_error(folder: Storage) -> None:
    with pytest.raises(ValueError, match="no luck"), claimed(folder, "a.claim"):
        raise ValueError("no luck")
    assert not folder.names()


def test_a_living_claim_is_renewed_and_left_alone(folder: Storage) -> None:
    watch = Watch(folder, silence=0.3)
    with claimed(folder, "a.claim", silence=0.3) as ours:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert not watch.remove_if_silent("a.claim")
            time.sleep(0.05)
        assert ours


def test_a_silent_claim_of_another_machine_is_taken_over_after_a_while(folder: Storage) -> None:
    note = {"host": "elsewhere", "pid": 1, "token": "x", "time": 0}
    assert _create(folder, UNITS[2].claim, json.dumps(note).encode())
    make, began = Maker(), time.monotonic()
    fill(folder, UNITS, FORMS, make, silence=0.5)
    assert time.monotonic() - began >= 0.5, "its clock may be wrong: silence is what counts"
    assert sorted(make.made) == list(range(12)) and make.made[-2:] == [4, 5]
    assert not [name for name in folder.names() if name.endswith(".claim")]


def test_who_lost_its_claim_does_not_take_it_back(folder: Storage) -> None:
    with claimed(folder, "a.claim", silence=0.2) as ours:
        assert ours
        folder.write("a.claim", json.dumps({"host": "elsewhere", "pid": 1, "token": "theirs"}).encode())
        time.sleep(0.15)
        assert json.loads(folder.read("a.claim"))["token"] == "theirs"
    assert folder.names() == ["a.claim"]


def test_several_share_the_work(folder: Storage) -> None:
    makers = [Maker(0.005) for _ in range(4)]
    told: list[tuple[int, int]] = []
    threads = [threading.Thread(target=fill, args=(folder, UNITS, FORMS, make)) for make in makers[1:]]
    for thread in threads:
        thread.start()
    fill(folder, UNITS, FORMS, makers[0], lambda done, of: told.append((done, of)))
    for thread in threads:
        thread.join()
    assert sorted(row for make in makers for row in make.made) == list(range(12)), "each row once"
    assert told[-1] == (12, 12) and told == sorted(told)


def test_what_fails_leaves_neither_claim_nor_shard(folder: Storage) -> None:
    def broken(unit: Unit, parts: list[str]) -> Iterator[Encoded]:
        yield Encoded({"embedding": np.zeros((2, 3), np.float32)}, (2, 3))
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        fill(folder, UNITS, FORMS, broken)
    assert folder.names() == []
    fill(folder, UNITS, FORMS, Maker())
    assert len(folder.names()) == 2 * len(UNITS)


@given(
    asked=st.sets(st.tuples(st.sampled_from(["train", "test"]), st.booleans(), st.integers(0, 40)), max_size=60),
    rows=st.integers(1, 64),
)
def test_every_row_that_is_asked_for_has_its_place(asked: set[tuple[str, bool, int]], rows: int) -> None:
    sizes = {"train": 41, "test": 41}
    units = units_of(asked, sizes, rows)
    places = [(u.split, u.flipped, row) for u in units for row in u.rows]
    assert asked <= set(places) and len(places) == len(set(places))
    assert all(0 < len(u.rows) <= rows and max(u.rows) < 41 for u in units)
    assert len({u.stem("embedding") for u in units}) == len(units)
    again = units_of({(s, f, row) for s in sizes for f in (False, True) for row in range(41)}, sizes, rows)
    assert {u for u in units if not u.some} <= set(again), "whole shards are everybody's"


def test_a_claim_that_is_not_written_yet_is_nobodys_to_take(tmp_path: Path) -> None:
    """Between its creation and its first word."""
    (tmp_path / "x.claim").write_bytes(b"")
    watch = Watch(Storage(str(tmp_path)), silence=60)
    assert not watch.remove_if_silent("x.claim") and (tmp_path / "x.claim").exists()
