"""A trial with stored embeddings is the trial without, and runs the encoder once for everybody."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.multiprocessing as mp
from embedding_trials import die_filling, job_of, run, run_apart
from ports import free_port

from methods.backbone.calls import embed_image_and_blocks
from methods.decoder import DecoderTuning
from orchestrator.build import build_method
from orchestrator.data.loader import Loader
from orchestrator.data.order import eval_batches
from orchestrator.data.reader import open_dataset
from orchestrator.embeddings import fill, key, use
from orchestrator.embeddings.store import _sound
from orchestrator.engine import Engine
from orchestrator.errors import UserError
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage

ALL = 28  #: images of ``tiny``: 12 to train on, mirrored and not, and 4 to test


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture(scope="module")
def plain(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The decoder's trial without any store."""
    return run(job_of(tiny_data, tmp_path_factory.mktemp("plain"), ""))


def same(one: list[dict[str, Any]], other: list[dict[str, Any]], tolerance: float = 1e-6) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a["order"] == b["order"]
        for what in ("losses", "val"):
            assert a[what] == pytest.approx(b[what], rel=tolerance, abs=tolerance)
    assert one[-1]["test"] == pytest.approx(other[-1]["test"], rel=tolerance, abs=tolerance)


def folder_of(store: str) -> Path:
    (found,) = (Path(store) / key.ROOT).iterdir()
    return found


def test_the_numbers_are_those_without_it_and_a_second_trial_encodes_nothing(
    tiny_data: Path, tmp_path: Path, store: str
) -> None:
    two = {"train.epochs": 2}
    plain = run(job_of(tiny_data, tmp_path / "plain", "", **two))
    steps: list[tuple[int, int, int]] = []
    first = run(job_of(tiny_data, tmp_path / "1", store, **two), steps)
    second = run(job_of(tiny_data, tmp_path / "2", store, **two))
    same(first, plain)
    same(second, plain)
    assert [r["encoded"] for r in plain] == [12, 16], "9 to train on, 3 to choose by, 4 to test"
    assert [r["encoded"] for r in first] == [ALL, 0]
    assert [r["encoded"] for r in second] == [0, 0]
    assert steps[:ALL] == [(0, done, ALL) for done in range(1, ALL + 1)], "the filling is told as epoch 0"
    other = run(job_of(tiny_data, tmp_path / "3", store, **{"train.seed": 7}))
    assert [r["encoded"] for r in other] == [0], "whoever holds out other rows shares it"


def test_processes_and_threads_read_it_alike(
    plain: list[dict[str, Any]], tiny_data: Path, tmp_path: Path, store: str
) -> None:
    run(job_of(tiny_data, tmp_path / "1", store))
    same(run(job_of(tiny_data, tmp_path / "2", store, **{"data.processes": 2, "data.threads": 1})), plain)


def test_a_method_that_trains_nothing_stores_what_it_is_measured_by(
    tiny_data: Path, tmp_path: Path, store: str
) -> None:
    direct, first, second = (
        run(job_of(tiny_data, tmp_path / str(i), uri, "sam")) for i, uri in enumerate(("", store, store))
    )
    same(first, direct)
    same(second, direct)
    assert [r[0]["encoded"] for r in (direct, first, second)] == [7, 7, 0], "3 to choose by, 4 to test"


def test_objects_that_are_prompted_for_read_it_too(tiny_data: Path, tmp_path: Path, store: str) -> None:
    asked = {"prompts.objects": "always"}
    direct, first, second = (
        run(job_of(tiny_data, tmp_path / str(i), uri, **asked)) for i, uri in enumerate(("", store, store))
    )
    same(first, direct)
    same(second, direct)
    assert [r[0]["encoded"] for r in (direct, first, second)] == [16, ALL, 0]


def test_methods_of_another_resize_or_type_share_nothing(tiny_data: Path, tmp_path: Path, store: str) -> None:
    changes: list[dict[str, Any]] = [{}, {"data.embeddings": "bf16"}, {"train.precision": "bf16"}]
    counts = [run(job_of(tiny_data, tmp_path / str(i), store, **c))[0]["encoded"] for i, c in enumerate(changes)]
    assert counts == [ALL] * 3 and len(list((Path(store) / key.ROOT).iterdir())) == 3
    for entry in (Path(store) / key.ROOT).iterdir():
        told = json.loads((entry / key.FILE).read_text())
        assert told["dataset"] == "tiny" and told["backbone"] == "vit_t" and told["resize"] == "stretch"


def test_bf16_is_half_as_large_and_nearly_the_same(
    plain: list[dict[str, Any]], tiny_data: Path, tmp_path: Path, store: str
) -> None:
    records = run(job_of(tiny_data, tmp_path / "1", store, **{"data.embeddings": "bf16"}))
    for a, b in zip(records, plain, strict=True):
        assert a["losses"] == pytest.approx(b["losses"], rel=0.02)
        assert a["losses"] != b["losses"]
    size = sum(path.stat().st_size for path in folder_of(store).glob("*.arrow"))
    assert size == pytest.approx(ALL * 128 * 16 * 16 * 2, rel=0.01)


@pytest.mark.parametrize("change", [{"data.embeddings": "off"}, {}])
def test_nothing_is_stored_where_that_is_not_wanted_or_not_right(
    change: dict[str, Any], tiny_data: Path, tmp_path: Path, store: str
) -> None:
    method = "decoder" if change else "mca"
    records = run(job_of(tiny_data, tmp_path / "1", store, method, **change))
    assert records[0]["encoded"] >= 16 and not Path(store).exists()


def test_an_encoder_that_is_trained_is_never_stored(tiny_data: Path, tmp_path: Path, store: str) -> None:
    job = job_of(tiny_data, tmp_path / "1", store)
    split = open_dataset(Storage(job.data), "tiny").split("train")
    engine = Engine(job.full_settings(), build_method(job.full_settings()), split, torch.device("cpu"), Ranks())
    assert use.stored_as(engine.method, engine.settings, torch.float32) == "fp32"
    next(engine.method.sam.image_encoder.parameters()).requires_grad_(True)
    assert use.stored_as(engine.method, engine.settings, torch.float32) == ""


def made(path: Path) -> list[Any]:
    return [tuple(map(str, unit)) for unit in json.loads(path.read_text())["made"]]


@pytest.mark.parametrize("as_ranks", [False, True], ids=["two trials", "two ranks"])
def test_two_that_come_at_once_encode_each_image_once(
    as_ranks: bool, plain: list[dict[str, Any]], tiny_data: Path, tmp_path: Path, store: str
) -> None:
    port = free_port() if as_ranks else 0
    jobs = [job_of(tiny_data, tmp_path / ("trial" if as_ranks else f"trial{i}"), store) for i in range(2)]
    mp.spawn(run_apart, (2, port, jobs, tmp_path), nprocs=2)
    units = [made(tmp_path / f"{i}.json") for i in range(2)]
    assert len(units[0]) + len(units[1]) == len({*units[0], *units[1]}) == 7, "shards of four images"
    assert units[0] and units[1], "both did a part"
    told = [json.loads((tmp_path / f"{i}.json").read_text())["records"] for i in range(2)]
    encoded = [sum(r["encoded"] for r in records) for records in told]
    assert encoded == [ALL, ALL] if as_ranks else sum(encoded) == ALL
    if not as_ranks:
        same(told[0], plain)
        same(told[1], plain)


def test_a_killed_fillers_claim_is_taken_over(tiny_data: Path, tmp_path: Path, store: str) -> None:
    process = mp.get_context("spawn").Process(target=die_filling, args=(0, job_of(tiny_data, tmp_path / "1", store)))
    process.start()
    process.join(120)
    assert process.exitcode == -9
    assert len(list(folder_of(store).glob("*.claim"))) == 1
    (half,) = folder_of(store).glob("*.tmp")
    os.utime(half, (1, 1))
    records = run(job_of(tiny_data, tmp_path / "2", store))
    assert records[0]["encoded"] == ALL
    assert not list(folder_of(store).glob("*.claim")) and not list(folder_of(store).glob("*.tmp"))


def test_a_damaged_shard_is_made_anew(plain: list[dict[str, Any]], tiny_data: Path, tmp_path: Path, store: str) -> None:
    run(job_of(tiny_data, tmp_path / "1", store))
    for damage in ("bits", "short", "gone", "note"):
        (path,) = folder_of(store).glob("train-flip-embedding-*.arrow")
        data = bytearray(path.read_bytes())
        if damage == "gone":
            path.unlink()
        elif damage == "note":
            (folder_of(store) / "train-flip-embedding-00000.json").write_text("{")
        else:
            data[len(data) // 2] ^= 1
            path.write_bytes(data if damage == "bits" else data[:-9])
        records = run(job_of(tiny_data, tmp_path / damage, store))
        same(records, plain)
        assert records[0]["encoded"] == 12, "that shard alone"
    assert run(job_of(tiny_data, tmp_path / "2", store))[0]["encoded"] == 0


def test_a_disk_that_is_full_or_a_bound_that_is_low_is_no_failure(
    plain: list[dict[str, Any]], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("SAMSWEEP_EMBEDDINGS_GB", "0.0001")
    records = run(job_of(tiny_data, tmp_path / "1", str(tmp_path / "low")))
    assert [r["encoded"] for r in records] == [16] and "SAMSWEEP_EMBEDDINGS_GB" in caplog.text
    assert not list((tmp_path / "low").rglob("*.arrow"))
    monkeypatch.delenv("SAMSWEEP_EMBEDDINGS_GB")

    def full(*words: Any) -> None:
        raise UserError("no space left; free some")

    with patch.object(fill, "write_shards", full):
        records = run(job_of(tiny_data, tmp_path / "2", str(tmp_path / "full")))
    same(records, plain)
    assert "going on without stored embeddings: no space left" in caplog.text
    assert not list((tmp_path / "full").rglob("*.claim"))


def test_a_remote_store_serves_through_the_nodes_cache(
    plain: list[dict[str, Any]], tiny_data: Path, tmp_path: Path, store: str
) -> None:
    uri = f"memory://{tmp_path.name}"
    first, second = (run(job_of(tiny_data, tmp_path / str(i), uri)) for i in range(2))
    same(first, plain)
    same(second, plain)
    assert [first[0]["encoded"], second[0]["encoded"]] == [ALL, 0]
    copies = list((tmp_path / "cache" / "shards").glob("*.arrow"))
    assert len(copies) == 3
    shutil.rmtree(tmp_path / "cache")
    entry = Storage(uri) / next(n for n in Storage(uri).tree(key.ROOT) if n.endswith(key.FILE)).rpartition("/")[0]
    name = next(name for name in entry.names() if name.endswith(".arrow"))
    entry.write(name, b"altered" * 9)
    again = run(job_of(tiny_data, tmp_path / "again", uri))
    same(again, plain)
    assert 0 < again[0]["encoded"] < ALL


@contextmanager
def reading_blocks(*blocks: int) -> Iterator[None]:
    with patch.object(DecoderTuning, "encoder_blocks", blocks):
        yield


def test_outputs_of_blocks_are_stored_beside(tiny_data: Path, tmp_path: Path, store: str) -> None:
    assert run(job_of(tiny_data, tmp_path / "1", store))[0]["encoded"] == ALL
    seen: list[Any] = []
    forward = DecoderTuning.forward

    def watched(self: Any, batch: Any) -> Any:
        seen.append((batch.index.tolist(), batch.embedding, batch.blocks, self.training))
        read = embed_image_and_blocks(self.sam, batch, (1, 5))[1]
        assert all(torch.equal(a, b) for a, b in zip(read, batch.blocks, strict=True))
        return forward(self, batch)

    with reading_blocks(1, 5), patch.object(DecoderTuning, "forward", watched):
        assert run(job_of(tiny_data, tmp_path / "2", store))[0]["encoded"] == ALL, "the blocks were missing"
        assert run(job_of(tiny_data, tmp_path / "3", store))[0]["encoded"] == 0
    assert {tuple(block.shape[1:]) for _, _, blocks, _ in seen for block in blocks} == {(16, 16, 192)}
    check_against_the_encoder(job_of(tiny_data, tmp_path / "4", ""), seen)
    assert run(job_of(tiny_data, tmp_path / "5", store))[0]["encoded"] == 0, "the embeddings serve without them, too"


def check_against_the_encoder(job: Any, seen: list[Any]) -> None:
    """What an unmirrored batch of the test split had is what the encoder says of it."""
    method = build_method(job.full_settings())
    split = open_dataset(Storage(job.data), "tiny").split("test")
    (batch,) = Loader(split, 256, "stretch", eval_batches(4, 4, 0, 1), 0, 0, train=False)
    embedding, blocks = embed_image_and_blocks(method.sam, batch, (1, 5))
    index, stored, stored_blocks, training = seen[-1]
    assert index == [0, 1, 2, 3] and not training
    torch.testing.assert_close(stored, embedding, rtol=1e-6, atol=1e-6)
    for found, wanted in zip(stored_blocks, blocks, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_shards_found_sound_are_not_hashed_again(tiny_data: Path, tmp_path: Path, store: str) -> None:
    run(job_of(tiny_data, tmp_path / "1", store))
    assert {Path(path).parent for path, *_ in _sound} >= {folder_of(store)}
    with patch("orchestrator.embeddings.store.sha256", lambda path: "another"):
        assert run(job_of(tiny_data, tmp_path / "2", store))[0]["encoded"] == 0
